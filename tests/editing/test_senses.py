"""Sense finetuning: which senses are chosen, and that what is kept between steps changes no step."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from finetune_cases import CANONICAL, CHUNKS, ask, divergence, example_loss, gradients_of_steps, last
from torch import Tensor

from canonbench.editing.method import find_method
from canonbench.editing.methods.senses import SensesSettings, choose, edit
from canonbench.editing.training import senses as sense_training
from canonbench.editing.training.batches import encode_canonical
from canonbench.editing.training.finetune import finetune
from canonbench.editing.training.senses import OnlySenses, by_word, mean_weights, most_important, weights_received
from canonbench.errors import CanonbenchError
from canonbench.likelihood.tokens import Request
from tiny_models import tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer("plain")
DELTAS = "backpack.sense_edit.deltas"


def backpack(seed: int = 0) -> Any:
    return tiny_model("backpack", seed=seed)


def contextualization(model: Any, ids: tuple[int, ...]) -> Tensor:
    """(L, T, T) of one sequence."""
    with torch.no_grad():
        weights: Tensor = model(torch.tensor([ids]), output_contextualization=True).contextualization[0]
    return weights


# Two sources of the tokens 7 and 3, then 7 again; the weights of two senses, summed over what is predicted.
RECEIVED = torch.tensor([[0.5, 0.3, 0.25], [0.125, 0.0, 0.5]], dtype=torch.float64)
BACKGROUND = torch.zeros(10, 2, dtype=torch.float64)
BACKGROUND[7] = torch.tensor([0.25, 0.0])


def test_weights_of_a_word_add_up_over_its_places() -> None:
    words, weights = by_word([((7, 3, 7), RECEIVED)])
    assert words.tolist() == [3, 7]
    assert weights.tolist() == [[0.3, 0.0], [0.75, 0.625]]


@pytest.mark.parametrize(
    ("penalty", "k", "chosen"),
    [
        (0, 1, {(7, 0): 0.75}),
        (0, 2, {(7, 0): 0.75, (7, 1): 0.625}),
        (1, 1, {(7, 1): 0.625}),  # 0.75 - 0.25 for the other sense
        (1, 2, {(7, 0): 0.5, (7, 1): 0.625}),
        (4, 3, {(3, 0): 0.3, (7, 0): -0.25, (7, 1): 0.625}),  # a negative importance is no bar
        (4, 9, {(3, 0): 0.3, (7, 0): -0.25, (7, 1): 0.625}),  # but sense 1 of token 3 has no weight at all
    ],
)
def test_the_most_important_senses_worked_out_by_hand(
    penalty: float, k: int, chosen: dict[tuple[int, int], float]
) -> None:
    background = BACKGROUND if penalty else None
    found = most_important([[((7, 3, 7), RECEIVED)]], background, k=k, penalty=penalty)
    places = zip(found.token_ids.tolist(), found.sense_ids.tolist(), strict=True)
    assert dict(zip(places, found.importance.tolist(), strict=True)) == pytest.approx(chosen)


def test_each_example_chooses_and_a_sense_keeps_the_highest_importance() -> None:
    found = most_important([[((7, 3, 7), RECEIVED)], [((7, 3, 7), 2 * RECEIVED)]], None, k=1, penalty=0)
    assert (found.token_ids.tolist(), found.sense_ids.tolist(), found.importance.tolist()) == ([7], [0], [1.5])


def test_weights_are_summed_over_the_positions_that_predict_the_continuation() -> None:
    model = backpack()
    requests = [Request((5, 6, 7, 8), 2), Request((9, 5, 9, 5, 9, 4), 5), Request((8, 8), 1)]
    for (ids, start), found in zip(requests, weights_received(model, requests), strict=True):
        expected = contextualization(model, ids)[:, start - 1 : len(ids) - 1].sum(1)
        torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-6)


def test_the_background_is_the_mean_over_chunks() -> None:
    model = backpack()
    chunks = [Request((5, 6, 5), 1), Request((6, 7), 1)]
    found = mean_weights(model, chunks)
    one, two = (contextualization(model, ids)[:, :-1].sum(1) for ids, _ in chunks)
    torch.testing.assert_close(found[5], (one[:, 0] + one[:, 2]).double() / 2, rtol=0, atol=1e-6)
    torch.testing.assert_close(found[6], (one[:, 1] + two[:, 0]).double() / 2, rtol=0, atol=1e-6)
    assert not found[7].any()  # the last token is in no context


@pytest.mark.parametrize(("importance", "sign"), [("paper", 1), ("released", -1)])
def test_the_second_continuation_of_a_preference_adds_or_as_released_subtracts(importance: Any, sign: int) -> None:
    model = backpack()
    request = ask(SensesSettings(importance=importance, penalty=0, k=1000), loss="preference")
    found = choose(model, TOKENIZER, request)
    expected: dict[tuple[int, int], float] = {}
    for right, wrong in encode_canonical(model, TOKENIZER, request):
        parts = [
            (request.ids, contextualization(model, request.ids)[:, request.start - 1 : -1].sum(1) * factor)
            for request, factor in ((right, 1), (wrong, sign))
        ]
        words, weights = by_word(parts)
        for place, word in enumerate(words.tolist()):
            for sense, weight in enumerate(weights[place].tolist()):
                if weight > 1e-7:
                    expected[word, sense] = max(weight, expected.get((word, sense), 0))
    places = zip(found.token_ids.tolist(), found.sense_ids.tolist(), strict=True)
    assert dict(zip(places, found.importance.tolist(), strict=True)) == pytest.approx(expected, abs=1e-5)


def test_other_losses_add_both_continuations_either_way() -> None:
    model = backpack()
    paper, released = (
        choose(model, TOKENIZER, ask(SensesSettings(importance=importance), loss="balance"))  # type: ignore[arg-type]
        for importance in ("paper", "released")
    )
    assert paper.token_ids.equal(released.token_ids)
    assert paper.importance.equal(released.importance)


def whole_model(model: Any, request: Any) -> Any:
    """What ``edit`` starts from, without what it keeps of sequences."""
    chosen = choose(model, TOKENIZER, request)
    model.edit_senses(chosen.token_ids, chosen.sense_ids)
    return model


@pytest.mark.parametrize("loss", ["nll", "likelihood", "balance", "preference"])
@pytest.mark.parametrize("regularizer", ["kl", "l2", "ewc", "none"])
def test_the_trained_vectors_are_those_of_the_loop_through_the_whole_model(loss: str, regularizer: Any) -> None:
    settings = SensesSettings(epochs=3, batch_size=2, k=3, regularizer=regularizer, fisher_chunks=2)
    request = ask(settings, loss=loss, regularization=CHUNKS)
    twin = whole_model(backpack().double(), request)
    expected = [twin.get_parameter(DELTAS).detach().clone() for _ in finetune(twin, TOKENIZER, request, [DELTAS])]
    found = [model.get_parameter(DELTAS).detach().clone() for model in edit(backpack().double(), TOKENIZER, request)]
    assert len(found) == 3
    assert found[0].any()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_the_gradient_of_a_step_is_plain_autograds() -> None:
    settings = SensesSettings(epochs=2, k=4, regularizer_weight=0.5)
    model = backpack()
    with gradients_of_steps() as found:
        last(edit(model, TOKENIZER, ask(settings, regularization=CHUNKS[:1])))
    twin = whole_model(backpack(), ask(settings, regularization=CHUNKS[:1]))
    base = backpack()
    loss = sum(example_loss(twin, example, "nll") for example in CANONICAL) / len(CANONICAL)
    loss = loss + 0.5 * divergence(base, twin, CHUNKS[0])
    (expected,) = torch.autograd.grad(loss, [twin.get_parameter(DELTAS)])
    torch.testing.assert_close(found[0][0], expected, rtol=1e-4, atol=1e-6)


def test_nothing_but_the_vectors_changes_and_candidates_come_in_evaluation_mode() -> None:
    base = backpack()
    before = copy.deepcopy(base.state_dict())
    model = last(edit(base, TOKENIZER, ask(SensesSettings(epochs=2))))
    assert model is base
    assert not model.training
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert {name.rpartition(".")[2] for name in after.keys() - before.keys()} == {"token_ids", "sense_ids", "deltas"}


def test_each_sequence_goes_through_the_gpt_2_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = whole_model(backpack(), ask(SensesSettings()))
    rows: list[int] = []
    model.backpack.gpt2_model.register_forward_hook(lambda *args: rows.append(len(args[2].last_hidden_state)))
    stand_in = OnlySenses(model)
    ids = torch.tensor([[5, 6, 7], [5, 6, 7], [8, 9, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 1], [1, 1, 0]])
    assert rows == []
    for _ in range(3):
        stand_in(ids, mask)
    assert rows == [2]
    monkeypatch.setattr(sense_training, "ROOM", 0)
    forgetful = OnlySenses(model)
    torch.testing.assert_close(forgetful(ids, mask).logits, stand_in(ids, mask).logits)
    forgetful(ids, mask)
    assert rows == [2, 2, 2]


def test_chunks_without_a_changed_word_cost_nothing() -> None:
    model = whole_model(backpack(), ask(SensesSettings(k=1)))
    stand_in = OnlySenses(model)
    edited = model.backpack.sense_edit.token_ids.tolist()
    other = next(token for token in range(100) if token not in edited)
    assert stand_in.first_edited((other, edited[0], other)) == 1
    assert stand_in.first_edited((other, other)) == 2


def test_the_same_seed_makes_the_same_vectors() -> None:
    request = ask(SensesSettings(epochs=2, chunks=2), regularization=CHUNKS)
    one, two = (last(edit(backpack(), TOKENIZER, request)).get_parameter(DELTAS) for _ in range(2))
    assert torch.equal(one, two)


def test_it_is_a_built_in_method_with_typed_settings() -> None:
    assert find_method("senses").settings is SensesSettings


def test_other_models_are_refused_in_one_line() -> None:
    with pytest.raises(CanonbenchError, match="GPT2LMHeadModel has no senses: sense finetuning is for Backpacks"):
        next(edit(tiny_model("gpt2"), TOKENIZER, ask(SensesSettings())))
    edited = last(edit(backpack(), TOKENIZER, ask(SensesSettings(epochs=1))))
    with pytest.raises(CanonbenchError, match="edited senses already"):
        next(edit(edited, TOKENIZER, ask(SensesSettings())))


def test_importance_needs_regularisation_text_unless_nothing_is_subtracted() -> None:
    with pytest.raises(CanonbenchError, match=r"no regularisation text to tell .* or set penalty=0"):
        next(edit(backpack(), TOKENIZER, ask(SensesSettings(), regularization=[])))
    last(edit(backpack(), TOKENIZER, ask(SensesSettings(penalty=0, regularizer="l2", epochs=1), regularization=[])))
