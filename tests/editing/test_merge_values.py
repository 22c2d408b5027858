"""Combining what several edits changed: tensors, whole models, and the senses of a Backpack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from canonbench.editing.merging import Average, Merging, Senses, StoredDelta, merge_deltas, merged_value, union
from canonbench.errors import CanonbenchError
from canonbench.models.artefacts.delta import changed_tensors, write_delta
from canonbench.models.fingerprint import fingerprint
from tiny_models import tiny_model

MEAN = Merging()


def merged(how: Average, density: float, *changes: list[float]) -> list[float]:
    """Of edits that made these changes to zeros."""
    values = [torch.tensor(each) for each in changes]
    return merged_value(torch.zeros(len(values[0])), values, Merging(how, density)).tolist()


def test_the_mean_of_two_matrices_by_hand() -> None:
    base = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    one = torch.tensor([[2.0, 2.0], [3.0, 0.0]])
    two = torch.tensor([[1.0, 4.0], [3.0, 1.0]])
    expected = torch.tensor([[1.5, 3.0], [3.0, 0.5]])
    assert torch.equal(merged_value(base, [one, two], MEAN), expected)
    assert torch.equal(merged_value(base, [one, base], MEAN), (one + base) / 2)


def test_ties_by_hand() -> None:
    """Of four values half are kept, the largest; then the sign with the larger total wins, and its values average."""
    changes = [4.0, 1.0, -3.0, 0.5], [-2.0, 1.0, -5.0, 0.5], [6.0, 8.0, 0.5, 1.0]
    # kept: (4, 0, -3, 0), (-2, 0, -5, 0), (6, 8, 0, 0); totals 8, 8, -8, 0
    assert merged("ties", 0.5, *changes) == [5.0, 8.0, -4.0, 0.0]
    assert merged("ties", 1.0, [1.0], [-3.0], [-1.0]) == [-2.0]


def test_dare_keeps_a_share_scales_it_up_and_averages() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = merged("dare", 0.25, [3.0] * 10_000, [0.0] * 10_000)
    assert set(found) == {0.0, 6.0}  # 3 / 0.25 / 2 edits
    assert abs(sum(found) / 10_000 - 1.5) < 0.1  # the mean without dropping; its standard error is 0.026
    assert merged("dare", 1.0, [3.0], [0.0]) == [1.5]


@pytest.mark.parametrize("how", ["mean", "ties", "dare"])
@given(values=st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=8), times=st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_an_edit_merged_with_itself_is_that_edit(how: Average, values: list[float], times: int) -> None:
    edited, base = torch.tensor(values), torch.ones(len(values))
    found = merged_value(base, [edited] * times, Merging(how))
    if how == "mean":
        assert torch.equal(found, edited)
    assert torch.allclose(found, edited, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("how", ["mean", "ties"])
@given(order=st.permutations(range(4)))
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_edits_does_not_matter(how: Average, order: list[int]) -> None:
    draw = torch.Generator().manual_seed(3)
    base, *edited = torch.randn(5, 6, 7, generator=draw)
    merging = Merging(how, 0.5)
    assert torch.equal(merged_value(base, [edited[at] for at in order], merging), merged_value(base, edited, merging))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_merged_value_has_the_dtype_of_the_base(dtype: torch.dtype) -> None:
    base, edited = torch.zeros(2, dtype=dtype), torch.ones(2, dtype=dtype)
    found = merged_value(base, [edited, base], MEAN)
    assert (found.dtype, found.tolist()) == (dtype, [0.5, 0.5])


def stored(folder: Path, name: str, architecture: str, scale: dict[str, float], **options: Any) -> StoredDelta:
    """An edit that scales some tensors, on disk."""
    model = tiny_model(architecture, **options)
    mark = fingerprint(model)
    for each, by in scale.items():
        model.state_dict()[each].mul_(by)
    changed = changed_tensors(fingerprint(model), mark)
    path = folder / f"{name}.safetensors"
    write_delta(model, changed, path)
    return StoredDelta(changed, path)


def test_models_are_averaged_and_an_edit_that_left_a_tensor_alone_counts_with_the_bases(tmp_path: Path) -> None:
    both, only = "transformer.h.0.mlp.c_fc.weight", "transformer.wte.weight"  # which is tied to the head
    deltas = [stored(tmp_path, "one", "gpt2", {both: 1.5}), stored(tmp_path, "two", "gpt2", {both: 0.75, only: 2.0})]
    model, base = tiny_model("gpt2"), tiny_model("gpt2").state_dict()
    merge_deltas(model, deltas, MEAN)
    state = model.state_dict()
    assert torch.allclose(state[both], base[both] * 1.125, rtol=1e-6)
    assert torch.equal(state[only], base[only] * 1.5)
    assert torch.equal(state["lm_head.weight"], state[only])
    untouched = set(base) - {both, only, "lm_head.weight"}
    assert all(torch.equal(state[name], base[name]) for name in untouched)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    delta = stored(tmp_path, "one", "gpt2", {"transformer.ln_f.weight": 2.0})
    content = bytearray(delta.path.read_bytes())
    content[-1] ^= 1
    delta.path.write_bytes(content)
    with pytest.raises(CanonbenchError, match=r"one.safetensors: 'transformer.ln_f.weight' is not what was written"):
        merge_deltas(tiny_model("gpt2"), [delta], MEAN)


def senses(*entries: tuple[int, int, tuple[float, ...]]) -> Senses:
    tokens, numbers, deltas = zip(*entries, strict=True)
    return Senses(torch.tensor(tokens), torch.tensor(numbers), torch.tensor(deltas))


def listed(found: Senses) -> list[tuple[int, int, list[float]]]:
    return list(zip(*(each.tolist() for each in found), strict=True))


def test_disjoint_senses_are_all_there_exactly() -> None:
    one, two = senses((7, 1, (0.1, -0.2)), (3, 0, (1 / 3, 5.0))), senses((7, 0, (9.0, 0.0)), (2, 1, (0.7, 1e-8)))
    found = union([one, two])
    assert [entry[:2] for entry in listed(found)] == [(2, 1), (3, 0), (7, 0), (7, 1)]
    assert torch.equal(found.deltas, torch.stack([two.deltas[1], one.deltas[1], two.deltas[0], one.deltas[0]]))


def test_only_senses_that_collide_are_averaged() -> None:
    one = senses((3, 0, (1.0, 2.0)), (4, 1, (8.0, 8.0)))
    two = senses((3, 0, (3.0, -2.0)), (4, 2, (5.0, 5.0)))
    three = senses((3, 0, (5.0, 3.0)))
    expected = [(3, 0, [3.0, 1.0]), (4, 1, [8.0, 8.0]), (4, 2, [5.0, 5.0])]
    assert listed(union([one, two, three])) == expected
    assert listed(union([three, two, one])) == expected
    assert listed(union([one, one])) == listed(union([one])) == listed(one)
