"""The real command line, run in this process, and a small world for it: a suite, a tiny checkpoint, an edited copy."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cli_cases import Canonbench
from run_cases import edited_copy, write_suite

from canonbench.cli.main import main
from command_outcome import Outcome
from tiny_models import save_tiny


@pytest.fixture
def canonbench(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Canonbench]:
    """``canonbench("tasks", "--suite", folder)``: what the console script does with these arguments."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["canonbench", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capfd.readouterr()
        return Outcome(int(str(ended.value.code)), captured.out, captured.err)

    handler = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny matrices are slower on two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never written to: ``suite``, ``base`` and ``edited``."""
    folder = tmp_path_factory.mktemp("pristine")
    write_suite(folder / "suite", chunks=4)
    save_tiny(folder / "base", "llama", tokenizer="bos")
    edited_copy(folder / "base", folder / "edited")
    return folder


@pytest.fixture
def world(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own working folder: a suite that it may damage, and links to the pristine checkpoints."""
    folder = tmp_path / "world"
    folder.mkdir()
    shutil.copytree(pristine / "suite", folder / "suite")
    for name in ("base", "edited"):
        (folder / name).symlink_to(pristine / name)
    monkeypatch.chdir(folder)
    return folder
