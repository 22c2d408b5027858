"""Editing methods: their contract, the built-in methods, and the training loop that finetuning methods share."""

from canonbench.editing.contract import ChecksModel, EditRequest
from canonbench.editing.isolation import Isolation, foreign
from canonbench.editing.merging import Merging, Senses, StoredDelta, merge_adapters, merge_deltas, union
from canonbench.editing.method import BUILT_IN, GROUP, Method, find_method
from canonbench.editing.methods.senses import SensesSettings, choose
from canonbench.editing.settings import REQUIRED, SettingDoc, fields_of, merged, names, parse_settings, read_assignments

__all__ = [
    "BUILT_IN",
    "GROUP",
    "REQUIRED",
    "ChecksModel",
    "EditRequest",
    "Isolation",
    "Merging",
    "Method",
    "Senses",
    "SensesSettings",
    "SettingDoc",
    "StoredDelta",
    "choose",
    "fields_of",
    "find_method",
    "foreign",
    "merge_adapters",
    "merge_deltas",
    "merged",
    "names",
    "parse_settings",
    "read_assignments",
    "union",
]
