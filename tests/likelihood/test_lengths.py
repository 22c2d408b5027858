"""A model that turns with the length of what it reads is tried out at that length, or fed one length at a time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from likelihood_cases import questions
from transformers import AutoConfig, AutoModelForCausalLM

from canonbench.likelihood import route as routes
from canonbench.likelihood.engine import plan, score
from canonbench.likelihood.route import layout, reference_log_probs, route
from canonbench.models.architecture import attention_window
from canonbench.models.sizes import turning_points
from tiny_models import tiny_model

TOLERANCE = 1e-4
"""Nats per scored token, between two orders of summation in float32. A wrong context moves hundredths at least."""
WORDS = 128

SIZES: dict[str, Any] = {
    "vocab_size": WORDS, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": None,
}  # fmt: skip
EXPERTS = {"num_experts_per_tok": 2, "n_routed_experts": 4, "num_local_experts": 4, "moe_intermediate_size": 16}
COMPRESSED = SIZES | EXPERTS | {
    "num_hidden_layers": 3, "head_dim": 16, "q_lora_rank": 16, "o_groups": 2, "o_lora_rank": 8, "hc_mult": 2,
    "index_n_heads": 2, "index_head_dim": 8, "partial_rotary_factor": 0.5,
}  # fmt: skip
MINIMAX = SIZES | EXPERTS | {
    "head_dim": 8, "num_key_value_heads": 2, "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
LATENT = SIZES | EXPERTS | {
    "head_dim": 4, "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4, "v_head_dim": 8, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
}  # fmt: skip


def random_model(architecture: str, **config: Any) -> Any:
    """A model of any architecture, whose weights are all of consequence."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model(architecture, **config))
        for name, parameter in model.named_parameters():
            is_scale = parameter.ndim == 1 and name.endswith("norm.weight")
            parameter.data.copy_(0.2 * torch.randn_like(parameter) + is_scale)
    return model.eval()


def compressing(window: int, sparse: int, heavy: int, chosen: int, layers: str = "wsh") -> Any:
    """DeepSeek-V4 with a window, two compression lengths, and the number of compressed entries that are chosen."""
    kinds = {"w": "sliding_attention", "s": "compressed_sparse_attention", "h": "heavily_compressed_attention"}
    return random_model(
        "deepseek_v4",
        **COMPRESSED,
        sliding_window=window,
        compress_rates={kinds["s"]: sparse, kinds["h"]: heavy},
        index_topk=chosen,
        layer_types=[kinds[letter] for letter in layers],
    )


def worst(model: Any, longest: int, batch_tokens: int) -> float:
    """The largest difference from one sequence at a time, in nats, over requests of up to ``longest`` tokens."""
    requests = questions(count=12, longest=longest, vocabulary=WORDS)
    packs = plan(model, requests, batch_tokens=batch_tokens)
    found = {index: values for pack in packs for index, values in score(model, pack)}
    truth = reference_log_probs(model, requests)
    return max(float(np.abs(found[index] - own).max()) for index, own in enumerate(truth))


@pytest.mark.parametrize("longest", [16, 40, 90])
@pytest.mark.parametrize(
    "sizes",
    [(16, 4, 8, 4), (3, 4, 8, 4), (8, 5, 24, 3), (24, 4, 8, 4), (128, 48, 80, 4), (16, 4, 8, 4, "whh")],
    ids=str,
)
def test_compressed_and_chosen_context_is_exact_at_every_length(sizes: tuple[Any, ...], longest: int) -> None:
    model = compressing(*sizes)
    assert worst(model, longest, batch_tokens=128) < TOLERANCE


@pytest.mark.parametrize("chosen", [8, 20])
@pytest.mark.parametrize("longest", [16, 40])
def test_tokens_that_are_chosen_by_their_scores_are_exact(chosen: int, longest: int) -> None:
    doge = random_model("doge", **SIZES, num_key_value_heads=2, keep_window_size=chosen)
    assert worst(doge, longest, batch_tokens=128) < TOLERANCE
    sparse = random_model("deepseek_v32", **LATENT, index_n_heads=2, index_head_dim=8, index_topk=chosen)
    assert worst(sparse, longest, batch_tokens=128) < TOLERANCE


