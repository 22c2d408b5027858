"""Several LoRAs of one base made into one, by what it does to the weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from canonbench.editing.merging import Merging, merge_adapters
from canonbench.errors import CanonbenchError
from tiny_models import tiny_model

CAUSAL = {"task_type": "CAUSAL_LM"}
UP, DOWN = r".*\.0\.mlp\.c_fc", r".*\.[01]\.mlp\.(c_fc|c_proj)"


def saved(folder: Path, seed: int, targets: str | list[str] = DOWN, rank: int = 2, **options: Any) -> Path:
    """A LoRA of the tiny GPT-2, both factors random."""
    how = {"lora_alpha": 3, "fan_in_fan_out": True} | options
    save(folder, peft.LoraConfig(**CAUSAL, target_modules=targets, r=rank, **how), seed)
    return folder


def save(folder: Path, config: peft.PeftConfig, seed: int = 0) -> None:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft's doubts about Conv1D
        torch.manual_seed(seed)
        model = peft.get_peft_model(tiny_model("gpt2"), config)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = 0.1 * torch.randn_like(parameter)
        model.save_pretrained(folder)


def change(model: Any) -> dict[str, Tensor]:
    """What an adapter adds to each of the weights that it changes."""
    before, after = tiny_model("gpt2").state_dict(), model.merge_and_unload().state_dict()
    found = {name: after[name] - before[name] for name in before}
    return {name: each for name, each in found.items() if each.abs().max() > 1e-7}


def alone(folder: Path) -> dict[str, Tensor]:
    return change(peft.PeftModel.from_pretrained(tiny_model("gpt2"), folder))


def merged(*folders: Path, how: Any = "mean", density: float = 1.0, rank: int | None = None) -> dict[str, Tensor]:
    return change(merge_adapters(tiny_model("gpt2"), folders, Merging(how, density), rank))


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    assert found.keys() == expected.keys()
    return all(torch.allclose(found[name], expected[name], atol=1e-6) for name in found)


def test_the_mean_is_that_of_the_changes_over_the_adapters_that_touch_a_weight(tmp_path: Path) -> None:
    one, two, three = (
        saved(tmp_path / "one", 1, rank=2),
        saved(tmp_path / "two", 2, rank=3),
        saved(tmp_path / "three", 3, UP, rank=1),
    )
    a, b, c = alone(one), alone(two), alone(three)
    assert (len(a), len(b), len(c)) == (4, 4, 1)
    shared = next(iter(c))
    expected = {name: (a[name] + b[name]) / 2 for name in a} | {shared: (a[shared] + b[shared] + c[shared]) / 3}
    assert same(merged(one, two, three), expected)
    assert same(merged(three, one, two), expected)
    assert same(merged(one, two, three, rank=6), expected)  # a decomposition that has room for all of them


def test_an_adapter_merged_with_itself_is_that_adapter(tmp_path: Path) -> None:
    one = saved(tmp_path / "one", 1)
    assert same(merged(one, one), alone(one))
    assert same(merged(one), alone(one))
    assert same(merged(one, one, how="ties"), alone(one))
    assert same(merged(one, one, how="dare"), alone(one))


def test_ties_elects_signs_among_the_changes_of_the_weights(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "one", 1), saved(tmp_path / "two", 2)
    a, b = alone(one), alone(two)
    expected = {}
    for name in a:
        larger = torch.where(a[name].abs() >= b[name].abs(), a[name], b[name])
        expected[name] = torch.where(a[name].sign() == b[name].sign(), (a[name] + b[name]) / 2, larger)
    assert same(merged(one, two, how="ties", rank=32), expected)


def test_a_lower_rank_is_the_best_approximation(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "one", 1), saved(tmp_path / "two", 2)
    exact, found = merged(one, two), merged(one, two, rank=1)
    for name in exact:
        u, s, v = torch.linalg.svd(exact[name])
        assert torch.allclose(found[name], s[0] * torch.outer(u[:, 0], v[0]), atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"layers_to_transform": [0]}, {"rank_pattern": {"c_fc": 5}}, {"alpha_pattern": {"c_fc": 9}}]
)
def test_the_options_of_an_adapter_are_kept_to(options: dict[str, Any], tmp_path: Path) -> None:
    one, two = saved(tmp_path / "one", 1, ["c_fc"], **options), saved(tmp_path / "two", 2, ["c_fc"], **options)
    a, b = alone(one), alone(two)
    for rank in (None, 10):
        assert same(merged(one, two, rank=rank), {name: (a[name] + b[name]) / 2 for name in a})


def refusal(*folders: Path) -> str:
    with pytest.raises(CanonbenchError) as caught:
        merged(*folders)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_peft_cannot_combine_is_one_line(tmp_path: Path) -> None:
    one = saved(tmp_path / "one", 1)
    assert "mix of list/set and string" in refusal(one, saved(tmp_path / "list", 2, ["c_fc"]))
    dora = saved(tmp_path / "dora", 2, use_dora=True)
    assert "peft combines only the factors of a LoRA, and this one also has" in refusal(one, dora)
    assert "lora_magnitude_vector" in refusal(dora, one)
    stable = saved(tmp_path / "stable", 2, use_rslora=True)
    assert "chosen or scaled in different ways" in refusal(stable, one)
    first = saved(tmp_path / "first", 1, ["c_fc"], layers_to_transform=[0])
    second = saved(tmp_path / "second", 1, ["c_fc"], layers_to_transform=[1])
    assert "chosen or scaled in different ways" in refusal(first, second)
    save(tmp_path / "ia3", peft.IA3Config(**CAUSAL, target_modules=["c_attn"], feedforward_modules=[]))
    assert refusal(one, tmp_path / "ia3").endswith("peft combines LoRA adapters only, and this one is IA3")
    (one / "adapter_model.safetensors").unlink()
    assert "one" in refusal(one, dora)
