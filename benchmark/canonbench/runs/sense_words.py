"""Which senses a task's canonical examples choose, and which words they promote, before and after an edit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from canonbench.editing.senses import SensesSettings, choose
from canonbench.editing.settings import names, parse_settings
from canonbench.errors import CanonbenchError, UsageError
from canonbench.models.backpack import BackpackForCausalLM
from canonbench.models.checkpoint import Trust
from canonbench.models.load import Loading, edit_of, load_model
from canonbench.offline import to_stderr
from canonbench.runs.edit_request import edit_request
from canonbench.runs.settings import announce, resolve
from canonbench.suite import Suite

WORDS = 5
"""Words that are shown of each sense."""


@dataclass(frozen=True)
class Word:
    """A token that a sense promotes."""

    text: str
    """As ``spelled``."""
    logit: float
    """What the sense alone, at weight 1, adds to its logit."""


@dataclass(frozen=True)
class ShownSense:
    """A sense of a token."""

    token: str
    """As ``spelled``."""
    sense: int
    importance: float | None
    """To the canonical example that it matters to most (arXiv 2402.06155, eq. 8); None if none of them chose it."""
    before: list[Word]
    """The words that it promotes most, of the base."""
    after: list[Word] | None
    """Likewise with the edit; None if there is no edit."""


def sense_words(
    model: str | Path,
    task: str,
    *,
    base: str | Path | None = None,
    suite: str | Path | Suite | None = None,
    split: str = "val",
    general: str | None = None,
    settings: Mapping[str, Any] | None = None,
    words: int = WORDS,
    device: str = "auto",
    allow_pickle: bool = False,
    say: Callable[[str], None] = to_stderr,
) -> list[ShownSense]:
    """The senses that sense finetuning would train, or has trained, by falling importance.

    Args:
        model: a Backpack, or what an edit run kept of one whose senses were edited.
        task: whose canonical examples choose.
        base: the model that was edited, where it is not where the artefact says.
        suite, split, general: as for ``edit``.
        settings: of the method ``senses``; those that an artefact was made with, if it says so, unless given.
        words: how many are shown of each sense.
        device, allow_pickle: as for ``edit``.
        say: receives notes.

    Raises:
        UsageError: an unknown name, or a setting that the method does not have.
        CanonbenchError: the model is no Backpack, the artefact does not edit senses, or something cannot be read.
    """
    asked = resolve(
        suite=suite, tasks=task, split=split, general=general, protocol_name="canonbench-1", limit=None, seed=0
    )
    if len(asked.tasks) != 1:
        raise UsageError(f"one task at a time, not {task}")
    how = Loading(device, trust=Trust(allow_pickle), say=say)
    parse_settings(SensesSettings, settings or {})  # a misspelled name is told before anything is loaded
    record = edit_of(model, how)
    made_with = (record.record.get("hyperparameters") or {}) if record is not None else {}
    assert isinstance(made_with, dict)
    known = {name: value for name, value in made_with.items() if name in names(SensesSettings)}
    loaded = load_model(model, how, base=base)
    _require_senses(loaded.model, str(model), is_edit=record is not None)
    announce(asked, say, by_default=suite is None)
    given = parse_settings(SensesSettings, known | dict(settings or {}))
    seed = record.record.get("seed", 0) if record is not None else 0
    chosen = choose(loaded.model, loaded.tokenizer, edit_request(asked, asked.tasks[0], int(str(seed)), given))
    places = list(zip(chosen.token_ids.tolist(), chosen.sense_ids.tolist(), strict=True))
    importance = dict(zip(places, chosen.importance.tolist(), strict=True))
    edit = loaded.model.backpack.sense_edit
    if edit is not None:
        places = list(zip(edit.token_ids.tolist(), edit.sense_ids.tolist(), strict=True))
    places.sort(key=lambda place: (-importance.get(place, float("-inf")), place))
    return _shown(loaded.model, loaded.tokenizer, places, importance, words)


def _require_senses(model: Any, name: str, *, is_edit: bool) -> None:
    if not isinstance(model, BackpackForCausalLM):
        raise CanonbenchError(f"{name}: {type(model).__name__} has no senses to look at; give a Backpack model")
    if is_edit and model.backpack.sense_edit is None:
        raise CanonbenchError(f"{name} is an edit of a Backpack, but not of its senses: there is no before and after")


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
        ShownSense(spelled(tokenizer, token), sense, importance.get((token, sense)), was, now)
        for (token, sense), was, now in zip(places, before, after, strict=True)
    ]


def _promoted(model: Any, tokenizer: Any, senses: Tensor, count: int) -> list[list[Word]]:
    """Per sense (N, D), the words of highest logit."""
    found = []
    for sense in senses:
        logits = model.lm_head(sense).float()[: len(tokenizer)]
        values, ids = logits.topk(min(count, len(logits)))
        found.append(
            [Word(spelled(tokenizer, word), value) for word, value in zip(ids.tolist(), values.tolist(), strict=True)]
        )
    return found


def spelled(tokenizer: Any, token: int) -> str:
    """A token for people: its leading space as ``_``, what cannot be seen escaped."""
    text = tokenizer.convert_tokens_to_string(tokenizer.convert_ids_to_tokens([token]))
    plain = text if text.isprintable() else json.dumps(text)[1:-1]
    return "_" + plain[1:] if plain.startswith(" ") else plain
