"""An edited model started from its base's hidden states: the same answers, and the lower blocks at rest."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from likelihood_cases import model_of, questions

from canonbench.likelihood.blocks import decoder_blocks, first_changed_block, shortcut
from canonbench.likelihood.engine import plan, score
from canonbench.likelihood.reuse import StateFiles
from canonbench.likelihood.route import route
from canonbench.models.fingerprint import fingerprint
from tiny_models import tiny_model

ENOUGH = 10**9


def edited_above(base: Any) -> Any:
    """A copy with the last block changed."""
    edited = copy.deepcopy(base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        for parameter in decoder_blocks(edited)[1][-1].parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    return edited


def changed(base: Any, edited: Any) -> int:
    return first_changed_block(base, fingerprint(base).tensors, fingerprint(edited).tensors)


def recorded(base: Any, folder: Path, room: int = ENOUGH) -> StateFiles:
    way = shortcut(base, 1)
    assert way is not None
    states = StateFiles(folder, way, room)
    for pack in plan(base, questions(), batch_tokens=128):
        dict(score(base, pack, during=states.during))
    return states


def answers(model: Any, **how: Any) -> list[Any]:
    packs = plan(model, questions(), batch_tokens=128)
    found = {index: values for pack in packs for index, values in score(model, pack, **how)}
    return [found[index] for index in sorted(found)]


def times_run(model: Any) -> list[int]:
    """Grows whenever the first block's insides are used."""
    used: list[int] = []
    next(decoder_blocks(model)[1][0].children()).register_forward_hook(lambda *_: used.append(1))
    return used


@pytest.mark.parametrize(
    "family", ["llama", "gpt2", "gpt_neox", "gptj", "bloom", "mpt", "mamba", "gemma2", "opt", "backpack"]
)
def test_a_resumed_model_answers_as_if_run_in_full(family: str, tmp_path: Path) -> None:
    base = model_of(family)
    edited = edited_above(base)
    assert changed(base, edited) == 1
    states = recorded(base, tmp_path)
    assert shortcut(edited, 1) == states.way
    in_full = answers(edited)
    used = times_run(edited)
    resumed = answers(edited, during=states.during)
    if route(edited).head == "linear":  # else a token at a time goes through, to get at the model's own output code
        assert not used
    used.clear()
    for one, other in zip(resumed, in_full, strict=True):
        np.testing.assert_array_equal(one, other)
    assert max(np.abs(one - other).max() for one, other in zip(answers(base), in_full, strict=True)) > 0.01
    answers(edited)
    assert used  # nothing of the shortcut is left in the model


def test_an_edited_model_leaves_the_states_that_its_base_would(tmp_path: Path) -> None:
    base = model_of("llama")
    one, other = recorded(base, tmp_path / "base"), recorded(edited_above(base), tmp_path / "edited")
    assert one.way == other.way
    mine, theirs = ({file.name: file.read_bytes() for file in each.folder.iterdir()} for each in (one, other))
    assert mine == theirs


def test_what_was_not_recorded_is_run_in_full(tmp_path: Path) -> None:
    base = model_of("llama")
    edited = edited_above(base)
    states = recorded(base, tmp_path, room=20_000)
    files = list(states.folder.iterdir())
    assert 0 < len(files) < len(plan(base, questions(), batch_tokens=128))
    assert sum(file.stat().st_size for file in files) < 21_000
    used = times_run(edited)
    resumed = answers(edited, during=states.during)
    assert used
    for one, other in zip(resumed, answers(edited), strict=True):
        np.testing.assert_array_equal(one, other)


def cut_off(content: bytes) -> bytes:
    return content[:50]


def one_bit_flipped(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 64]) + content[-8:]


def of_zeros(content: bytes) -> bytes:
    return bytes(len(content))


