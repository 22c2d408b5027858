"""Sense finetuning of a Backpack: choose the senses to train, and train only vectors added to them.

``choose_senses`` finds the senses that matter to an example and little to other text (arXiv 2402.06155, eq. 8;
docs/reference/methods.md#3-sense-finetuning). ``OnlySenses`` computes everything else once per sequence.
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
"""Largest number of tokens per forward pass, which makes L weights for every pair of tokens in a sequence."""


Weighed = tuple[Sequence[int], Tensor]
"""T token ids, and the weights (L, T) of each token's senses."""


class ChosenSenses(NamedTuple):
    """N senses, by token and then by sense, on the CPU."""

    token_ids: Tensor
    """(N,)."""
    sense_ids: Tensor
    """(N,)."""
    importance: Tensor
    """(N,) highest importance over all examples."""


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
    """Choose the ``k`` most important senses of each example, and return their union.

    The importance of sense l of token v is A(v, l) − penalty · B(v, l). A sums the sense's weight over the positions
    that predict the example's continuations and over the occurrences of v before them. B is the mean of the same sum
    over the chunks, where every token is predicted. Senses without weight in the example (A ≤ 0) are excluded; a low
    or negative importance does not exclude a sense from the k highest.

    Args:
        model: a BackpackForCausalLM.
        examples: the canonical examples.
        chunks: chunks of regularisation text; none are needed if ``penalty`` is 0.
        loss: the task's loss, which defines the role of a second continuation.
        k: number of senses per example.
        penalty: λ of eq. 8.
        importance: ``paper`` adds the second continuation of a pair; ``released``, like the released code, subtracts
            it if it is the wrong one (loss ``preference``).
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
    """Choose senses from the weights of each example's sequences and B (V, L), which is None if the penalty is 0."""
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
    """Return, per request, the weights (L, T) in float64 of each token's senses, summed over predicting positions.

    These are the positions before the request's scored tokens ``ids[start:]``.
    """
    for group in grouped(requests, lambda request: [len(request.ids)], TOKENS):
        batch = padded([(ids, range(0)) for ids, _ in group], model.device)
        weights = model.backpack(
            batch.ids, attention_mask=batch.mask, use_cache=False, output_contextualization=True
        ).contextualization
        for row, (ids, start) in enumerate(group):
            yield weights[row, :, start - 1 : len(ids) - 1, : len(ids)].sum(1, dtype=torch.float64)


def by_word(parts: Sequence[Weighed]) -> tuple[Tensor, Tensor]:
    """Return the distinct tokens (W,) of several sequences, and their summed weights (W, L)."""
    weights = torch.cat([each for _, each in parts], 1)
    ids = torch.tensor([token for each, _ in parts for token in each], device=weights.device)
    words, place = torch.unique(ids, return_inverse=True)
    return words, weights.new_zeros(len(words), len(weights)).index_add_(0, place, weights.T)


def mean_weights(model: Any, chunks: Sequence[Request]) -> Tensor:
    """Compute B of eq. 8, (V, L) in float64: the mean over chunks of ``weights_received``, by token."""
    found = torch.zeros(model.config.vocab_size, model.config.num_senses, dtype=torch.float64, device=model.device)
    for (ids, _), weights in zip(chunks, weights_received(model, chunks), strict=True):
        found.index_add_(0, torch.tensor(ids, device=model.device), weights.T)
    return found / len(chunks)


def _highest(words: Tensor, scores: Tensor, k: int) -> Iterator[tuple[int, int, float]]:
    """Return token, sense and score of the k highest finite scores (W, L); the first of equal ones."""
    order = scores.flatten().argsort(descending=True, stable=True)[:k]
    for place in order.tolist():
        row, sense = divmod(place, scores.shape[1])
        score = scores[row, sense].item()
        if score > -torch.inf:
            yield int(words[row]), sense, score


ROOM = 2**30
"""Bytes of memory for cached sequences; sequences beyond it are computed again each time."""


class Read(NamedTuple):
    """A Backpack's final hidden states on one sequence of T tokens, as base + weights @ deltas[which]."""

    base: Tensor
    """(T, D) input of the output layer without the vectors."""
    weights: Tensor
    """(T, M) weight, at each position, of each of the M vectors of the sequence's tokens."""
    which: Tensor
    """(M,) indices of these vectors among all vectors."""

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return int(self.base.nbytes + self.weights.nbytes + self.which.nbytes)


class OnlySenses(nn.Module):
    """The causal LM ``model`` as a function of the deltas of its SenseEdit; ``deltas`` is its only parameter.

    Sense weights do not depend on the senses, so each input of the output layer is affine in the deltas. Both parts
    are computed once per sequence and cached, so later steps cost only the output layer and two small products. The
    other weights of ``model`` must not change meanwhile.
    """

    def __init__(self, model: Any) -> None:
        """Wrap ``model``, a BackpackForCausalLM with edited senses."""
        super().__init__()
        self._model = (model,)  # in a tuple, so that its parameters are not registered here
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
        """The Backpack's configuration."""
        return self._model[0].config

    @property
    def dtype(self) -> torch.dtype:
        """The Backpack's dtype."""
        dtype: torch.dtype = self._model[0].dtype
        return dtype

    @property
    def device(self) -> torch.device:
        """The Backpack's device."""
        device: torch.device = self._model[0].device
        return device

    def get_output_embeddings(self) -> Any:
        """Return the Backpack's output layer."""
        return self.lm_head

    def first_edited(self, ids: Sequence[int]) -> int:
        """Return the first position whose token has a vector, else ``len(ids)``. Outputs before it do not change."""
        return next((place for place, token in enumerate(ids) if token in self._places), len(ids))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, use_cache: bool = False) -> CausalLMOutput:  # noqa: ARG002
        """Compute logits (B, T, V).

        Args:
            input_ids: (B, T), padded on the right.
            attention_mask: (B, T), 1 at tokens.
            use_cache: ignored, since whole sequences are repeated and not their prefixes.
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
        """Return the cached parts of one sequence; only few of its weights (L, T, T) are needed."""
        (edit,) = self._edit
        which = sorted({place for token in ids for place in self._places.get(token, ())})
        column = {place: number for number, place in enumerate(which)}
        found = weights.new_zeros(len(ids), len(which))
        for source, token in enumerate(ids):
            for place in self._places.get(token, ()):
                found[:, column[place]] += weights[edit.sense_ids[place], : len(ids), source]
        return Read(base.clone(), found, torch.tensor(which, dtype=torch.long, device=base.device))
