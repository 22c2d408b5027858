"""``canonbench compare``: what is printed, character by character (``golden/compare-*.txt``), and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_cases import Canonbench
from compare_cases import write_edit_run, write_edit_suite, write_fixed_run

from worked_out import CHOICES

GOLDEN = Path(__file__).parent / "golden"
COMMANDS = {
    "edit-runs": ("lora", "full", "--league", "1e-3", "--suite", "suite"),
    "checkpoints": ("fixed", "other/row.json", "-n", "1"),
    "unlike": ("fixed", "lora", "--league", "1e-3", "--suite", "suite"),
    "idle": ("idle", "idle", "--task", "gender"),
}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two edit runs, one that edited nothing, two fixed checkpoints, and their suite."""
    monkeypatch.chdir(tmp_path)
    suite = write_edit_suite(Path("suite"))
    second = {"1e-3": {"country": {1: 1}, "gender": {0: 0}}, "1e-4": CHOICES["1e-4"]}
    write_edit_run(Path("lora"), suite)
    write_edit_run(Path("full"), suite, choices=second, method="full")
    write_edit_run(Path("idle"), suite, choices={"1e-4": {"country": {0: 0}, "gender": {0: 0}}})
    write_fixed_run(Path("fixed"), suite)
    write_fixed_run(Path("other"), suite, taken=(1, 1))
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_comparison_looks_as_its_golden_file(name: str, canonbench: Canonbench, runs: Path) -> None:
    outcome = canonbench("compare", *COMMANDS[name])
    assert outcome.out == (GOLDEN / f"compare-{name}.txt").read_text(encoding="utf-8")
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_is_wider_than_80_columns_or_ends_in_blanks(name: str, canonbench: Canonbench, runs: Path) -> None:
    for line in canonbench("compare", *COMMANDS[name]).out.splitlines():
        assert len(line) <= 80
        assert line == line.rstrip()


def test_json_is_printed_alone_and_says_the_same(canonbench: Canonbench, runs: Path) -> None:
    outcome = canonbench("compare", *COMMANDS["edit-runs"], "--json")
    assert (outcome.code, outcome.err) == (0, "")
    country = json.loads(outcome.out)["tasks"]["country"]
    assert (country["success"]["delta"], country["only_first"], len(country["flips"])) == (-12.5, 2, 3)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("lora",), 2, "Missing argument"),
        (("lora", "nowhere"), 2, "nowhere: no such run folder or row"),
        (("lora", "suite"), 1, "suite holds no finished run"),
        (("lora", "full", "--league", "1e-5"), 2, "unknown league '1e-5' of these runs, must be one of 1e-3, 1e-4."),
        (("lora", "full", "--task", "contry"), 2, "Did you mean 'country'?"),
        (("lora", "full", "-n", "-1"), 2, "-1 is not in the range 0<=x<="),
        (("fixed", "other", "--league", "1e-3"), 2, "neither is an edit run"),
        (("lora", "full", "--suite", "mini"), 1, "suite 'mini' holds other data than what was scored"),
    ],
)
def test_what_cannot_be_compared_gets_one_line(
    arguments: tuple[str, ...], code: int, message: str, canonbench: Canonbench, runs: Path
) -> None:
    outcome = canonbench("compare", *arguments)
    assert message in outcome.error
    assert (outcome.code, outcome.out) == (code, "")