@pytest.mark.parametrize("damage", [cut_off, one_bit_flipped, of_zeros])
def test_a_damaged_file_is_run_in_full(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    base = model_of("llama")
    edited = edited_above(base)
    states = recorded(base, tmp_path)
    for file in states.folder.iterdir():
        file.write_bytes(damage(file.read_bytes()))
    used = times_run(edited)
    resumed = answers(edited, during=states.during)
    assert used
    for one, other in zip(resumed, answers(edited), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_full_disk_ends_recording_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_tensors: Any, path: Path, **_: Any) -> None:
        path.write_bytes(b"half a fi")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("canonbench.likelihood.reuse.save_file", full)
    states = recorded(model_of("llama"), tmp_path)
    assert list(states.folder.iterdir()) == []
    assert states.room == 0


def test_the_first_changed_block_is_read_off_the_tensors() -> None:
    base = copy.deepcopy(model_of("llama"))

    def with_change(pick: Any) -> Any:
        model = copy.deepcopy(base)
        pick(model).data += 0.1
        return model

    assert changed(base, copy.deepcopy(base)) == 2
    assert changed(base, with_change(lambda model: model.model.layers[0].mlp.up_proj.weight)) == 0
    assert changed(base, with_change(lambda model: model.model.embed_tokens.weight)) == 0
    assert changed(base, with_change(lambda model: model.model.norm.weight)) == 0
    assert changed(base, with_change(lambda model: model.lm_head.weight)) == 2
    base.get_output_embeddings = lambda: torch.nn.Linear(1, 1)  # made on the spot: no tensor's name tells that it is it
    assert changed(base, with_change(lambda model: model.lm_head.weight)) == 0


def test_what_makes_a_backpacks_senses_and_their_weights_is_beside_all_blocks() -> None:
    base = model_of("backpack")
    for part in (
        lambda model: model.backpack.sense_network.block.mlp.c_proj.weight,
        lambda model: model.backpack.sense_weight_net.c_attn.weight,
        lambda model: model.edit_senses(torch.tensor([3]), torch.tensor([1])).deltas,
    ):
        edited = copy.deepcopy(base)
        part(edited).data += 0.1
        assert changed(base, edited) == 2
    edited = copy.deepcopy(base)
    edited.backpack.gpt2_model.wte.weight.data += 0.1
    assert changed(base, edited) == 0


def test_an_adapter_on_upper_blocks_leaves_the_lower_ones_unchanged(tmp_path: Path) -> None:
    from peft import LoraConfig, PromptTuningConfig, TaskType, get_peft_model

    base = model_of("llama")
    lora = LoraConfig(
        task_type=TaskType.CAUSAL_LM, target_modules=["up_proj"], layers_to_transform=[1], init_lora_weights=False
    )
    adapted = get_peft_model(copy.deepcopy(base), lora).eval()
    assert changed(base, adapted) == 1
    states = recorded(base, tmp_path)
    assert shortcut(adapted, 1) == states.way
    for one, other in zip(answers(adapted, during=states.during), answers(adapted), strict=True):
        np.testing.assert_array_equal(one, other)
    prompted = get_peft_model(
        copy.deepcopy(base), PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=2)
    )
    assert changed(base, prompted) == 0


def test_equal_tensors_under_another_configuration_are_found_out() -> None:
    base, other = tiny_model("llama"), tiny_model("llama", rope_parameters={"rope_type": "default", "rope_theta": 50.0})
    assert changed(base, other) == 2
    assert shortcut(other, 2) != shortcut(base, 2)


@pytest.mark.parametrize("otherwise", [[], [0.0]], ids=["fails without", "goes on without"])
def test_a_model_whose_upper_blocks_need_more_than_the_states_has_no_shortcut(otherwise: list[Any]) -> None:
    model = copy.deepcopy(model_of("llama"))
    first, second = decoder_blocks(model)[1]
    assert shortcut(model, 1) is not None
    seen = list(otherwise)
    first.mlp.register_forward_hook(lambda _mlp, _args, output: seen.append(output))
    second.register_forward_hook(lambda _block, _args, output: output + seen.pop())
    assert shortcut(model, 1) is None
