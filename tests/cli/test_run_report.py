"""``canonbench report``: the page of a run, in a browser and as text."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from cli_cases import Canonbench
from compare_cases import write_edit_run, write_edit_suite, write_fixed_run

from canonbench.board import report_plots
from canonbench.results.candidates import Candidate, write_candidates
from canonbench.results.row import Row
from chromium import chromium, opened

LEAGUES = ("1e-3", "1e-4")


def candidate(task: str, seed: int, number: int, ratio: float, success: float | None, *chosen: str) -> Candidate:
    leagues = {label: ratio <= 1 + float(label) for label in LEAGUES}
    return Candidate(task, seed, number, "f" * 64, 0.5, ratio, ratio > 1.05, leagues, success, 2.0, {}, chosen)


TRAJECTORY = [
    candidate("country", 0, 1, 1.00002, 50.0),
    candidate("country", 0, 2, 1.0005, 75.0, "1e-3"),
    candidate("country", 0, 3, 1.002, None),
    candidate("gender", 0, 1, 0.9999, 100.0, "1e-3", "1e-4"),
    candidate("gender", 0, 2, 1.2, None),
]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    suite = write_edit_suite(Path("suite"))
    write_edit_run(Path("lora"), suite, hyperparameters={"lr": 0.001})
    write_candidates(TRAJECTORY, Path("lora/candidates.jsonl"))
    write_fixed_run(Path("fixed"), suite)
    return tmp_path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def test_the_page_of_an_edit_run_has_its_numbers_plots_and_rows(
    canonbench: Canonbench, runs: Path, browser: Any
) -> None:
    outcome = canonbench("report", "lora", "--out", "lora.html", "--league", "1e-3", "--suite", "suite")
    assert outcome.out == "lora.html\n"
    row = Row.read("lora/row.json")
    assert row.leagues is not None
    with opened(browser, runs / "lora.html") as page:
        assert page.locator("h1").inner_text() == "lora on tiny"
        assert page.locator("h2").all_inner_texts()[:2] == ["League 1e-3", "League 1e-4"]
        country = page.locator("table").first.get_by_role("row", name="country").inner_text().split("\t")
        success = row.leagues["1e-3"].tasks["country"].success
        assert country[2:4] == [f"{success.base:.1f}", f"{success.edited:.1f}"]
        assert country[-1] == "2, 1"  # the candidates of seeds 0 and 1
        titles = page.locator("figcaption").all_inner_texts()
        assert [title.splitlines()[0] for title in titles] == TITLES
        marks = page.locator("figure").first.locator('[aria-roledescription="point"][aria-label^="country, seed 0"]')
        assert marks.count() == 2
        assert "chosen for 1e-3" in marks.nth(1).locator("title").text_content()
        assert page.locator("figure").first.locator("[aria-label*='beyond every league']").count() == 1
        assert page.locator(".flip.fixed").first.inner_text().splitlines()[1].endswith("that it is Paris")
        assert page.locator("dt", has_text="lr").count() == 1


TITLES = ["Trajectory", "Hard negatives", "Success by task", "Loss ratio"]


def test_an_edit_without_effect_is_drawn_on_an_axis_with_round_numbers() -> None:
    unchanged = [candidate("country", 0, 1, 1.00002, 200 / 9, "1e-3")]
    picture = report_plots.trajectory(unchanged, {"country": 22.222222}, {"1e-3": 1e-3})  # rows hold rounded numbers
    ticks = re.findall(r">(2\d\.\d+)</text>", picture)
    assert float(ticks[-1]) - float(ticks[0]) >= 2
    assert all(len(tick) == 4 for tick in ticks)


def test_leagues_that_took_the_same_are_shown_once(canonbench: Canonbench, runs: Path) -> None:
    same = {label: {"country": {0: 0}, "gender": {0: 1}} for label in LEAGUES}
    write_edit_run(Path("same"), Path("suite"), choices=same)
    canonbench("report", "same", "--out", "same.html")
    page = Path("same.html").read_text(encoding="utf-8")
    assert "Leagues 1e-3, 1e-4" in page
    assert "Trajectory" not in page  # its candidates are not listed


def test_a_checkpoint_has_one_table_and_its_one_ratio(canonbench: Canonbench, runs: Path, browser: Any) -> None:
    assert canonbench("report", "fixed/row.json", "--out", "fixed.html").code == 0
    with opened(browser, runs / "fixed.html") as page:
        assert page.locator("h2").first.inner_text() == "Success and hard negatives"
        titles = [title.splitlines()[0] for title in page.locator("figcaption").all_inner_texts()]
        assert titles == TITLES[1:]
        assert "The texts of this suite are not on this page" in page.locator("main").inner_text()


def test_without_a_base_there_is_nothing_to_plot(
    canonbench: Canonbench, runs: Path, alone_run: Path, browser: Any
) -> None:
    assert canonbench("report", str(alone_run), "--out", "alone.html").code == 0
    text = Path("alone.html").read_text(encoding="utf-8")
    assert "<figure>" not in text
    assert "Rows that the edit" not in text
    row = Row.read("alone/row.json")
    assert row.tasks is not None
    with opened(browser, runs / "alone.html") as page:
        cells = page.get_by_role("row", name="country").inner_text().split("\t")
        assert page.locator("h1").inner_text() == "tiny"
    assert cells[:3] == ["country", "4", f"{row.tasks['country'].success.edited:.1f}"]


def test_a_title_names_no_folders_of_this_machine(canonbench: Canonbench, runs: Path) -> None:
    model = {"name": "/home/somebody/models/base", "source": "folder", "revision": None}
    write_edit_run(Path("own"), Path("suite"), model=model, base=model)
    write_fixed_run(Path("made"), Path("suite"), model={**model, "name": "/home/somebody/edited"}, base=model)
    for run, title in (("own", "lora on base"), ("made", "edited, edited from base")):
        canonbench("report", run, "--out", f"{run}.html")
        page = Path(f"{run}.html").read_text(encoding="utf-8")
        assert f"<h1>{title}</h1>" in page
        assert "somebody" not in page


@pytest.fixture
def alone_run(runs: Path) -> Path:
    """The checkpoint, scored without its base."""
    folder = runs / "alone"
    folder.mkdir()
    table = pq.read_table("fixed/examples.parquet")
    for name in ("base_log_p_a", "base_log_p_b", "base_loss", "base_again_log_p_a"):
        index = table.column_names.index(name)
        table = table.set_column(index, name, [[None] * len(table)])
    pq.write_table(table, folder / "examples.parquet")
    row = Row.read("fixed/row.json").model_dump(mode="json", by_alias=True)
    Row.model_validate_json(json.dumps(_without_base(row))).write(folder / "row.json")
    return folder


def _without_base(part: Any) -> Any:
    compared = ("base", "delta", "ci", "ratio", "ratio_ci", "straddles", "noise_floor")
    if not isinstance(part, dict):
        return part
    found = {key: None if key in compared else _without_base(value) for key, value in part.items()}
    if "leagues" in found and "n_chunks" in found:
        found["leagues"] = dict.fromkeys(found["leagues"])
    return found


def test_the_same_run_gives_the_same_bytes(canonbench: Canonbench, runs: Path) -> None:
    for name in ("a.html", "b.html"):
        canonbench("report", "lora", "--out", name)
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()


def test_nothing_in_a_row_is_run(canonbench: Canonbench, runs: Path, browser: Any) -> None:
    evil = "</text><script>window.pwned = 1</script>"
    write_edit_run(Path("evil"), Path("suite"), method=evil, hyperparameters={evil: evil}, device=evil)
    write_candidates(TRAJECTORY, Path("evil/candidates.jsonl"))
    canonbench("report", "evil", "--out", "evil.html", "--suite", "suite")
    with opened(browser, runs / "evil.html") as page:
        assert page.locator("h1").inner_text() == f"{evil} on tiny"
        assert page.evaluate("window.pwned") is None
    assert html.escape(evil) in Path("evil.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere",), 2, "no such run folder"),
        (("suite",), 1, "holds no finished run"),
        (("lora", "--league", "1e-2"), 2, "1e-2"),
        (("fixed", "--league", "1e-3"), 2, "no edit run"),
        (("lora", "--suite", "published"), 2, "not ours to put on a page"),
        (("lora", "--suite", "mini"), 1, "holds other data than what was scored"),
    ],
)
def test_what_cannot_be_reported_is_said_and_writes_nothing(
    canonbench: Canonbench, runs: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    outcome = canonbench("report", *arguments, "--out", "page.html")
    assert outcome.code == code
    assert message in outcome.error
    assert not Path("page.html").exists()


def test_a_page_that_cannot_be_written_is_said_before_anything_is_drawn(canonbench: Canonbench, runs: Path) -> None:
    outcome = canonbench("report", "lora", "--out", "nowhere/page.html")
    assert outcome.code == 2
    assert "--out nowhere/page.html: the folder" in outcome.error


def test_damaged_candidates_are_named(canonbench: Canonbench, runs: Path) -> None:
    Path("lora/candidates.jsonl").write_text('{"task": "country"}\n', encoding="utf-8")
    outcome = canonbench("report", "lora", "--out", "page.html")
    assert (outcome.code, "lora/candidates.jsonl is damaged" in outcome.error) == (1, True)
