"""The same numbers as the Backpack of pyvene, which Stanford NLP wrote for its own published checkpoint.

pyvene is installed without its dependencies (docs/how-to/backpack.md says how), so only the one file is loaded.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_models import tiny_model

SIZES = {
    "vocab_size": 301, "n_embd": 96, "n_layer": 3, "n_head": 4, "n_positions": 64, "num_senses": 16,
    "sense_intermediate_scale": 3, "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
TIED = {"backpack.word_embeddings.weight": "wte", "backpack.position_embeddings.weight": "wpe"}


@pytest.fixture(scope="module")
def pyvene() -> Any:
    """The module of pyvene that holds its Backpack."""
    package = importlib.util.find_spec("pyvene")
    if package is None or package.origin is None:
        pytest.skip("PYVENE ABSENT: pip install --no-deps -c constraints.txt pyvene")
    path = Path(package.origin).parent / "models" / "backpack_gpt2" / "modelings_backpack_gpt2.py"
    spec = importlib.util.spec_from_file_location("pyvene_backpack", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("seed", [0, 1])
def test_logits_and_weights_of_senses_are_pyvenes(pyvene: Any, seed: int, dtype: torch.dtype, tolerance: float) -> None:
    mine: Any = tiny_model("backpack", seed=seed, **SIZES).to(dtype)
    mine.get_input_embeddings().weight.data *= 0.1  # logits of the size of a trained model's
    theirs = pyvene.BackpackGPT2LMHeadModel(pyvene.BackpackGPT2Config(**SIZES)).to(dtype).eval()
    tensors = mine.state_dict()
    missing = theirs.load_state_dict(tensors, strict=False)
    assert set(missing.missing_keys) == set(TIED)  # of theirs, the same parameters under other names
    assert not missing.unexpected_keys
    for name, twin in TIED.items():
        assert torch.equal(theirs.get_parameter(name), tensors[f"backpack.gpt2_model.{twin}.weight"])
    ids = torch.randint(0, 301, (3, 64), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        one, other = mine(ids, output_contextualization=True), theirs(ids)
    assert other.logits.std() > 0.5
    assert other.contextualization[..., -1, :].amax() > 0.2  # far from an even mixture
    torch.testing.assert_close(one.logits, other.logits, rtol=0, atol=tolerance)
    torch.testing.assert_close(one.contextualization, other.contextualization, rtol=0, atol=tolerance)
