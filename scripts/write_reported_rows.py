"""Write leaderboard/rows/hewitt2024.jsonl from the facts in datasets/reported.

python scripts/write_reported_rows.py
"""

from __future__ import annotations

from pathlib import Path

from canonbench.results.published import WorkshopTables, read_results, released_rows, workshop_rows
from canonbench.results.row import Row
from canonbench.results.rows import write_rows_file

ROOT = Path(__file__).parents[1]
FACTS = ROOT / "datasets" / "reported"
ROWS = ROOT / "leaderboard" / "rows" / "hewitt2024.jsonl"


def reported_rows() -> list[Row]:
    """Those of the release, then those of the workshop paper."""
    results = (FACTS / "hewitt2024-results.jsonl").read_text(encoding="utf-8").splitlines()
    tables = (FACTS / "hewitt2024-workshop-tables.json").read_text(encoding="utf-8")
    return released_rows(read_results(results)) + workshop_rows(WorkshopTables.model_validate_json(tables))


if __name__ == "__main__":
    write_rows_file(ROWS, reported_rows())
