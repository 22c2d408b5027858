"""Measure the likelihood engine against its peers, in one run, on one machine; prints Markdown tables.

    python scripts/bench_likelihood.py --model path/to/SmolLM2-135M

Evaluation rows and hard negatives of all test tasks of the published suite (CANONBENCH_PUBLISHED_DIR, or fetched), and
300 chunks of general text, float32 on the CPU. The peer is lm-evaluation-harness 0.4.13 (``pip install
lm-eval==0.4.13``); without it its rows are left out. Contestants take turns task by task, so that a noisy machine is
noisy to all.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import psutil
import torch

from canonbench.likelihood.blocks import shortcut
from canonbench.likelihood.engine import plan, score
from canonbench.likelihood.reuse import StateFiles
from canonbench.likelihood.route import reference_log_probs
from canonbench.likelihood.tokens import Encoder, Request
from canonbench.models.onednn_linear import fast_products
from canonbench.suite.suite import Suite

Sums = list[float]
Contestant = Callable[[Sequence[Request]], Sums]

ENGINE, ONE_BY_ONE = "canonbench", "one sequence at a time"
RECORDING = "canonbench, keeping hidden states"
EDITED, RESUMED = "LoRA on the upper half of the blocks", "the same, resumed from the base's hidden states"
BATCH_SIZES = (1, 8, 16, 32)
SHARES = ("share of torch.mm's rate", "share of the fastest GEMM's")
TRUTHS = 40
"""Requests per task that are also scored in float64."""


def harness(batch_size: int) -> str:
    return f"lm-evaluation-harness, batches of {batch_size}"


@click.command()
@click.option("--model", "folder", required=True, type=click.Path(exists=True, file_okay=False))
@click.option("--share", default=1.0, help="Share of every file's rows to use, from its top (a short trial run).")
@click.option("--repeats", default=3, help="Runs of everything; medians are printed.")
@click.option("--chunks", default=300, help="Chunks of general text.")
@click.option("--batch-size", "sizes", multiple=True, default=BATCH_SIZES, help="Of the peer; may be given repeatedly.")
def main(folder: str, share: float, repeats: int, chunks: int, sizes: Sequence[int]) -> None:
    """Measure and print."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tasks, general = questions(Encoder.of(tokenizer), share, chunks)
    contestants = entrants(model, tokenizer, sizes)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    answers: dict[tuple[str, str], Sums] = {}
    rates, peak = gemm_rates(), 0
    for _ in range(repeats):
        for task, requests in tasks.items():
            for name, ask in contestants.items():
                elapsed, answers[name, task], memory = timed(ask, requests)
                seconds[name, task].append(elapsed)
                peak = max(peak, memory) if name == ENGINE else peak
                rates = Rates(*map(max, rates, gemm_rates()))
                click.echo(f"{task} · {name}: {elapsed:.1f} s", err=True)
        for name in (ENGINE, ONE_BY_ONE):
            seconds[name, "general"].append(timed(contestants[name], general)[0])
        for name, elapsed in edited_seconds(model, general).items():
            seconds[name, "general"].append(elapsed)
    print_tasks(model, tasks, contestants, seconds, rates)
    print_general(model, general, seconds, rates)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    print_errors(model, tasks, contestants, answers)
    click.echo(
        f"\nMemory while the engine ran: {peak / 1e9:.2f} GB resident at most, {weights / 1e9:.2f} GB of it weights."
    )


def questions(encoder: Encoder, share: float, chunks: int) -> tuple[dict[str, list[Request]], list[Request]]:
    """Per test task its evaluation rows and hard negatives; and general text."""
    suite = Suite.load("published")
    tasks = {}
    for name, task in suite.tasks.items():
        split = task.split("test")
        parts = (split.evaluation, split.hard_negatives)
        rows = [row for part in parts for row in part.select(range(max(1, round(share * len(part)))))]
        continuations = [(row["prefix"], row[key]) for row in rows for key in ("suffix_a", "suffix_b") if row[key]]
        tasks[name] = encoder.pairs(continuations)
    text = suite.general("openwebtext-100")
    assert text is not None
    return tasks, encoder.texts(text.texts("val")["text"][: max(1, round(share * chunks))])


