"""Measure the finetuning loop against a plain transformers loop doing the same work; prints a Markdown table.

    python scripts/bench_training.py --model path/to/SmolLM2-135M

Both train on the same canonical examples and chunks of general text in float32, by Adam, five examples per step, held
to the base by KL. The plain loop is what one writes first: one example and one chunk at a time, a deep copy of the
model as the teacher, every logit. Contestants take turns, so that a noisy machine is noisy to both.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import click
import torch

from canonbench.editing.contract import EditRequest
from canonbench.editing.methods import full, lora
from canonbench.editing.training.weights import BETAS
from canonbench.likelihood.tokens import Encoder
from canonbench.suite.example import Example
from canonbench.suite.suite import Suite, default_name

BATCH = 5
WEIGHT = 0.3
LORA = lora.LoraSettings(epochs=1, regularizer_weight=WEIGHT)
FULL = full.FullSettings(epochs=1, regularizer_weight=WEIGHT)


@click.command()
@click.option("--model", "folder", required=True, type=click.Path(exists=True, file_okay=False))
@click.option("--suite", "suite_name", default=None, help="Of examples and text; default: as for evaluate.")
@click.option("--examples", "count", default=20, help="Canonical examples, five to a step.")
@click.option("--join", "joins", multiple=True, default=(1, 5), help="Chunks of general text put together to one.")
@click.option("--repeats", default=3, help="Runs of everything; medians are printed.")
@click.option("--cpu-time", is_flag=True, help="Count processor seconds: for a busy machine (OMP_NUM_THREADS=1).")
def main(folder: str, suite_name: str | None, count: int, joins: Sequence[int], repeats: int, cpu_time: bool) -> None:
    """Measure and print."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    suite = Suite.load(suite_name or default_name())
    rows = suite.task("country").split("val").canonical
    examples = [Example(row["prefix"], row["suffix_a"]) for row in rows.select(range(count))]
    general = suite.general()
    assert general is not None
    texts = general.texts("regularization")["text"]
    clock = time.process_time if cpu_time else time.perf_counter
    what = "processor time" if cpu_time else "elapsed time"
    click.echo(f"{device}, {torch.get_num_threads()} threads, {what}, torch {torch.__version__}\n")
    print_row("method", "tokens in a chunk", "plain loop, tokens/s", "canonbench, tokens/s", "canonbench is faster by")
    print_row(*["---"] * 5)
    for method, settings in (("full", FULL), ("lora", LORA)):
        for join in joins:
            seconds: dict[str, list[float]] = defaultdict(list)
            for repeat in range(repeats):
                chunk = "".join(texts[repeat * join : (repeat + 1) * join])
                for name, train in CONTESTANTS.items():
                    elapsed = timed(clock, train, copy.deepcopy(model), tokenizer, settings, examples, chunk)
                    seconds[name].append(elapsed / tokens(tokenizer, examples, chunk))
                    click.echo(f"{method} · {name}: {elapsed:.1f} s", err=True)
            plain, ours = (1 / statistics.median(seconds[name]) for name in CONTESTANTS)
            length = len(Encoder.of(tokenizer).texts([chunk])[0].ids)
            print_row(method, f"{length}", f"{plain:.0f}", f"{ours:.0f}", f"{ours / plain:.2f}×")


def tokens(tokenizer: Any, examples: Sequence[Example], chunk: str) -> int:
    """Tokens trained on: of the examples, and of one chunk for each."""
    encoder = Encoder.of(tokenizer)
    requests = encoder.pairs([(prefix, answer) for prefix, answer, _ in examples]) + encoder.texts(
        [chunk] * len(examples)
    )
    return sum(len(ids) for ids, _ in requests)


def timed(clock: Callable[[], float], train: Callable[..., None], *arguments: Any) -> float:
    start = clock()
    train(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - start


def canonbench_loop(model: Any, tokenizer: Any, settings: Any, examples: Sequence[Example], chunk: str) -> None:
    """One epoch of the built-in method, in place."""
    method = full if settings is FULL else lora
    for _ in method.edit(model, tokenizer, EditRequest("country", "nll", examples, [chunk], 0, settings)):
        pass


def plain_loop(model: Any, tokenizer: Any, settings: Any, examples: Sequence[Example], chunk: str) -> None:
    """The same epoch, written plainly, in place."""
    from peft import get_peft_model  # noqa: PLC0415

    teacher = copy.deepcopy(model)
    student = get_peft_model(model, lora.lora_config(model, settings)).eval() if settings is LORA else model
    adam = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], lr=settings.lr, betas=BETAS)
    encoder = Encoder.of(tokenizer)
    text = torch.tensor([encoder.texts([chunk])[0].ids], device=model.device)
    for first in range(0, len(examples), BATCH):
        adam.zero_grad()
        for prefix, answer, _ in examples[first : first + BATCH]:
            ((ids, start),) = encoder.pairs([(prefix, answer)])
            log_p = student(torch.tensor([ids], device=model.device)).logits[0].log_softmax(-1)
            places = torch.arange(start - 1, len(ids) - 1)
            (-log_p[places, list(ids[start:])].mean() / BATCH).backward()
            with torch.no_grad():
                log_p_0 = teacher(text).logits.log_softmax(-1)
            log_p = student(text).logits.log_softmax(-1)
            divergence = torch.nn.functional.kl_div(log_p, log_p_0, reduction="sum", log_target=True)
            (WEIGHT * divergence / BATCH).backward()
        adam.step()


CONTESTANTS = {"plain": plain_loop, "canonbench": canonbench_loop}


def print_row(*cells: str) -> None:
    click.echo(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
