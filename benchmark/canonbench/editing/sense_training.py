"""A Backpack in which nothing trains but vectors added to senses: all else is computed once for each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers.modeling_outputs import CausalLMOutput

ROOM = 2**30
"""Bytes of what is kept of sequences; what goes beyond is computed anew each time."""


class Read(NamedTuple):
    """What a Backpack makes of one sequence of T tokens: base + weights @ deltas[which]."""

    base: Tensor
    """(T, D) what the output layer would see without the vectors."""
    weights: Tensor
    """(T, M) how much of each of the M vectors that the sequence's tokens have goes into each position."""
    which: Tensor
    """(M,) their places among all vectors."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return int(self.base.nbytes + self.weights.nbytes + self.which.nbytes)


class OnlySenses(nn.Module):
    """The causal LM that ``model`` is, as a function of the deltas of its SenseEdit: ``deltas`` is its own parameter.

    The weights of senses do not depend on the senses, so each output is affine in the deltas. Its two parts are
    computed when a sequence comes for the first time, and kept: a later step costs the output layer and two small
    products. Other weights of ``model`` must not change meanwhile.
    """

    def __init__(self, model: Any) -> None:
        """``model`` is a BackpackForCausalLM with edited senses."""
        super().__init__()
        self._model = (model,)  # no submodule: what is in there does not train, nor is it run by modules' names
        self._edit = (model.backpack.sense_edit,)
        self.deltas = model.backpack.sense_edit.deltas
        self.lm_head = model.lm_head
        self._places: dict[int, list[int]] = {}
        for place, token in enumerate(model.backpack.sense_edit.token_ids.tolist()):
            self._places.setdefault(token, []).append(place)
        self._kept: dict[tuple[int, ...], Read] = {}
        self._room = ROOM

    @property
    def config(self) -> Any:
        """The Backpack's."""
        return self._model[0].config

    @property
    def dtype(self) -> torch.dtype:
        """The Backpack's."""
        dtype: torch.dtype = self._model[0].dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """The Backpack's."""
        device: torch.device = self._model[0].device
        return device

    def get_output_embeddings(self) -> Any:
        """The Backpack's."""
        return self.lm_head

    def first_edited(self, ids: Sequence[int]) -> int:
        """The first place whose token has a vector; ``len(ids)`` if none has. Outputs before it do not change."""
        return next((place for place, token in enumerate(ids) if token in self._places), len(ids))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, use_cache: bool = False) -> CausalLMOutput:  # noqa: ARG002
        """Logits (B, T, V).

        Args:
            input_ids: (B, T), padded on the right.
            attention_mask: (B, T), 1 at tokens.
            use_cache: ignored: whole sequences come again, not their beginnings.
        """
        lengths = attention_mask.sum(1).tolist()
        sequences = [tuple(row[:length]) for row, length in zip(input_ids.tolist(), lengths, strict=True)]
        found = self._read(sequences)
        rows = [base + weights @ self.deltas[which] for base, weights, which in map(found.__getitem__, sequences)]
        hidden = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return CausalLMOutput(logits=self.lm_head(hidden))

    def _read(self, sequences: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], Read]:
        found = {ids: self._kept[ids] for ids in sequences if ids in self._kept}
        new = [ids for ids in dict.fromkeys(sequences) if ids not in found]
        for ids, read in zip(new, self._run(new), strict=True):
            found[ids] = read
            if read.nbytes <= self._room:
                self._room -= read.nbytes
                self._kept[ids] = read
        return found

    @torch.no_grad()
    def _run(self, sequences: Sequence[tuple[int, ...]]) -> list[Read]:
        if not sequences:
            return []
        (model,), (edit,) = self._model, self._edit
        rows = [torch.tensor(ids, device=self.device) for ids in sequences]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        unedited = {"sense_edit.deltas": torch.zeros_like(edit.deltas)}
        inputs = {"attention_mask": mask, "use_cache": False, "output_contextualization": True}
        output = functional_call(model.backpack, unedited, (ids,), inputs)
        return [
            self._part(own, output.last_hidden_state[row, : len(own)], output.contextualization[row])
            for row, own in enumerate(sequences)
        ]

    def _part(self, ids: tuple[int, ...], base: Tensor, weights: Tensor) -> Read:
        """What is kept of one sequence, of whose weights (L, T, T) few are needed."""
        (edit,) = self._edit
        which = sorted({place for token in ids for place in self._places.get(token, ())})
        column = {place: number for number, place in enumerate(which)}
        found = weights.new_zeros(len(ids), len(which))
        for source, token in enumerate(ids):
            for place in self._places.get(token, ()):
                found[:, column[place]] += weights[edit.sense_ids[place], : len(ids), source]
        return Read(base.clone(), found, torch.tensor(which, dtype=torch.long, device=base.device))
