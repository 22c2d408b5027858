"""The loop: what it promises besides gradients."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from finetune_cases import CANONICAL, CHUNKS, ask, last, same_weights, weights_of

from canonbench.editing.methods.bitfit import BitfitSettings
from canonbench.editing.methods.bitfit import edit as bitfit
from canonbench.editing.methods.full import FullSettings, edit
from canonbench.editing.methods.lora import LoraSettings
from canonbench.editing.methods.lora import edit as lora
from canonbench.errors import CanonbenchError
from canonbench.likelihood.route import reference_log_probs
from canonbench.likelihood.tokens import Encoder
from canonbench.suite.example import Example
from tiny_models import ARCHITECTURES, tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer("bos")
MANY = [Example(f"The number {number} is", " odd" if number % 2 else " even") for number in range(12)]


def quick(**settings: Any) -> FullSettings:
    return FullSettings(**{"lr": 1e-3, "epochs": 2, **settings})


def trained(seed: int = 0, settings: FullSettings | None = None, **changes: Any) -> dict[str, torch.Tensor]:
    model = tiny_model("llama")
    request = ask(settings or quick(), seed=seed, **{"canonical": MANY, "regularization": CHUNKS, **changes})
    return weights_of(last(edit(model, TOKENIZER, request)))


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_gives_others() -> None:
    first = trained(seed=1)
    torch.manual_seed(1234)
    random.seed(5)
    assert same_weights(first, trained(seed=1))
    assert not same_weights(first, trained(seed=2))


def test_the_order_of_examples_does_not_depend_on_the_regulariser() -> None:
    """Whether chunks are drawn or not, the examples come in the order of the seed."""
    orders = []
    for regularizer in ("none", "kl"):
        losses: list[float] = []
        settings = quick(lr=1e-30, batch_size=1, regularizer=regularizer, regularizer_weight=1e-30)
        trained(settings=settings, report=lambda _step, _steps, loss, losses=losses: losses.append(loss))
        orders.append([round(loss, 6) for loss in losses])
    assert orders[0] == orders[1]
    assert orders[0][:12] != orders[0][12:]  # another order in the second epoch
    assert sorted(orders[0][:12]) == sorted(orders[0][12:])  # of the same examples


def test_torch_keeps_its_random_state() -> None:
    before = torch.get_rng_state()
    trained()
    last(lora(tiny_model("llama"), TOKENIZER, ask(LoraSettings(epochs=1))))
    assert torch.equal(before, torch.get_rng_state())


def test_each_epoch_yields_the_same_object_changed_in_evaluation_mode() -> None:
    model = tiny_model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5).train()
    seen = [weights_of(model)]
    for candidate in edit(model, TOKENIZER, ask(quick(epochs=3))):
        assert candidate is model
        assert not model.training
        seen.append(weights_of(model))
    assert len(seen) == 4
    assert not any(same_weights(one, other) for one, other in itertools.pairwise(seen))
    without = tiny_model("gpt2")
    last(edit(without, TOKENIZER, ask(quick(epochs=3))))
    assert same_weights(seen[-1], weights_of(without))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_measuring_a_candidate_between_epochs_changes_nothing(architecture: str) -> None:
    """Whatever inference mode leaves behind in a model, training goes on as if nobody had looked."""
    questions = Encoder.of(TOKENIZER).texts(CHUNKS)
    looked_at, left_alone = tiny_model(architecture), tiny_model(architecture)
    reference_log_probs(looked_at, questions)
    for candidate in edit(looked_at, TOKENIZER, ask(quick())):
        reference_log_probs(candidate, questions)
    last(edit(left_alone, TOKENIZER, ask(quick())))
    assert same_weights(weights_of(looked_at), weights_of(left_alone))


@pytest.mark.parametrize("end", ["runs out", "is closed", "fails"])
def test_gradient_flags_are_as_they_were_however_training_ends(end: str) -> None:
    model = tiny_model("gpt2")
    model.transformer.wte.weight.requires_grad_(False)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    lr = 1e30 if end == "fails" else 1e-3
    candidates = bitfit(model, TOKENIZER, ask(BitfitSettings(lr=lr, epochs=4)))
    next(candidates)
    assert [parameter.requires_grad for parameter in model.parameters()] != flags
    if end == "fails":
        with pytest.raises(CanonbenchError):
            last(candidates)
    elif end == "is closed":
        candidates.close()
    else:
        last(candidates)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())


def test_every_step_is_reported() -> None:
    reports: list[tuple[int, int, float]] = []
    trained(settings=quick(epochs=3), report=lambda *report: reports.append(report))
    assert [(step, steps) for step, steps, _ in reports] == [(step, 9) for step in range(1, 10)]  # 5 + 5 + 2 of 12
    reports.clear()
    trained(settings=quick(epochs=3, accumulation="released"), report=lambda *report: reports.append(report))
    assert [(step, steps) for step, steps, _ in reports] == [(step, 6) for step in range(1, 7)]  # full batches only


def test_training_teaches() -> None:
    losses: list[float] = []
    settings = quick(lr=3e-3, epochs=20, regularizer="none")
    trained(settings=settings, report=lambda _step, _steps, loss: losses.append(loss))
    assert sum(losses[-3:]) < 0.2 * sum(losses[:3])


def test_kl_keeps_the_model_nearer_to_its_base() -> None:
    def distance(settings: FullSettings) -> float:
        model = tiny_model("llama")
        questions = Encoder.of(TOKENIZER).texts(CHUNKS)
        before = reference_log_probs(model, questions)
        after = reference_log_probs(last(edit(model, TOKENIZER, ask(settings, regularization=CHUNKS))), questions)
        return float(sum(abs(b - a).sum() for b, a in zip(before, after, strict=True)))

    free, held = (distance(quick(epochs=10, regularizer=name)) for name in ("none", "kl"))
    assert held < 0.5 * free


def test_a_loss_that_is_no_number_ends_training_with_the_learning_rate_named() -> None:
    message = r"^task made-up, epoch 2: the training loss is nan; try a learning rate below lr=1e\+30$"
    with pytest.raises(CanonbenchError, match=message):
        trained(settings=quick(lr=1e30, batch_size=12, regularizer="none"))


def test_regularisation_text_is_missed_only_where_it_is_needed() -> None:
    for regularizer in ("none", "l2"):
        trained(settings=quick(epochs=1, regularizer=regularizer), regularization=[])
    for regularizer in ("kl", "ewc"):
        with pytest.raises(CanonbenchError, match=r"^there is no regularisation text .* set regularizer=l2"):
            trained(settings=quick(regularizer=regularizer), regularization=[])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"canonical": []}, "task made-up has no canonical examples"),
        ({"canonical": [*MANY, Example("a", "")]}, "task made-up, canonical example 13: the continuation '' has no"),
        ({"canonical": [Example("x" * 300, " y")]}, "task made-up, canonical example 1: .* the model's context is 256"),
        ({"loss": "balance"}, "task made-up, canonical example 1: the loss 'balance' compares two continuations"),
        ({"regularization": ["x" * 300]}, "regularisation text, chunk 1: .* the model's context is 256"),
    ],
)
def test_what_cannot_be_trained_on_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CanonbenchError, match=f"^{message}"):
        trained(**changes)


def test_released_accumulation_without_a_full_batch_is_refused() -> None:
    settings = quick(batch_size=5, accumulation="released")
    with pytest.raises(CanonbenchError, match=r"3 canonical examples fill no batch of 5.* set a smaller batch_size"):
        trained(settings=settings, canonical=CANONICAL)
    trained(settings=replace(settings, batch_size=3), canonical=CANONICAL)


@pytest.mark.parametrize("regularizer", ["none", "kl", "l2"])
def test_a_bfloat16_model_learns_what_its_float32_twin_learns(regularizer: Any) -> None:
    """At a learning rate that, added to the weights themselves, would mostly be lost."""
    settings = quick(lr=1e-4, epochs=10, regularizer=regularizer)
    start, wide = weights_of(tiny_model("llama")), trained(settings=settings)
    model = tiny_model("llama").to(torch.bfloat16)
    narrow = weights_of(last(edit(model, TOKENIZER, ask(settings, canonical=MANY, regularization=CHUNKS))))
    assert {value.dtype for value in narrow.values()} == {torch.bfloat16}
    name = "model.layers.0.mlp.up_proj.weight"
    moved, expected = narrow[name].float() - start[name].to(torch.bfloat16).float(), wide[name] - start[name]
    slope = (moved * expected).sum() / expected.square().sum()
    assert slope == pytest.approx(1, abs=0.15)