def test_a_choice_is_seen_where_it_begins() -> None:
    model = random_model("deepseek_v32", **LATENT, index_n_heads=2, index_head_dim=8, index_topk=70)
    assert layout(model, 30) == layout(model, 30)
    assert layout(model, 30).kind == "tree"
    assert layout(model, 72).kind == "plain"
    assert layout(model, 30).kind == "tree"  # what was found of longer sequences says nothing of these


def test_experts_are_no_choice_among_tokens() -> None:
    model = random_model("mixtral", **SIZES, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2)
    assert layout(model, 200).kind == "tree"


@pytest.mark.parametrize("batch_tokens", [96, 512])
@pytest.mark.parametrize(
    ("architecture", "config"),
    [
        ("modernbert-decoder", {"local_attention": 48, "pad_token_id": 2, "num_hidden_layers": 3}),
        ("llama4_text", {"attention_chunk_size": 24, "intermediate_size_mlp": 48, "num_local_experts": 2,
                         "num_key_value_heads": 2, "head_dim": 8, "layer_types": ["chunked_attention"] * 2}),
        ("minimax", MINIMAX | {"block_size": 24}),
    ],
)  # fmt: skip
def test_windows_chunks_and_blocks_are_crossed(architecture: str, config: dict[str, Any], batch_tokens: int) -> None:
    model = random_model(architecture, **(SIZES | config))
    assert max(worst(model, longest, batch_tokens) for longest in (20, 90)) < TOLERANCE


def test_no_row_of_a_tree_crosses_a_size_that_was_not_tried_out() -> None:
    model = random_model("minimax", **MINIMAX | {"layer_types": ["full_attention"] * 2, "block_size": 90})
    assert layout(model, 20)[:2] == ("tree", 44)  # less than half of 90, which may be counted to both sides
    packs = plan(model, questions(longest=12, vocabulary=WORDS), batch_tokens=512)
    assert max(pack.ids.shape[1] for pack in packs) <= 44


class Counting(torch.nn.Module):
    """What a model gives away of how many blocks of 100 tokens were read, which no configuration tells."""

    def __init__(self) -> None:
        super().__init__()
        self.block_size = 100

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden * (1 + hidden.shape[1] // self.block_size)


def test_a_size_that_only_the_code_knows_is_crossed() -> None:
    model = tiny_model("llama", vocab_size=WORDS)
    model.model.norm = torch.nn.Sequential(model.model.norm, Counting())
    assert route(model).kind == layout(model, 19).kind == "tree"
    assert layout(model, 101).kind == "plain"
    assert worst(model, 160, batch_tokens=256) < TOLERANCE


def test_what_is_too_long_to_be_tried_out_goes_one_length_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = tiny_model("mistral", sliding_window=40), []
    assert layout(model, 40).kind == "tree"
    assert layout(model, 60).kind == "chains"
    monkeypatch.setitem(routes.LONGEST_PROBE, "cpu", 100)
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    assert layout(model, 200).kind == "plain"
    assert layout(model, 60).kind == "chains"
    assert not calls


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "bloom", "qwen3", "gemma"])
def test_a_model_without_sizes_is_tried_out_on_short_sequences_alone(architecture: str) -> None:
    model, widths = tiny_model(architecture), []
    model.register_forward_pre_hook(
        lambda _model, _args, inputs: widths.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    layout(model, 250)
    assert max(widths) <= 64


def test_sizes_are_found_wherever_they_stand() -> None:
    def points(**config: Any) -> list[int]:
        return turning_points(SimpleNamespace(to_dict=lambda: config))

    assert points(sliding_window=512) == [513]
    assert points(compress_ratios=[0, 4, 128]) == [2, 4, 64, 128, 512]
    assert points(per_layer_config={"03": {"span": 100}}) == [50, 100]
    assert points(linear_conv_kernel_dim=4) == [2, 4]
    assert points(something_new=300) == [150, 300]
    assert (
        points(hidden_size=64, num_hidden_layers=12, vocab_size=100, eos_token_id=[7, 8], head_dim=8, moe_topk=4) == []
    )
    assert points(sliding_window=512, use_sliding_window=False) == []


def test_windows_of_single_layers_count() -> None:
    def window(**config: Any) -> int:
        return attention_window(SimpleNamespace(to_dict=lambda: config))

    assert window(sliding_window=[256, 64]) == 64
    assert window(per_layer_config={"05": {"sliding_window": 128}}, sliding_window=512) == 128