def entrants(model: Any, tokenizer: Any, sizes: Sequence[int]) -> dict[str, Contestant]:
    """Name → what turns requests into sums of log-probabilities."""

    def engine(requests: Sequence[Request]) -> Sums:
        found = {index: float(own.sum()) for pack in plan(model, requests) for index, own in score(model, pack)}
        return [found[index] for index in range(len(requests))]

    def one_by_one(requests: Sequence[Request]) -> Sums:
        return [float(own.sum()) for own in reference_log_probs(model, requests)]

    contestants: dict[str, Contestant] = {ENGINE: engine, ONE_BY_ONE: one_by_one}
    try:
        from lm_eval.models.huggingface import HFLM  # noqa: PLC0415
    except ImportError:
        click.echo("lm-eval is not installed: its rows are left out", err=True)
        return contestants
    for size in sizes:
        peer = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size, device="cpu", dtype="float32")

        def ask(requests: Sequence[Request], peer: Any = peer) -> Sums:
            asked = [(("", ""), list(ids[:start]), list(ids[start:])) for ids, start in requests]
            return [value for value, _ in peer._loglikelihood_tokens(asked, disable_tqdm=True)]

        contestants[harness(size)] = ask
    return contestants


def timed(ask: Contestant, requests: Sequence[Request]) -> tuple[float, Sums, int]:
    """Wall seconds, answers, and the most memory that was resident, in bytes (Linux; elsewhere what is at the end)."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5", encoding="ascii")  # the high-water mark starts anew
    start = time.perf_counter()
    answers = ask(requests)
    elapsed = time.perf_counter() - start
    memory = psutil.Process().memory_info()
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    marks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return elapsed, answers, max([memory.rss, *marks])


def edited_seconds(model: Any, general: Sequence[Request]) -> dict[str, float]:
    """Seconds for general text under a LoRA on the upper half of the blocks: in full, and from the base's states."""
    from peft import LoraConfig, TaskType, get_peft_model  # noqa: PLC0415

    count = model.config.num_hidden_layers
    upper = list(range(count // 2, count))
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=16,
        target_modules=["up_proj", "down_proj"],
        layers_to_transform=upper,
        init_lora_weights=False,
    )
    edited = get_peft_model(copy.deepcopy(model), config).eval()
    packs = plan(model, general)

    def run(which: Any, **how: Any) -> float:
        start = time.perf_counter()
        for pack in packs:
            dict(score(which, pack, **how))
        return time.perf_counter() - start

    with tempfile.TemporaryDirectory() as folder:
        way = shortcut(model, count // 2)
        assert way is not None
        assert way == shortcut(edited, count // 2)
        states = StateFiles(Path(folder), way, room=2**33)
        recording = run(model, during=states.during)
        return {RECORDING: recording, EDITED: run(edited), RESUMED: run(edited, during=states.during)}


class Rates(NamedTuple):
    """float32 matrix products of this machine, FLOP/s."""

    torch_mm: float
    best: float
    """By oneDNN, where that is faster."""


def gemm_rates(size: int = 1536, tries: int = 8) -> Rates:
    """The best of a few products."""
    left, right, out = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)

    def seconds(multiply: Callable[[], Any]) -> float:
        start = time.perf_counter()
        multiply()
        return time.perf_counter() - start

    with torch.inference_mode():
        plain = min(seconds(lambda: torch.mm(left, right.T, out=out)) for _ in range(tries))
        with fast_products(torch.device("cpu")):
            fast = min(seconds(lambda: torch.nn.functional.linear(left, right)) for _ in range(tries))
    return Rates(2 * size**3 / plain, 2 * size**3 / min(plain, fast))


def distinct_prefixes(requests: Sequence[Request]) -> set[tuple[int, ...]]:
    """What has to be fed, at the least: a token for each; a request's last token predicts nothing that is asked."""
    return {ids[:length] for ids, _ in requests for length in range(1, len(ids))}


def needed_flops(model: Any, requests: Sequence[Request]) -> int:
    """FLOPs of the weight matrices for each distinct prefix once, and of the output layer where it predicts something.

    Attention itself, which also has to be computed, is not counted.
    """
    head = model.get_output_embeddings()
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear) and layer is not head]
    fed = distinct_prefixes(requests)
    rows = {ids[:length] for ids, start in requests for length in range(start, len(ids))}
    return 2 * (sum(layer.weight.numel() for layer in layers) * len(fed) + head.weight.numel() * len(rows))


