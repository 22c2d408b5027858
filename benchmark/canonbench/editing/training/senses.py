"""Which senses of a Backpack matter to an example and little to other text (arXiv 2402.06155, eq. 8;
docs/reference/methods.md#3-sense-finetuning).

A Backpack in which nothing trains but vectors added to senses: all else is computed once for each sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers.modeling_outputs import CausalLMOutput

from canonbench.editing.training.batches import Encoded, grouped, padded
from canonbench.likelihood import Request

Importance = Literal["paper", "released"]
TOKENS = 2048
"""Tokens that go through the model in one forward at most; it makes L weights for every pair of them in a sequence."""


Weighed = tuple[Sequence[int], Tensor]
"""T token ids, and (L, T) what each sense of each of them weighs."""


class ChosenSenses(NamedTuple):
    """N senses, by token and then by sense, on the CPU."""

    token_ids: Tensor
    """(N,)."""
    sense_ids: Tensor
    """(N,)."""
    importance: Tensor
    """(N,) the highest that any example gives."""


def choose_senses(
    model: Any,
    examples: Sequence[Encoded],
    chunks: Sequence[Request],
    *,
    loss: str,
    k: int,
    penalty: float,
    importance: Importance,
) -> ChosenSenses:
    """The ``k`` most important senses of each example, together.

    The importance of sense l of token v is A(v, l) − penalty · B(v, l). A sums, over the positions that predict the
    example's continuations and over the places of v before them, the weight of the sense there. B is the mean of the
    same sum over the chunks, whose every token is predicted. Senses without weight in the example (A ≤ 0) are left
    out; a low or negative importance does not keep a sense from being among the k highest.

    Args:
        model: a BackpackForCausalLM.
        examples: the canonical examples.
        chunks: of regularisation text; none are needed if ``penalty`` is 0.
        loss: the task's; it says what a second continuation is.
        k: senses of each example.
        penalty: λ of eq. 8.
        importance: ``paper`` adds the second continuation of a pair; ``released``, as the released code, subtracts it
            where it is the wrong one (loss ``preference``).
    """
    factors = (1, -1) if importance == "released" and loss == "preference" else (1, 1)
    received = weights_received(model, [request for example in examples for request in example])
    parts = (
        [(request.ids, next(received) * factor) for request, factor in zip(example, factors, strict=False)]
        for example in examples
    )
    return most_important(parts, mean_weights(model, chunks) if penalty else None, k=k, penalty=penalty)


def most_important(
    examples: Iterable[Sequence[Weighed]], background: Tensor | None, *, k: int, penalty: float
) -> ChosenSenses:
    """``choose_senses`` of what each example's sequences give, and of B (V, L), or none if the penalty is 0."""
    best: dict[tuple[int, int], float] = {}
    for parts in examples:
        words, weights = by_word(parts)
        scores = weights if background is None else weights - penalty * background[words]
        for word, sense, score in _highest(words, scores.masked_fill(weights <= 0, -torch.inf), k):
            best[word, sense] = max(score, best.get((word, sense), score))
    order = sorted(best)
    token_ids, sense_ids = torch.tensor(order, dtype=torch.long).reshape(-1, 2).T.contiguous()
    return ChosenSenses(token_ids, sense_ids, torch.tensor([best[each] for each in order], dtype=torch.float64))


@torch.no_grad()
def weights_received(model: Any, requests: Sequence[Request]) -> Iterator[Tensor]:
    """Per request, (L, T) in float64: what each token's senses weigh, summed over the positions that predict.

    Those are the positions before the request's scored tokens ``ids[start:]``.
    """
    for group in grouped(requests, lambda request: [len(request.ids)], TOKENS):
        batch = padded([(ids, range(0)) for ids, _ in group], model.device)
        weights = model.backpack(
            batch.ids, attention_mask=batch.mask, use_cache=False, output_contextualization=True
        ).contextualization
        for row, (ids, start) in enumerate(group):
            yield weights[row, :, start - 1 : len(ids) - 1, : len(ids)].sum(1, dtype=torch.float64)


def by_word(parts: Sequence[Weighed]) -> tuple[Tensor, Tensor]:
    """The words (W,) of several sequences, and the sums (W, L) of the weights at their places."""
    weights = torch.cat([each for _, each in parts], 1)
    ids = torch.tensor([token for each, _ in parts for token in each], device=weights.device)
    words, place = torch.unique(ids, return_inverse=True)
    return words, weights.new_zeros(len(words), len(weights)).index_add_(0, place, weights.T)


def mean_weights(model: Any, chunks: Sequence[Request]) -> Tensor:
    """B of eq. 8, (V, L) in float64: the mean over chunks of what ``weights_received`` gives, by token."""
    found = torch.zeros(model.config.vocab_size, model.config.num_senses, dtype=torch.float64, device=model.device)
    for (ids, _), weights in zip(chunks, weights_received(model, chunks), strict=True):
        found.index_add_(0, torch.tensor(ids, device=model.device), weights.T)
    return found / len(chunks)


def _highest(words: Tensor, scores: Tensor, k: int) -> Iterator[tuple[int, int, float]]:
    """Word, sense and score of the k highest finite scores (W, L); of equal ones the first."""
    order = scores.flatten().argsort(descending=True, stable=True)[:k]
    for place in order.tolist():
        row, sense = divmod(place, scores.shape[1])
        score = scores[row, sense].item()
        if score > -torch.inf:
            yield int(words[row]), sense, score


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
