"""Rows: their schema, and the functions (one per kind of row) that compute their numbers from per-example values."""

from canonbench.leaderboard.aggregate import Aggregates, aggregate
from canonbench.leaderboard.aggregate_edits import EditAggregates, aggregate_edits
from canonbench.leaderboard.aggregate_general import GeneralText
from canonbench.leaderboard.aggregate_tasks import TaskSpec
from canonbench.leaderboard.row import (
    ComparableGroup,
    ExamplesReference,
    Fingerprints,
    Flag,
    ModelReference,
    Provenance,
    Row,
    SuiteReference,
)
from canonbench.leaderboard.row_results import (
    Average,
    Change,
    ChangeWithInterval,
    Clean,
    General,
    HardNegatives,
    League,
    LeagueTask,
    Seed,
    TaskResult,
)
from canonbench.leaderboard.schema import json_schema, schema_text

__all__ = [
    "Aggregates",
    "Average",
    "Change",
    "ChangeWithInterval",
    "Clean",
    "ComparableGroup",
    "EditAggregates",
    "ExamplesReference",
    "Fingerprints",
    "Flag",
    "General",
    "GeneralText",
    "HardNegatives",
    "League",
    "LeagueTask",
    "ModelReference",
    "Provenance",
    "Row",
    "Seed",
    "SuiteReference",
    "TaskResult",
    "TaskSpec",
    "aggregate",
    "aggregate_edits",
    "json_schema",
    "schema_text",
]
