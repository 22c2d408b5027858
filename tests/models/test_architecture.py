from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from torch import nn
from transformers import FalconConfig, FalconForCausalLM

from canonbench.errors import CanonbenchError
from canonbench.models.architecture import context_length, output_layer, require_causal, vocabulary_size
from tiny_models import ARCHITECTURES, CONTEXT, VOCABULARY, tiny_model

UNLIMITED = {"bloom", "mamba"}


@torch.no_grad()
def run(model: Any, length: int) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=torch.ones(1, length, dtype=torch.long)).logits
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_context_is_as_long_as_the_model_runs(architecture: str) -> None:
    model = tiny_model(architecture)
    length = context_length(model)
    assert length == (None if architecture in UNLIMITED else CONTEXT)
    assert run(model, length or 2 * CONTEXT).isfinite().all()


@pytest.mark.parametrize("architecture", ["gpt2", "gptj", "opt", "mpt", "backpack"])
def test_where_positions_are_a_table_one_more_token_is_too_many(architecture: str) -> None:
    with pytest.raises((IndexError, RuntimeError)):
        run(tiny_model(architecture), CONTEXT + 1)


def test_alibi_lifts_the_limit_and_rotary_positions_keep_it() -> None:
    sizes = {"vocab_size": 384, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    lengths = [
        context_length(FalconForCausalLM(FalconConfig(alibi=alibi, max_position_embeddings=64, **sizes)))
        for alibi in (True, False)
    ]
    assert lengths == [None, 64]


def test_an_old_bloom_files_sequence_length_is_no_limit() -> None:
    assert context_length(tiny_model("bloom", seq_length=64)) is None


@pytest.mark.parametrize("architecture", ["llama", "opt"])
def test_virtual_tokens_take_up_part_of_the_context(architecture: str) -> None:
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=6)
    model = peft.get_peft_model(tiny_model(architecture), config).eval()
    assert context_length(model) == CONTEXT - 6
    assert run(model, CONTEXT - 6).shape[1] == CONTEXT


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_output_layer_has_a_row_per_word_of_the_vocabulary(architecture: str) -> None:
    model = tiny_model(architecture)
    assert output_layer(model).weight.shape == (VOCABULARY, 32)
    assert vocabulary_size(model) == VOCABULARY == run(model, 3).shape[-1]


def test_a_vocabulary_widened_in_memory_is_seen() -> None:
    model = tiny_model("llama")
    model.resize_token_embeddings(400, mean_resizing=False)
    assert vocabulary_size(model) == 400


def test_a_model_without_an_output_layer_is_no_causal_language_model() -> None:
    with pytest.raises(CanonbenchError, match="LlamaModel has no output layer"):
        output_layer(tiny_model("llama").model)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_causal_models_are_recognised_in_every_dtype(architecture: str, dtype: torch.dtype) -> None:
    require_causal(tiny_model(architecture).to(dtype), "m")


def test_a_model_whose_attention_looks_ahead_is_refused() -> None:
    class LookingAhead(nn.Module):
        """Logits of a token depend on the mean over the whole sequence, a little."""

        def __init__(self, share: float) -> None:
            super().__init__()
            self.inner, self.share = tiny_model("llama"), share
            self.config, self.device = self.inner.config, self.inner.device

        def get_output_embeddings(self) -> nn.Module:
            return self.inner.get_output_embeddings()

        def forward(self, **inputs: Any) -> Any:
            found = self.inner(**inputs)
            found.logits = found.logits + self.share * found.logits.mean(1, keepdim=True)
            return found

    require_causal(LookingAhead(0), "m")
    with pytest.raises(CanonbenchError, match="m: LookingAhead sees the tokens that it is to predict"):
        require_causal(LookingAhead(0.2), "m")
