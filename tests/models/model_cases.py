"""What the tests of models share: damage to a checkpoint, logits, adapters."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
from safetensors.torch import load_file, save_file

from tiny_models import tiny_model

IDS = torch.arange(3, 43)[None]
"""A probe that every tiny model takes; shape (1, 40)."""


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    """Logits of the probe in float32, shape (40, V); virtual tokens in front are left out."""
    found: torch.Tensor = model(input_ids=IDS, attention_mask=torch.ones_like(IDS)).logits
    return found[0, -IDS.shape[1] :].float()


def damaged(original: Path, tmp_path: Path, damage: Callable[[Path], Any]) -> Path:
    """A copy of a folder that ``damage`` has worked on."""
    folder = tmp_path / "damaged"
    shutil.copytree(original, folder)
    damage(folder)
    return folder


def change_weights(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], Any], name: str = "model.safetensors"
) -> None:
    """Rewrite a safetensors file after ``change`` has worked on its tensors."""
    tensors = load_file(folder / name)
    change(tensors)
    save_file(tensors, folder / name, metadata={"format": "pt"})


def change_json(path: Path, **entries: Any) -> None:
    """Set entries of a JSON file; None removes one."""
    content = json.loads(path.read_text(encoding="utf-8")) | entries
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")


def save_adapter(
    folder: Path,
    config: peft.PeftConfig,
    base: Path | str,
    *,
    architecture: str = "llama",
    seed: int = 0,
    effect: float = 0.1,
) -> torch.Tensor:
    """Save an adapter of ``tiny_model(architecture, seed=seed)`` that names ``base``; returns the unmerged logits."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # peft's doubts about tied weights are no matter here
        torch.manual_seed(1)
        model = peft.get_peft_model(tiny_model(architecture, seed=seed), config)
        model.peft_config["default"].base_model_name_or_path = str(base)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += effect * torch.randn_like(parameter)
        model.save_pretrained(folder)
    return logits(model.eval())


def lora(**options: Any) -> peft.LoraConfig:
    """A LoRA on attention and MLP of a llama."""
    return peft.LoraConfig(**{"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "up_proj"], "r": 4} | options)
