"""Every step's gradient against the independent loop of ``finetune_cases``, in float64."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from finetune_cases import CANONICAL, CHUNKS, ask, divergence, example_loss, gradients_of_steps, last, reference_steps
from peft import PromptTuningConfig, TaskType

from canonbench.editing.methods.full import FullSettings, edit
from canonbench.editing.training.adapters import adapt, train
from canonbench.editing.training.batches import Chunks
from canonbench.editing.training.finetune import finetune
from canonbench.editing.training.regularizers import Base, fisher, kl
from canonbench.editing.training.weights import Weights
from canonbench.likelihood.blocks import decoder_blocks
from canonbench.models.architecture import output_layer
from tiny_models import ARCHITECTURES, tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer("plain")
EXACT = "mpt"
"""An architecture that computes in float64 throughout if told to, and whose parameters all have gradients."""


def model_of(architecture: str = "gpt2") -> Any:
    return tiny_model(architecture).double()


def assert_same_steps(model: Any, settings: FullSettings, loss: str = "nll") -> None:
    """canonbench's steps and the reference's: gradients, and the weights that they end with.

    Only weights train. Attention's key biases have no gradient but rounding, which Adam makes into steps.
    """
    names = [name for name, _ in model.named_parameters() if name.endswith("weight")]
    reference = copy.deepcopy(model)
    for name, parameter in reference.named_parameters():
        parameter.requires_grad_(name in names)
    expected = reference_steps(reference, settings, loss)
    with gradients_of_steps() as found:
        last(finetune(model, TOKENIZER, ask(settings, loss=loss), names))
    assert len(found) == settings.epochs
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(list(model.parameters()), list(reference.parameters()))


@pytest.mark.parametrize("loss", ["nll", "likelihood", "balance", "preference"])
def test_each_task_loss_has_the_gradient_of_one_sequence_at_a_time(loss: str) -> None:
    assert_same_steps(model_of(), FullSettings(lr=1e-3, epochs=3, regularizer="none"), loss)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_and_picked_positions_change_no_gradient_on_any_architecture(architecture: str) -> None:
    model = model_of(architecture)
    (expected,) = reference_steps(copy.deepcopy(model), FullSettings(epochs=1), "nll")
    with gradients_of_steps() as found:
        last(edit(model, TOKENIZER, ask(FullSettings(epochs=1))))
    # some norms are computed in float32 whatever the model's dtype
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("regularizer", "weight"), [("kl", 0.5), ("l2", 30.0), ("ewc", 3.0)])
def test_each_regulariser_has_the_gradient_of_its_formula(regularizer: Any, weight: float) -> None:
    """l2 and ewc pull at nothing in the first step; the second and third tell whether they pull right."""
    settings = FullSettings(lr=1e-3, epochs=3, regularizer=regularizer, regularizer_weight=weight)
    assert_same_steps(model_of(), settings)


@pytest.mark.parametrize("tied", [True, False])
def test_the_teacher_is_the_base_whether_or_not_embeddings_are_tied(tied: bool) -> None:
    model = tiny_model("gpt2", tie_word_embeddings=tied).double()
    assert_same_steps(model, FullSettings(lr=1e-3, epochs=3, regularizer_weight=1.0))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_the_upper_blocks_alone_has_the_same_gradient(architecture: str) -> None:
    model = model_of(architecture)
    _, (_, upper) = decoder_blocks(model)
    own = {id(parameter) for parameter in upper.parameters()}
    names = [name for name, parameter in model.named_parameters() if id(parameter) in own]
    reference = copy.deepcopy(model)
    for name, parameter in reference.named_parameters():
        parameter.requires_grad_(name in names)
    settings = FullSettings(lr=1e-3, epochs=2, regularizer_weight=1.0)
    expected = reference_steps(reference, settings, "nll")
    with gradients_of_steps() as found:
        last(finetune(model, TOKENIZER, ask(settings), names))
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-5)
    if architecture == EXACT:  # elsewhere the second step is of weights that the first one's rounding has moved
        torch.testing.assert_close(found[1], expected[1])


def test_chunks_of_different_lengths_weigh_as_their_sums_over_tokens() -> None:
    model = model_of()
    base = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.linspace(-0.01, 0.01, parameter.numel()).view_as(parameter))
    weights = Weights(model, [name for name, _ in model.named_parameters()])
    chunks, twin = (Chunks(model, TOKENIZER, CHUNKS, np.random.default_rng(3)) for _ in range(2))
    drawn = [TOKENIZER.decode(ids) for ids, _ in twin.draw(4)]
    assert len(set(drawn)) > 1
    start = Base(dict(base.named_parameters()), nullcontext)
    value = kl(model, weights, start, chunks, weight=0.7)(4)
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    expected = 0.7 * sum(divergence(base, model, text) for text in drawn) / 4
    expected.backward()
    assert value == pytest.approx(expected.item())
    torch.testing.assert_close(found, [parameter.grad for parameter in model.parameters()])


def test_fisher_information_is_the_mean_over_chunks_of_the_squared_gradient() -> None:
    model = model_of()
    weights = Weights(model, ["transformer.h.1.mlp.c_fc.weight"])
    found = fisher(model, weights, Chunks(model, TOKENIZER, CHUNKS, np.random.default_rng(0)).draw_distinct(9))
    (parameter,) = weights.live.values()
    squares = []
    for text in CHUNKS:
        ids = torch.tensor([TOKENIZER(text)["input_ids"]])
        loss = model(input_ids=ids, labels=ids).loss * (ids.shape[1] - 1)
        squares.append(torch.autograd.grad(loss, parameter)[0] ** 2)
    torch.testing.assert_close(next(iter(found.values())), sum(squares) / len(CHUNKS))


def test_released_accumulation_takes_the_gradient_of_one_example_of_the_batch_undivided() -> None:
    alone = {}
    for example in CANONICAL:
        model = model_of()
        example_loss(model, example, "nll").backward()
        alone[example.prefix] = model.transformer.h[0].mlp.c_fc.weight.grad
    place = [name for name, _ in model.named_parameters()].index("transformer.h.0.mlp.c_fc.weight")
    taken = set()
    for seed in range(8):
        settings = FullSettings(epochs=1, batch_size=3, accumulation="released", regularizer="none")
        with gradients_of_steps() as found:
            last(edit(model_of(), TOKENIZER, ask(settings, seed=seed)))
        (step,) = found
        taken |= {prefix for prefix, gradient in alone.items() if torch.allclose(step[place], gradient)}
    assert taken == set(alone)  # which one is last is chance


def test_a_prompt_in_front_of_the_tokens_moves_no_position() -> None:
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=3)
    adapted = adapt(model_of("llama"), config, seed=0)
    reference = copy.deepcopy(adapted.model)
    base = reference.base_model
    expected = sum(example_loss(reference, example, "nll") for example in CANONICAL) / len(CANONICAL)
    chunk = "The capital of France is Paris"
    expected = expected + 0.5 * divergence(base, reference, chunk)
    expected.backward()
    settings = FullSettings(epochs=1, regularizer_weight=0.5)
    with gradients_of_steps() as found:
        last(train(adapted, TOKENIZER, ask(settings, regularization=[chunk])))
    wanted = [dict(reference.named_parameters())[name].grad for name in adapted.trained]
    torch.testing.assert_close(found[0], wanted, rtol=1e-5, atol=1e-7)


def test_the_output_layer_is_run_at_no_position_that_is_not_needed() -> None:
    model = model_of()
    rows: list[int] = []
    output_layer(model).register_forward_hook(lambda _layer, args, _output: rows.append(args[0].shape[:-1].numel()))
    last(edit(model, TOKENIZER, ask(FullSettings(epochs=1, regularizer="none"))))
    assert rows == [sum(len(TOKENIZER(example.suffix_a)["input_ids"]) for example in CANONICAL)]
