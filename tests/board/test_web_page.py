"""The board's web page in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page_cases import drawn_up, edit_row, no_scores, no_texts, two_flips

from canonbench.board.board import Board, board
from canonbench.board.html import board_data, html_page
from canonbench.results.row import ExamplesReference
from canonbench.results.rows import PlacedRow
from canonbench.suite.example import Example
from canonbench.suite.tasks import TASKS
from chromium import chromium, opened

EVIL = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>"
EXAMPLES = ExamplesReference(file="submissions/own/examples-0.parquet", sha256="0" * 64)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def some_rows() -> list[Any]:
    bases = ("EleutherAI/pythia-410m", "EleutherAI/pythia-1.4b")
    worth = {"full": 6.0, "lora": 14.0, "bitfit": -4.0}
    return [
        *(edit_row(method, base, worth=points) for method, points in worth.items() for base in bases),
        edit_row("unfinished", bases[0], limit=10),
    ]


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("board") / "index.html", drawn_up(some_rows()))


def written(path: Path, drawn: Board, **how: Any) -> Path:
    path.write_text(html_page(drawn, how.get("scores", no_scores), how.get("texts", no_texts)), encoding="utf-8")
    return path


def column(page: Any, name: str) -> list[str]:
    found: list[str] = page.locator(f"#board tbody td.{name}").all_inner_texts()
    return found


def number(text: str) -> float:
    return float(text.split(maxsplit=1)[0].replace("−", "-"))


def choose(page: Any, group: str) -> None:
    page.get_by_label("Comparable group").select_option(
        label=page.locator("#group option", has_text=group).first.inner_text()
    )


def test_the_best_row_stands_first_and_a_head_sorts_by_its_column_both_ways(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        assert page.locator("#board button.open").first.inner_text() == "lora"
        deltas = [number(text) for text in column(page, "delta")]
        assert deltas == sorted(deltas, reverse=True)
        head = page.get_by_role("columnheader", name="country")
        head.click()
        page.locator("#board th.dt-ordering-desc", has_text="country").wait_for()
        values = [number(text) for text in column(page, "task")[::6]]
        assert values == sorted(values, reverse=True) != deltas
        head.click()
        page.locator("#board th.dt-ordering-asc", has_text="country").wait_for()
        assert [number(text) for text in column(page, "task")[::6]] == sorted(values)


def test_rows_that_share_a_rank_say_so(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        ranks = column(page, "rank")
    assert ranks[:2] == ["=1", "=1"]
    assert ranks == [f"={1 + ranks.index(rank)}" for rank in ranks]


def test_filters_leave_over_what_they_say(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        assert page.locator("#summary").inner_text().startswith("6 rows. Ranked by whether intervals overlap")
        wide = column(page, "delta")
        page.get_by_role("radio", name="1e-5").check()
        assert number(column(page, "delta")[0]) < number(wide[0])
        page.locator("#base").select_option("EleutherAI/pythia-1.4b")
        assert len(column(page, "rank")) == 3
        assert "3 of 6 rows" in page.locator("#summary").inner_text()
        page.get_by_label("Search").fill("bit")
        assert page.locator("#board button.open").all_inner_texts() == ["bitfit"]
        page.get_by_label("Search").fill("nothing like it")
        assert "widen the filters" in page.locator("#board").inner_text()


def test_groups_never_share_a_table_and_states_can_be_left_out(browser: Any, tmp_path: Path) -> None:
    rows = [
        edit_row("lora", worth=9),
        edit_row("handed-in", worth=8, state="submitted", submission="own", examples=EXAMPLES),
        edit_row("elsewhere", suite={"name": "published"}),
    ]
    with opened(browser, written(tmp_path / "index.html", drawn_up(rows))) as page:
        assert page.locator("#board button.open").all_inner_texts() == ["elsewhere"]
        choose(page, "mini 1")
        assert page.locator("#board button.open").all_inner_texts() == ["lora", "handed-in"]
        page.get_by_role("checkbox", name="submitted").uncheck()
        assert page.locator("#board button.open").all_inner_texts() == ["lora"]


def test_chosen_tasks_have_a_mean_of_their_own(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        heads = page.locator("#board thead th")
        before = heads.count()
        for task in ("stereoset", "gender", "temporal", "verb"):
            page.get_by_role("checkbox", name=task).uncheck()
        assert heads.count() == before - 4 + 1
        country, company = (number(text) for text in column(page, "task")[:2])
        assert number(column(page, "picked")[0]) == pytest.approx((country + company) / 2, abs=0.11)
        assert "Ranks and averages are over all six tasks" in page.locator("#summary").inner_text()


def test_a_row_opens_its_details_and_gives_the_focus_back(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        page.locator("#board td.delta").nth(2).click()
        page.keyboard.press("Escape")
        page.locator("#board button.open").first.focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        assert dialog.get_by_role("heading", level=2).inner_text().startswith("lora on EleutherAI/pythia-")
        assert dialog.get_by_role("row").count() == 1 + 6 + 1
        text = dialog.inner_text()
        assert "rank 1, shared" in text
        assert "torch 2.13.0" in text
        assert dialog.locator("dt", has_text="epochs").count() == 1
        assert page.evaluate("location.hash").startswith("#row=")
        wide = dialog.locator("tr.total").inner_text()
        dialog.get_by_role("radio", name="1e-5").check()
        assert dialog.locator("tr.total").inner_text() != wide
        page.keyboard.press("Escape")
        page.wait_for_function("location.hash === ''")  # a dialog says that it closed a moment after it has
        assert not dialog.is_visible()
        assert page.evaluate("document.activeElement.className") == "open"


def test_a_row_has_an_address(browser: Any, page_file: Path) -> None:
    row = drawn_up(some_rows()).tables[0].entries[-1].placed.row
    with opened(browser, page_file, address=f"#row={row.row_id}&league=1e-4") as page:
        dialog = page.get_by_role("dialog")
        assert dialog.locator("h2").inner_text() == f"{row.method} on {row.model.name}"
        assert dialog.locator("input:checked").get_attribute("value") == "1e-4"


def test_an_address_of_a_row_that_is_not_in_that_league_opens_another_of_its_leagues(
    browser: Any, page_file: Path
) -> None:
    row = drawn_up(some_rows()).tables[0].entries[0].placed.row
    with opened(browser, page_file, address=f"#row={row.row_id}&league=1e-9") as page:
        assert page.get_by_role("dialog").locator("input:checked").get_attribute("value") == "1e-3"
    with opened(browser, page_file, address="#row=nothing&league=1e-3") as page:
        assert not page.get_by_role("dialog").is_visible()


@pytest.mark.parametrize(
    ("base", "submission", "links"),
    [
        ("owner/model-1b", "lora", ["../submissions/lora/", "https://huggingface.co/owner/model-1b"]),
        ("javascript:alert(1)", "../..", []),
        ("owner/model?x=<b>", "a/b", []),
    ],
)
def test_only_names_that_can_be_addresses_become_links(base: str, submission: str, links: list[str]) -> None:
    (row,) = board_data(drawn_up([edit_row(base=base, submission=submission)]), no_scores, no_texts)["rows"].values()
    assert [link for link in (row["submission"], row["hub"]) if link] == links


def test_the_keyboard_reaches_sorting_and_rows(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        page.get_by_label("Search").focus()
        for _ in range(20):
            page.keyboard.press("Tab")
            if "Method" in page.evaluate("document.activeElement.closest('th')?.innerText ?? ''"):
                break
        page.keyboard.press("Enter")
        page.locator("#board th.dt-ordering-asc", has_text="Method").wait_for()
        names = page.locator("#board button.open").all_inner_texts()
        assert names == sorted(names)


def test_what_an_edit_fixed_and_broke_is_shown_with_texts_that_are_ours_to_show(browser: Any, tmp_path: Path) -> None:
    known = {task: [Example(f"{task} asks {row}", " answer") for row in range(3)] for task in TASKS}
    rows = [edit_row("own", state="submitted", submission="own", examples=EXAMPLES)]
    for name, given in (("with", lambda _group: known), ("without", no_texts)):
        file = written(tmp_path / f"{name}.html", board(_placed(rows), two_flips), scores=two_flips, texts=given)
        with opened(browser, file) as page:
            page.locator("#board button.open").click()
            details = page.get_by_role("dialog").locator("details", has_text="country: 1 fixed, 1 broken")
            details.locator("summary").click()
            fixed, broken = details.locator(".flip").all_inner_texts()
        assert fixed.startswith("row 0, first: 12.1 % → 33 %")  # a threshold of 20 % times exp(∓0.5)
        assert broken.startswith("row 1, second: 33 % → 12.1 %")
        assert ("country asks 0" in fixed) == (name == "with")


def _placed(rows: list[Any]) -> list[PlacedRow]:
    return [PlacedRow(f"cases.jsonl:{line}", row) for line, row in enumerate(rows, 1)]


def test_nothing_that_comes_from_a_row_is_run(browser: Any, tmp_path: Path) -> None:
    evil = {
        "provenance": {"source": EVIL, "note": EVIL},
        "hyperparameters": {EVIL: EVIL},
        "versions": {EVIL: EVIL},
        "device": EVIL,
        "suite": {"name": EVIL, "version": EVIL},
    }
    rows = [
        edit_row(EVIL, EVIL, worth=9, **evil),
        edit_row("</script><script>window.pwned = 1</script>", "m-2b", worth=4, **evil),
        edit_row(EVIL, EVIL, limit=3, flags=[{"name": "partial", "reason": EVIL}]),
    ]
    with opened(browser, written(tmp_path / "index.html", drawn_up(rows))) as page:
        page.wait_for_selector("#plot-ratio svg")
        assert page.locator("#board button.open").first.inner_text() == EVIL
        assert EVIL in page.locator("section", has_text="Left out").last.inner_text()
        page.locator("#plot-ratio .mark-symbol path").first.hover()
        page.wait_for_selector("#vg-tooltip-element.visible")
        page.locator("#board button.open").first.click()
        assert EVIL in page.get_by_role("dialog").inner_text()
        assert page.evaluate("window.pwned") is None
        assert page.locator("img").count() == 0


def test_the_policy_stops_a_script_that_got_in_all_the_same(browser: Any, page_file: Path, tmp_path: Path) -> None:
    file = tmp_path / "index.html"
    text = page_file.read_text(encoding="utf-8")
    file.write_text(text.replace("</main>", "<script>window.pwned = 1</script></main>"), encoding="utf-8")
    page = browser.new_page()
    page.goto(file.as_uri())
    assert page.locator("#board button.open").count() == 6
    assert page.evaluate("window.pwned") is None
    page.close()


def test_the_plots_show_what_the_filters_leave_over(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file) as page:
        points = page.locator("#plot-hard .mark-symbol path")
        points.first.wait_for()
        assert points.count() == 6
        page.wait_for_selector("#plot-size svg")
        page.locator("#base").select_option("EleutherAI/pythia-1.4b")
        page.wait_for_selector("#plot-size p.hint")
        assert points.count() == 3
        assert page.locator("#plot-ratio .mark-symbol path").count() == 3 * 3
        points.first.click()
        assert "pythia-1.4b" in page.get_by_role("dialog").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_its_ground(browser: Any, page_file: Path, scheme: Any) -> None:
    with opened(browser, page_file, color_scheme=scheme) as page:
        page.wait_for_selector("#plot-size svg")
        ground = luminance(colour(page, "body", "backgroundColor"))
        assert (ground < 0.1) == (scheme == "dark")
        for place in ("body", ".lead", "#board button.open", "#board thead th", "#board td.rank", ".choice span"):
            own = luminance(colour(page, place, "color"))
            assert (max(own, ground) + 0.05) / (min(own, ground) + 0.05) >= 4.5, place  # WCAG 2, level AA
        label = luminance(page.locator("#plot-size .role-axis-label text").first.evaluate(FILL))
        assert (max(label, ground) + 0.05) / (min(label, ground) + 0.05) >= 4.5


FILL = "node => getComputedStyle(node).fill.match(/\\d+/g).slice(0, 3).map(Number)"


def colour(page: Any, place: str, which: str) -> list[float]:
    script = f"node => getComputedStyle(node).{which}.match(/\\d+/g).slice(0, 3).map(Number)"
    found: list[float] = page.locator(place).first.evaluate(script)
    return found


def luminance(rgb: list[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (each / 255 for each in rgb)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_phone_shows_the_essential_columns_without_scrolling_sideways(browser: Any, page_file: Path) -> None:
    with opened(browser, page_file, viewport={"width": 360, "height": 740}) as page:
        page.wait_for_selector("#plot-size svg")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        heads = [head for head in page.locator("#board thead th").all() if head.is_visible()]
        assert [head.inner_text().split()[0] for head in heads] == ["Rank", "Method", "Δ"]
        box = page.locator("#board td.delta").first.bounding_box()
        assert box["x"] + box["width"] <= 360
        assert not page.get_by_label("Search").is_visible()
        page.get_by_text("Filters", exact=True).click()
        assert page.get_by_label("Search").is_visible()
        page.locator("#board td.method").first.click()
        assert page.get_by_role("dialog").bounding_box()["width"] <= 360


def test_print_has_every_row_and_no_filters(browser: Any, tmp_path: Path) -> None:
    rows = [edit_row(f"method-{number}", worth=number / 10) for number in range(60)]
    a4 = {"width": 1032, "height": 700}  # landscape, without its margins
    with opened(browser, written(tmp_path / "index.html", drawn_up(rows)), viewport=a4, color_scheme="dark") as page:
        assert page.locator("#board tbody tr").count() == 50
        page.emulate_media(media="print")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert page.locator("#board tbody tr").count() == 60
        assert page.evaluate("document.documentElement.scrollWidth") <= 1032
        assert page.get_by_text("per-task; league 1e-3").is_visible()
        assert luminance(colour(page, "body", "color")) < 0.1  # dark ink, whatever the screen
        assert not page.get_by_label("Search").is_visible()
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert page.locator("#board tbody tr").count() == 50


def test_an_empty_board_says_so(browser: Any, tmp_path: Path) -> None:
    with opened(browser, written(tmp_path / "index.html", drawn_up([]))) as page:
        assert page.locator("#summary").inner_text() == "The board is empty."


def test_the_same_rows_give_the_same_bytes_in_any_order() -> None:
    rows = _placed(some_rows())
    pages = {html_page(board(order, no_scores), no_scores, no_texts) for order in (rows, rows, rows[::-1])}
    assert len(pages) == 1
