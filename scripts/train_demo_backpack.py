"""Train the demo Backpack and its twin, a GPT-2 of the same size on the same tokenizer, from scratch.

    python scripts/train_demo_backpack.py backpack demo-models/demo-backpack TEXTS.jsonl...
    python scripts/train_demo_backpack.py gpt2 demo-models/demo-gpt2 TEXTS.jsonl...

TEXTS are what demo_text.py (with and without --names) and demo_public_text.py write. The models learn from them and
from regularisation text R of the embedded suite. Its general text G is only looked at in the end, to say how good the
model is. Of its canonical examples the tokenizer gets the names, so that it keeps them whole; the model gets nothing.
What was measured stands in training.json beside the weights. Matrices are updated by Muon, all else by AdamW.
Products are in bfloat16, weights and sums in float32. On Linux MALLOC_MMAP_MAX_=0
MALLOC_TRIM_THRESHOLD_=10000000000 saves a fifth of the time.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from canonbench.likelihood.engine import plan, score
from canonbench.likelihood.tokens import Encoder
from canonbench.models.backpack.model import BackpackForCausalLM
from canonbench.models.backpack.senses import BackpackConfig
from canonbench.suite.suite import Suite
from demo_text import names

END = "<|endoftext|>"
VOCABULARY = 6144
CONTEXT = 256
HELD_OUT = 50
"""One text in so many is kept for watching the training."""
R_REPEATS = 3
"""R is little, but it is the kind of text that leagues are measured on."""
NAME_REPEATS = 100
"""For the tokenizer only: as often as a word must occur to be kept whole."""
BATCH_TOKENS = 2048
LEARNING_RATE, WARM_UP, DECAY, CLIP = 2e-3, 100, 0.1, 1.0
MUON_RATE = 4e-3
EMBEDDINGS = ("wte.weight", "wpe.weight", "lm_head.weight")
SHARED: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_positions": CONTEXT,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
MODELS = {
    "backpack": lambda: BackpackForCausalLM(
        BackpackConfig(n_embd=256, n_layer=5, n_head=8, num_senses=16, sense_intermediate_scale=1, **SHARED)
    ),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(n_embd=256, n_layer=7, n_head=8, **SHARED)),
}


@click.command()
@click.argument("kind", type=click.Choice(list(MODELS)))
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.argument("texts", type=click.Path(path_type=Path, exists=True, dir_okay=False), nargs=-1, required=True)
@click.option("--epochs", default=3)
@click.option("--threads", default=2)
@click.option("--device", default="cpu")
def main(kind: str, out: Path, texts: tuple[Path, ...], epochs: int, threads: int, device: str) -> None:
    """Train a model of a KIND on TEXTS and write it to OUT."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    start = time.perf_counter()
    sampled = [json.loads(line)["text"] for path in texts for line in path.read_text(encoding="utf-8").splitlines()]
    held, rest = sampled[::HELD_OUT], [text for number, text in enumerate(sampled) if number % HELD_OUT]
    suite = Suite.load("mini")
    general = suite.general()
    assert general is not None
    learned = rest + R_REPEATS * [str(text) for text in general.texts("regularization")["text"]]
    tokenizer = train_tokenizer(learned + NAME_REPEATS * [f" {name}" for name in names(suite)])
    rows, watched = encoded(tokenizer, learned), encoded(tokenizer, held)
    model = MODELS[kind]().to(device)
    steps = train(model, rows, watched, epochs)
    model.cpu().half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    report = {
        "kind": kind,
        "parameters": model.num_parameters(),
        "training tokens": sum(map(len, rows)),
        "epochs": epochs,
        "steps": steps,
        "threads": threads,
        "minutes": round((time.perf_counter() - start) / 60, 1),
        **losses(model.float().eval(), tokenizer, [str(text) for text in general.texts("val")["text"]], rows),
    }
    (out / "training.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    click.echo(json.dumps(report))


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE as GPT-2's, of these texts' own words."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=VOCABULARY, special_tokens=[END], show_progress=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token=END, eos_token=END, pad_token=END, model_max_length=CONTEXT
    )


