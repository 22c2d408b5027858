"""Measure what edited senses save in scoring and in training; prints two Markdown tables.

    python scripts/bench_senses.py                        # an untrained Backpack of the demo's size
    python scripts/bench_senses.py --model BACKPACK

Scoring: general text of a suite, after senses were edited that a task's canonical examples chose. Everything is scored
anew, or from the hidden states of the GPT-2, or only what the edit can have changed, or both. Training: epochs of the
method, and of the same loop through the whole model. Contestants take turns; processor time, for busy machines.
"""

from __future__ import annotations

import copy
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from canonbench.cache import Store
from canonbench.editing.contract import EditRequest
from canonbench.editing.methods.senses import SensesSettings, choose, edit
from canonbench.editing.training.finetune import finetune
from canonbench.likelihood.reuse import Reuse, StateCache, unchanged_scores
from canonbench.likelihood.route import route
from canonbench.likelihood.tokens import Encoder
from canonbench.models.backpack.model import BackpackForCausalLM
from canonbench.models.backpack.senses import BackpackConfig
from canonbench.models.fingerprint import fingerprint
from canonbench.runs.edit_run import edit_request
from canonbench.runs.measure import ScoredModel, measure, measure_base
from canonbench.runs.progress import Progress
from canonbench.runs.requests import Measured, RequestBatch, general_unit
from canonbench.runs.spec import resolve
from canonbench.suite.suite import Suite

DELTAS = "backpack.sense_edit.deltas"


@click.command()
@click.option("--model", "folder", default=None, help="A Backpack; default: an untrained one of the demo's size.")
@click.option("--suite", "suite_name", default="mini")
@click.option("--task", default="country", help="Whose canonical examples choose the senses.")
@click.option("--repeats", default=3, help="Runs of everything; medians are printed.")
@click.option("--epochs", default=3, help="Of training.")
def main(folder: str | None, suite_name: str, task: str, repeats: int, epochs: int) -> None:
    """Measure and print."""
    asked = resolve(
        suite=suite_name, tasks=task, split="val", general=None, protocol_name="canonbench-1", limit=None, seed=0
    )
    assert asked.general is not None
    request = edit_request(asked, task, 0, SensesSettings(epochs=epochs))
    model, tokenizer = loaded(folder) if folder else untrained([*request.regularization, *task_texts(asked.suite)])
    with tempfile.TemporaryDirectory() as cache:
        os.environ["CANONBENCH_CACHE"] = cache
        unit = general_unit(asked.general, "val", None, Encoder.of(tokenizer))
        scoring(model, tokenizer, request, unit, repeats)
    training(model, tokenizer, request, repeats)


def loaded(folder: str) -> tuple[Any, Any]:
    """The model and its tokenizer."""
    from transformers import AutoTokenizer  # noqa: PLC0415

    return BackpackForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(
        folder
    )


def task_texts(suite: Suite) -> list[str]:
    """What the tasks' canonical and evaluation examples say: a vocabulary knows the words that tasks are about."""
    parts = [
        part for task in suite.tasks.values() for part in (task.split("val").canonical, task.split("val").evaluation)
    ]
    return [row["prefix"] + row["suffix_a"] for part in parts for row in part]


def untrained(texts: list[str]) -> tuple[Any, Any]:
    """A random Backpack of the demo's size, and a byte-level tokenizer that knows the texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    size = 6144
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    end = "<|endoftext|>"
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[end], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    config = BackpackConfig(
        vocab_size=size, n_positions=512, n_embd=256, n_layer=5, n_head=8, num_senses=16, sense_intermediate_scale=1
    )
    torch.manual_seed(0)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end)
    return BackpackForCausalLM(config).eval(), fast


def scoring(model: Any, tokenizer: Any, request: EditRequest[SensesSettings], unit: RequestBatch, repeats: int) -> None:
    """The table of what re-scoring general text costs."""
    base = fingerprint(model)
    where, states_of = Path(tempfile.mkdtemp()), StateCache(2**32, lambda _line: None)
    chosen = choose(model, tokenizer, request)
    edited = copy.deepcopy(model)
    edited.edit_senses(chosen.token_ids, chosen.sense_ids).deltas.data.normal_(0, 0.5)
    mark = fingerprint(edited)
    states = states_of.between(edited, base, mark)
    how: dict[str, Any] = {"batch_tokens": None}
    before = measure_base(
        ScoredModel(model, base), [unit], Store(where / "base", print), Progress(), states=states, **how
    )
    scores = unchanged_scores(edited, base, mark, {name: each.tokens for name, each in before.items()})
    assert scores is not None
    ways = {
        "everything": Reuse(),
        "from the hidden states": Reuse(states),
        "what can have changed": Reuse(None, scores),
        "both": Reuse(states, scores),
    }
    seconds: dict[str, list[float]] = defaultdict(list)
    found: dict[str, Measured] = {}
    route(edited)  # tried out once in a run, whatever is scored
    for repeat in range(repeats):
        for name, reuse in ways.items():
            store = Store(where / f"{name}-{repeat}", print)
            start = time.process_time()
            found[name] = measure(ScoredModel(edited, mark), [unit], store, Progress(), label=name, reuse=reuse, **how)[
                unit.name
            ]
            seconds[name].append(time.process_time() - start)
    unchanged = Reuse(None, scores).unchanged(unit.name, unit.requests)
    assert unchanged is not None
    scored = int(unit.n_scored.sum())
    share = 1 - sum(unchanged.counts) / scored
    whole = sum(count < own for count, own in zip(unchanged.counts, unit.n_scored, strict=True))
    print(
        f"{len(chosen.token_ids)} senses of {len(scores.words)} words; {len(unit.requests)} chunks, {scored} tokens: "
    )
    print(f"{whole} chunks hold one of the words, {share:.1%} of the tokens come after one\n")
    print("| scored | seconds | faster by | largest difference, nats per token |\n|---|---|---|---|")
    times = {name: statistics.median(each) for name, each in seconds.items()}
    for name, took in times.items():
        off = np.abs((found[name].sums - found["everything"].sums) / unit.n_scored).max()
        print(f"| {name} | {took:.2f} | {times['everything'] / took:.1f}× | {off:.1e} |")


def training(model: Any, tokenizer: Any, request: EditRequest[SensesSettings], repeats: int) -> None:
    """The table of what training costs."""

    def ours(model: Any) -> None:
        for _ in edit(model, tokenizer, request):
            pass

    def whole(model: Any) -> None:
        chosen = choose(model, tokenizer, request)
        model.edit_senses(chosen.token_ids, chosen.sense_ids)
        for _ in finetune(model, tokenizer, request, [DELTAS]):
            pass

    ways: dict[str, Callable[[Any], None]] = {"whole model": whole, "senses": ours}
    seconds: dict[str, list[float]] = defaultdict(list)
    trained: dict[str, Any] = {}
    for _ in range(repeats):
        for name, train in ways.items():
            trained[name] = copy.deepcopy(model)
            start = time.process_time()
            train(trained[name])
            seconds[name].append(time.process_time() - start)
    times = {name: statistics.median(each) for name, each in seconds.items()}
    one, other = (each.get_parameter(DELTAS) for each in trained.values())
    print(f"\n{len(request.canonical)} examples, {request.hyperparameters.epochs} epochs\n")
    print("| trained through | seconds | faster by |\n|---|---|---|")
    for name, took in times.items():
        print(f"| {name} | {took:.1f} | {times['whole model'] / took:.1f}× |")
    print(f"\nlargest difference of a number in the vectors: {(one - other).abs().max():.1e} of {one.abs().max():.1e}")


if __name__ == "__main__":
    main()
