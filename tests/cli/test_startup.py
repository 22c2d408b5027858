"""Help is instant, because nothing heavy is imported for it."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "transformers", "datasets", "pyarrow", "numpy", "pydantic", "rich", "yaml")
HELP = [
    "--help",
    "evaluate --help",
    "tasks --help",
    "tasks show --help",
    "data --help",
    "data check --help",
    "compare --help",
    "report --help",
    "export --help",
    "merge --help",
    "senses --help",
    "edit --help",
    "methods --help",
    "submit --help",
    "reproduce --help",
    "validate --help",
    "methods show --help",
    "leaderboard --help",
    "leaderboard build --help",
    "leaderboard check --help",
    "push --help",
    "pull --help",
    "convert-backpack --help",
]


def heavy_modules_after(code: str) -> str:
    """Which of HEAVY a fresh interpreter has imported after running ``code``."""
    script = f"import sys\n{code}\nsys.stderr.write(' '.join(set(sys.modules) & {set(HEAVY)!r}))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return run.stderr


def test_the_check_for_heavy_modules_would_see_one() -> None:
    assert heavy_modules_after("import yaml") == "yaml"


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not heavy_modules_after("import canonbench; canonbench.__version__")


@pytest.mark.parametrize("command", HELP)
def test_help_imports_nothing_heavy(command: str) -> None:
    call = f"sys.argv = {['canonbench', *command.split()]!r}\nfrom canonbench.cli.main import main"
    assert not heavy_modules_after(f"{call}\ntry: main()\nexcept SystemExit as end: assert end.code == 0")


@pytest.mark.parametrize("command", HELP[:3])
def test_help_takes_less_than_half_a_second(command: str) -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "canonbench", *command.split()], check=True, capture_output=True, timeout=60
        )
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5, seconds