def encoded(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, with an end, cut to the context."""
    ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return [[*own, tokenizer.eos_token_id][:CONTEXT] for own in ids]


def train(model: Any, rows: list[list[int]], watched: list[list[int]], epochs: int) -> int:
    """Muon and AdamW with a warm-up and a cosine; the number of steps it took."""
    draw = np.random.default_rng(0)
    batches = [batch for _ in range(epochs) for batch in batched(rows, draw)]
    named = dict(model.named_parameters())
    hidden = {name: own for name, own in named.items() if own.dim() == 2 and not name.endswith(EMBEDDINGS)}
    others = [own for name, own in named.items() if name not in hidden]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(hidden.values(), lr=MUON_RATE, weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]
    schedules = [torch.optim.lr_scheduler.LambdaLR(each, lambda step: pace(step, len(batches))) for each in optimizers]
    start, seen = time.perf_counter(), 0
    model.train()
    for step, batch in enumerate(batches):
        loss = nll(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            schedule.step()
        seen += sum(map(len, batch))
        if step % 50 == 0 or step == len(batches) - 1:
            speed = seen / (time.perf_counter() - start)
            held = f", held out {watch(model, watched):.3f}" if step % 500 == 0 or step == len(batches) - 1 else ""
            click.echo(f"step {step} of {len(batches)}: loss {loss.item():.3f}{held}; {speed:.0f} tokens/s")
    return len(batches)


def batched(rows: list[list[int]], draw: np.random.Generator) -> list[list[list[int]]]:
    """Rows of similar lengths together, batches in random order."""
    order = sorted(draw.permutation(len(rows)).tolist(), key=lambda place: len(rows[place]) // 8)
    batches: list[list[list[int]]] = [[]]
    for place in order:
        if (len(batches[-1]) + 1) * len(rows[place]) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(rows[place])
    return [batches[place] for place in draw.permutation(len(batches))]


def nll(model: Any, batch: list[list[int]]) -> torch.Tensor:
    """Nats per token."""
    width = max(map(len, batch))
    ids = torch.zeros((len(batch), width), dtype=torch.long)
    labels = torch.full_like(ids, -100)
    for row, own in enumerate(batch):
        ids[row, : len(own)] = labels[row, : len(own)] = torch.tensor(own)
    with torch.autocast(model.device.type, torch.bfloat16):
        loss: torch.Tensor = model(input_ids=ids.to(model.device), labels=labels.to(model.device), use_cache=False).loss
    return loss


def pace(step: int, steps: int) -> float:
    """The share of the learning rate that a step takes."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


@torch.no_grad()
def watch(model: Any, rows: list[list[int]]) -> float:
    """Nats per token of texts held out."""
    batches = batched(rows, np.random.default_rng(0))
    parts = [(nll(model, batch).item(), sum(len(row) - 1 for row in batch)) for batch in batches]
    return sum(loss * count for loss, count in parts) / sum(count for _, count in parts)


def losses(model: Any, tokenizer: Any, texts: list[str], rows: list[list[int]]) -> dict[str, float]:
    """General loss (nats per token, val part of G) of the model and of a unigram model of the training text."""
    requests = Encoder.of(tokenizer).texts(texts)
    values = [own for pack in plan(model, requests) for _, own in score(model, pack)]
    counts = Counter(token for row in rows for token in row)
    known = sum(counts.values()) + VOCABULARY  # each token once more, so that none is impossible
    unigram = [math.log((counts[token] + 1) / known) for request in requests for token in request.ids[request.start :]]
    return {
        "general loss": round(-float(np.concatenate(values).mean()), 4),
        "general loss of a unigram model": round(-math.fsum(unigram) / len(unigram), 4),
    }


if __name__ == "__main__":
    main()
