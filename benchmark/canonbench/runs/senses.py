"""Show the senses that a task's canonical examples choose, and the words they promote before and after an edit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from canonbench.board import ShownSense, Word, escaped
from canonbench.editing import EditRequest, SensesSettings, choose, names, parse_settings
from canonbench.errors import CanonbenchError, UsageError
from canonbench.models import BackpackForCausalLM, EditFile, Loading, Trust, edit_of, load_model
from canonbench.network import to_stderr
from canonbench.runs.edit_run import edit_request
from canonbench.runs.merge_parts import record_of
from canonbench.runs.spec import EvalSpec, announce, resolve
from canonbench.suite import Suite

WORDS = 5
"""Default number of words shown per sense."""


def sense_words(
    model: str | Path,
    task: str,
    *,
    base: str | Path | None = None,
    suite: str | Path | Suite | None = None,
    split: str | None = None,
    general: str | None = None,
    settings: Mapping[str, Any] | None = None,
    words: int = WORDS,
    device: str = "auto",
    allow_pickle: bool = False,
    say: Callable[[str], None] = to_stderr,
) -> list[ShownSense]:
    """Return the senses that sense finetuning would train, or has trained, most important first.

    Args:
        model: a Backpack, or an edit run's artefact with edited senses.
        task: the task whose canonical examples choose the senses.
        base: the model that was edited, if it is not at the place that the artefact names.
        suite, general: as for ``edit``.
        split: the split of the canonical examples; None for the one an artefact of the task was trained on, else val.
        settings: settings of the method ``senses``, on top of those that an artefact of the task was made with.
        words: number of words to show per sense.
        device, allow_pickle: as for ``edit``.
        say: receives notes.

    Raises:
        UsageError: an unknown name, or a setting that the method does not have.
        CanonbenchError: the model is not a Backpack, the artefact does not edit senses, or a file cannot be read.
    """
    how = Loading(device, trust=Trust(allow_pickle), say=say)
    asked = resolve(
        suite=suite, tasks=task, split=split or "val", general=general, protocol_name="canonbench-1", limit=None
    )
    if len(asked.tasks) != 1:
        raise UsageError(f"one task at a time, not {task}")
    parse_settings(SensesSettings, settings or {})  # reports a misspelled name before anything is loaded
    record = edit_of(model, how)
    if record is not None and record.kind != "senses":
        raise CanonbenchError(f"{model} is an edit, but not of senses: there is no before and after to show")
    made = _made(record, asked.tasks[0])
    if split is None and made.get("split") in asked.suite.task(asked.tasks[0]).splits:
        asked = replace(asked, split=made["split"])
    loaded = load_model(model, how, base=base)
    if not isinstance(loaded.model, BackpackForCausalLM):
        raise CanonbenchError(f"{model}: {type(loaded.model).__name__} has no senses to show; give a Backpack model")
    announce(asked, say, by_default=suite is None)
    if record is not None and not made:
        say(f"{model} was not edited for {task}: a sense that none of its examples would choose has no importance")
    chosen = choose(loaded.model, loaded.tokenizer, _request(asked, made, settings or {}))
    places = list(zip(chosen.token_ids.tolist(), chosen.sense_ids.tolist(), strict=True))
    importance = dict(zip(places, chosen.importance.tolist(), strict=True))
    edit = loaded.model.backpack.sense_edit
    if edit is not None:
        places = list(zip(edit.token_ids.tolist(), edit.sense_ids.tolist(), strict=True))
    places.sort(key=lambda place: (-importance.get(place, float("-inf")), place))
    return _shown(loaded.model, loaded.tokenizer, places, importance, words)


def _made(edit: EditFile | None, task: str) -> dict[str, Any]:
    """Return an artefact's record of how the edit for ``task`` was made; empty if it has none for this task."""
    if edit is None:
        return {}
    merged = record_of(edit)
    records = [each.model_dump() for each in merged.edits] if merged else [edit.record]
    return next((record for record in records if record.get("task") == task), {})


def _request(asked: EvalSpec, made: Mapping[str, Any], settings: Mapping[str, Any]) -> EditRequest[SensesSettings]:
    """Build the request to sense finetuning. Settings that only a user's own method has are dropped."""
    known = {name: value for name, value in made.get("hyperparameters", {}).items() if name in names(SensesSettings)}
    given: SensesSettings = parse_settings(SensesSettings, known | dict(settings))
    return edit_request(asked, asked.tasks[0], made.get("seed", 0), given)


@torch.inference_mode()
def _shown(
    model: Any, tokenizer: Any, places: list[tuple[int, int]], importance: Mapping[tuple[int, int], float], words: int
) -> list[ShownSense]:
    token_ids, sense_ids = torch.tensor(places, device=model.device).reshape(-1, 2).unbind(1)
    row = torch.arange(len(places), device=model.device)
    plain, edited = (model.senses(token_ids, edited=flag)[row, sense_ids] for flag in (False, True))
    before = _promoted(model, tokenizer, plain, words)
    has_edit = model.backpack.sense_edit is not None
    after = _promoted(model, tokenizer, edited, words) if has_edit else [None] * len(places)
    return [
        ShownSense(token, spelled(tokenizer, token), sense, importance.get((token, sense)), was, now)
        for (token, sense), was, now in zip(places, before, after, strict=True)
    ]


def _promoted(model: Any, tokenizer: Any, senses: Tensor, count: int) -> list[list[Word]]:
    """Return, for each of the N senses (N, D), the words with the highest logits."""
    found = []
    for sense in senses:
        logits = model.lm_head(sense).float()[: len(tokenizer)]
        values, ids = (each.tolist() for each in logits.topk(min(count, len(logits))))
        found.append([Word(word, spelled(tokenizer, word), value) for word, value in zip(ids, values, strict=True)])
    return found


def spelled(tokenizer: Any, token: int) -> str:
    """Make a token readable: a leading space becomes ``_``, invisible characters are escaped.

    A token that is not text by itself, such as part of a character, is spelled as in the vocabulary.
    """
    (piece,) = tokenizer.convert_ids_to_tokens([token])
    text = tokenizer.convert_tokens_to_string([piece])
    if piece.startswith("▁") and not text.startswith(" "):
        text = f" {text}"  # SentencePiece drops the space at the start of a text
    if "\ufffd" in text:
        text = piece
    seen = "".join(each if each.isprintable() else escaped(each) for each in text)
    return "_" + seen[1:] if seen.startswith(" ") else seen