def print_tasks(
    model: Any, tasks: dict[str, list[Request]], contestants: dict[str, Contestant], seconds: Any, rates: Rates
) -> None:
    """Seconds per task, the sum, how much faster the engine is, and the share of the GEMM rate."""
    flops = sum(needed_flops(model, requests) for requests in tasks.values())
    fed = sum(len(distinct_prefixes(requests)) for requests in tasks.values())
    given = sum(len(ids) for requests in tasks.values() for ids, _ in requests)
    totals = {name: sum(statistics.median(seconds[name, task]) for task in tasks) for name in contestants}
    click.echo(
        f"{given:,} tokens as given, {fed:,} to be fed; {torch.get_num_threads()} threads; "
        f"float32 GEMM {rates.torch_mm / 1e9:.0f} GFLOP/s by torch.mm, {rates.best / 1e9:.0f} by the fastest known; "
        f"torch {torch.__version__}\n"
    )
    print_row("", *tasks, "all, s", "engine is faster by", *SHARES)
    print_row(*["---"] * (len(tasks) + 5))
    for name, total in totals.items():
        each = [f"{statistics.median(seconds[name, task]):.1f}" for task in tasks]
        print_row(name, *each, f"{total:.1f}", f"{total / totals[ENGINE]:.2f}×", *shares(flops / total, rates))
    click.echo("")


def shares(rate: float, rates: Rates) -> list[str]:
    return [f"{rate / peak:.1%}" for peak in rates]


def print_general(model: Any, general: list[Request], seconds: Any, rates: Rates) -> None:
    """The same for general text, all of whose positions are scored."""
    flops = needed_flops(model, general)
    print_row(f"general text, {len(general)} chunks", "s", *SHARES)
    print_row(*["---"] * 4)
    for name in (ENGINE, ONE_BY_ONE, RECORDING, EDITED, RESUMED):
        median = statistics.median(seconds[name, "general"])
        print_row(name, f"{median:.1f}", *shares(flops / median, rates))
    click.echo("")


def print_errors(
    model: Any,
    tasks: dict[str, list[Request]],
    contestants: dict[str, Contestant],
    answers: dict[tuple[str, str], Sums],
) -> None:
    """How far each contestant is from a float64 forward, per scored token. The model is float64 afterwards."""
    model.double()
    errors: dict[str, list[float]] = defaultdict(list)
    for task, requests in tasks.items():
        chosen = np.linspace(0, len(requests) - 1, min(TRUTHS, len(requests))).astype(int)
        for index, truth in zip(chosen, reference_log_probs(model, [requests[i] for i in chosen]), strict=True):
            for name in contestants:
                errors[name].append((answers[name, task][index] - truth.sum()) / len(truth))
    print_row("error against float64, nats per token", "mean", "largest")
    print_row("---", "---", "---")
    for name, own in errors.items():
        print_row(name, f"{np.mean(own):+.1e}", f"{np.abs(own).max():.1e}")


def print_row(*cells: str) -> None:
    click.echo(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
