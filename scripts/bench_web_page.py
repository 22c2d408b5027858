"""How long the board's web page takes to open: in headless Chromium, from the address to the first sorted rows.

    python scripts/bench_web_page.py --rows 2000

The rows are made up: edit runs of all six tasks in three leagues.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click

TESTS = Path(__file__).resolve().parents[1] / "tests"


@click.command()
@click.option("--rows", "n_rows", default=2000, show_default=True, help="How many rows the board has.")
@click.option("--repeats", default=3, show_default=True, help="How often the page is opened.")
def main(n_rows: int, repeats: int) -> None:
    sys.path[:0] = [str(TESTS), str(TESTS / "leaderboard")]
    from page_cases import drawn_up, edit_row, no_scores, no_texts  # noqa: PLC0415

    from canonbench.board.html import html_page  # noqa: PLC0415
    from chromium import chromium  # noqa: PLC0415

    rows = [
        edit_row(f"method-{number % 40}", f"owner/model-{1 + number // 40}b", worth=number % 37)
        for number in range(n_rows)
    ]
    start = time.perf_counter()
    page_text = html_page(drawn_up(rows), no_scores, no_texts)
    print(f"{n_rows} rows: page of {len(page_text) / 1e6:.1f} MB made in {time.perf_counter() - start:.1f} s")
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        file = Path(folder) / "index.html"
        file.write_text(page_text, encoding="utf-8")
        for _ in range(repeats):
            page = browser.new_page()
            start = time.perf_counter()
            page.goto(file.as_uri(), wait_until="domcontentloaded")  # the page's modules have run by then
            opened = time.perf_counter() - start
            assert page.locator("#board tbody tr[data-row]").count() > 0
            page.wait_for_selector("#plot-size svg", timeout=60_000)
            print(f"open in {opened:.2f} s, plots drawn after {time.perf_counter() - start:.2f} s")
            page.close()


if __name__ == "__main__":
    main()
