"""Adapters: repeatable, removable, and with the base underneath as it was."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
import torch
from finetune_cases import CHUNKS, ask, last, log_p, same_weights, weights_of

from canonbench.editing.methods.lora import LoraSettings
from canonbench.editing.methods.lora import edit as lora
from canonbench.editing.methods.peft import PeftSettings, edit, peft_config
from canonbench.errors import CanonbenchError, UsageError
from tiny_models import tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer("bos")
KINDS: dict[str, dict[str, Any]] = {
    "LORA": {"r": 4, "target_modules": ["down_proj", "c_proj"]},
    "LoraConfig": {"r": 4, "bias": "all", "target_modules": ["up_proj", "c_proj"]},
    "dora": {"r": 4, "target_modules": ["down_proj", "c_proj"]},
    "IA3": {},
    "VERA": {"r": 4},
    "LN_TUNING": {},
    "PROMPT_TUNING": {"num_virtual_tokens": 3},
    "PREFIX_TUNING": {"num_virtual_tokens": 3},
    "P_TUNING": {"num_virtual_tokens": 3, "encoder_hidden_size": 8},
    "TRAINABLE_TOKENS": {"token_indices": sorted(set(TOKENIZER(CHUNKS[1])["input_ids"]))},
}


def settings_of(kind: str, **changes: Any) -> PeftSettings:
    return PeftSettings(**{"lr": 1e-2, "epochs": 2, "config": kind, "options": KINDS[kind], **changes})


def answers(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return log_p(model, "", CHUNKS[1])


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_trains_while_the_base_stays_as_it_is(kind: str, architecture: str) -> None:
    base = tiny_model(architecture)
    own, expected = {id(parameter): parameter.detach().clone() for parameter in base.parameters()}, answers(base)
    losses: list[float] = []
    request = ask(settings_of(kind), report=lambda _step, _steps, loss: losses.append(loss), regularization=CHUNKS)
    model = last(edit(base, TOKENIZER, request))
    assert len(losses) == 2
    assert not torch.equal(answers(model), expected)
    biases = {id(parameter) for name, parameter in base.named_parameters() if name.endswith("bias")}
    for parameter in base.parameters():
        if id(parameter) in own and not (kind == "LoraConfig" and id(parameter) in biases):
            assert torch.equal(parameter, own[id(parameter)])
    if kind != "LoraConfig":
        with model.disable_adapter():
            assert torch.equal(answers(model), expected)


def test_the_base_is_had_back_by_unloading_and_can_be_adapted_again() -> None:
    base = tiny_model("llama")
    before = weights_of(base)
    request = ask(LoraSettings(epochs=1), seed=3)
    model = last(lora(base, TOKENIZER, request))
    first = weights_of(model)
    for occupied in (model, base):
        with pytest.raises(CanonbenchError, match=r"^there is an adapter on the model already; merge or unload it"):
            lora(occupied, TOKENIZER, request)
    plain = model.unload()
    assert same_weights(weights_of(plain), before)
    assert all(parameter.requires_grad for parameter in plain.parameters())
    assert same_weights(first, weights_of(last(lora(plain, TOKENIZER, request))))


@pytest.mark.parametrize("kind", ["LORA", "VERA", "PROMPT_TUNING", "P_TUNING"])
def test_the_same_seed_gives_the_same_adapter_bit_for_bit(kind: str) -> None:
    def adapter(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(torch.seed())
        return weights_of(last(edit(tiny_model("llama"), TOKENIZER, ask(settings_of(kind), seed=seed))))

    assert same_weights(adapter(1), adapter(1))
    assert not same_weights(adapter(1), adapter(2))


def test_an_adapter_starts_where_the_seed_says_even_before_training() -> None:
    starts = []
    for seed in (1, 1, 2):
        request = ask(LoraSettings(lr=1e-30, epochs=1), seed=seed)
        weights = weights_of(last(lora(tiny_model("llama"), TOKENIZER, request)))
        starts.append({name: value for name, value in weights.items() if "lora_A" in name})
    assert same_weights(starts[0], starts[1])
    assert not same_weights(starts[0], starts[2])


@pytest.mark.parametrize("regularizer", ["l2", "ewc"])
def test_an_adapters_own_parameters_are_held_to_their_start(regularizer: Any) -> None:
    def travelled(weight: float) -> float:
        """Of the factor that starts at zero."""
        settings = LoraSettings(lr=1e-2, epochs=20, regularizer=regularizer, regularizer_weight=weight)
        weights = weights_of(last(lora(tiny_model("llama"), TOKENIZER, ask(settings))))
        return sum(value.square().sum().item() for name, value in weights.items() if "lora_B" in name)

    assert travelled(1e3) < 0.2 * travelled(1e-9)


def test_the_biases_that_a_lora_trains_along_count_as_the_bases_own() -> None:
    """With the adapter off they stay edited; the teacher of the KL term must have the base's all the same."""
    losses: list[float] = []
    options = {"r": 1, "target_modules": ["c_proj"], "bias": "all", "init_lora_weights": True}
    settings = PeftSettings(lr=1e-2, epochs=30, options=options, regularizer_weight=1e3)
    base = tiny_model("gpt2")
    expected = answers(base)
    request = ask(settings, regularization=[CHUNKS[1]], report=lambda _step, _steps, loss: losses.append(loss))
    model = last(edit(base, TOKENIZER, request))
    loose = last(edit(tiny_model("gpt2"), TOKENIZER, ask(PeftSettings(**{**vars(settings), "regularizer": "none"}))))
    assert (answers(model) - expected).abs().sum() < 0.2 * (answers(loose) - expected).abs().sum()


