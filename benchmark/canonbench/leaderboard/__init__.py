"""Rows: their schema, and the one function that computes their numbers from per-example values."""

from canonbench.leaderboard.aggregate import Aggregates, GeneralText, TaskSpec, aggregate
from canonbench.leaderboard.row import ComparableGroup, Fingerprints, ModelReference, Provenance, Row, SuiteReference
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
    "Fingerprints",
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
    "json_schema",
    "schema_text",
]