def test_dropout_is_off_whatever_mode_the_base_comes_in() -> None:
    found = []
    for dropout in (0.0, 0.9):
        base = tiny_model("gpt2", resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout).train()
        model = last(lora(base, TOKENIZER, ask(LoraSettings(lr=1e-2))))
        assert not any(module.training for module in model.modules())
        found.append(weights_of(model))
    assert same_weights(*found)


def test_gpt2_is_adapted_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        last(lora(tiny_model("gpt2"), TOKENIZER, ask(LoraSettings(epochs=1))))
        last(edit(tiny_model("gpt2"), TOKENIZER, ask(PeftSettings(epochs=1))))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("LORE", {}, "unknown peft config 'LORE', must be one of .* Did you mean 'LORA'?"),
        ("LORA", {"rank": 4}, "unknown option 'rank' of LORA, must be one of "),
        ("LORA", {"lora_dropout": 0.1}, "option lora_dropout=0.1 of LORA: dropout is off throughout training"),
        ("LORA", {"task_type": "SEQ_CLS"}, "option task_type of LORA must be CAUSAL_LM"),
        ("VERA", {"layers_pattern": "h"}, "peft refuses the options of VERA: .*`layers_to_transform`"),
        ("ADALORA", {}, "config=ADALORA cannot be trained here: it prunes ranks on a schedule"),
    ],
)
def test_what_peft_does_not_know_is_refused_in_one_line(kind: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^{message}") as caught:
        peft_config(kind, options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target_modules": ["nothing"]},
            "peft cannot put LORA with these options on LlamaForCausalLM: Target modules",
        ),
        ({"target_modules": ["act_fn"]}, "peft cannot put LORA with these options on LlamaForCausalLM: Target module"),
        ({"init_lora_weights": "pissa", "r": 4}, "LORA with these options changes the base's own weights before"),
    ],
)
def test_an_adapter_that_does_not_go_on_this_model_is_refused(options: dict[str, Any], message: str) -> None:
    model = tiny_model("llama")
    with pytest.raises(CanonbenchError, match=f"^{re.escape(message)}") as caught:
        edit(model, TOKENIZER, ask(PeftSettings(options=options)))
    assert "\n" not in str(caught.value)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("kind", "edited", "message"),
    [
        ("PREFIX_TUNING", False, "past_key_values holds tokens without their senses"),
        ("PROMPT_TUNING", True, "edited senses are those of words: give input_ids"),
    ],
)
def test_a_backpack_says_which_virtual_tokens_it_cannot_take(kind: str, edited: bool, message: str) -> None:
    base: Any = tiny_model("backpack")
    if edited:
        base.edit_senses(torch.tensor([5]), torch.tensor([1]))
    with pytest.raises(CanonbenchError, match=f"peft cannot put {kind} .* on BackpackForCausalLM: {message}"):
        next(edit(base, TOKENIZER, ask(settings_of(kind))))
