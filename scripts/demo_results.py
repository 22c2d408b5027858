"""What the methods do to the demo Backpack and its GPT-2 twin: a random search on val, the test split, and a table.

    python scripts/demo_results.py search RUNS
    python scripts/demo_results.py test RUNS
    python scripts/demo_results.py ensemble RUNS
    python scripts/demo_results.py joint RUNS
    python scripts/demo_results.py table RUNS

``search`` edits with a few settings of each method, drawn from the published ranges
(docs/reference/protocol.md#8-methods). ``test`` takes, for every task, the setting whose success on val is highest on
average over the leagues, and repeats it with five seeds. ``ensemble`` adds what the chosen edits of the Backpack
changed to the GPT-2; ``joint`` does it with one Backpack of all six tasks' edits. All of it is ``canonbench edit``,
``merge`` and ``evaluate``; what is finished is not
done again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import click
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from canonbench.board.picture import COLOURS, MARKERS, STYLE
from canonbench.results.row import Row
from canonbench.runs.merge import read_merged
from canonbench.suite.tasks import TASKS

BACKPACK, TWIN = "demo-backpack", "demo-gpt2"
PAIRS = ((BACKPACK, "senses"), (BACKPACK, "lora"), (BACKPACK, "full"), (TWIN, "lora"), (TWIN, "full"))
LEAGUES = ("1e-3", "1e-4", "1e-5")
RATES = {"senses": (-1.5, 0, 12), "lora": (-6.5, -2, 4), "full": (-8.5, -4, 4)}
"""Exponents of learning rates, least and most, and the number of parts of this range: a trial draws from its own."""
TRIALS = {"senses": range(12), "lora": (2, 3, 4), "full": (2, 3, 4)}
"""Parts that are tried. The published ranges were made for larger models: the lower half of those of LoRA and full
finetuning hardly moves these, so a part above the range is tried instead; that of senses hardly moves them anywhere,
and begins here where it ended. Twelve trials of senses took a quarter more processor time than three of the others."""
EPOCHS = {"senses": 10, "lora": 5, "full": 5}
"""Published: 10 epochs, and 25 trials."""
SEEDS = 5
ADDED = "senses"
"""The method whose edits of the Backpack are added to its twin."""


def drawn(model: str, method: str, trial: int) -> dict[str, str]:
    """Settings from the published ranges, but for the learning rate."""
    draw = np.random.default_rng([trial, *map(ord, model + method)])
    least, most, parts = RATES[method]
    lr = 10 ** (least + (most - least) * (trial + draw.uniform()) / parts)
    settings = {
        "lr": f"{lr:.3g}",
        "regularizer_weight": f"{10 ** draw.uniform(-1, 0):.3g}",
        "epochs": str(EPOCHS[method]),
    }
    if method == "lora":
        settings |= {"rank": str(draw.integers(1, 257)), "share": f"{draw.uniform(0.1, 0.9):.3g}"}
    if method == "senses":
        settings["k"] = str(draw.integers(5, 12))
    return settings


def canonbench(arguments: Sequence[str | Path], unless: str = "") -> None:
    """Run a command on one thread, quietly; stop if it fails, ``unless`` it says this."""
    command = [sys.executable, "-m", "canonbench", *map(str, arguments), "--quiet"]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode and not (unless and unless in done.stderr):
        raise click.ClickException(f"{' '.join(command)}: {done.stderr}")
    click.echo(" ".join(map(str, arguments)))


def kept(method: str) -> str:
    """Edits that become part of an ensemble are kept."""
    return "best" if method == ADDED else "none"


def all_of(commands: Sequence[Sequence[str | Path]], jobs: int, unless: str = "") -> None:
    """Run commands, several at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(lambda command: canonbench(command, unless), commands))


class Gain(NamedTuple):
    """Δ success in points, and its 95 % interval."""

    delta: float
    low: float
    high: float

    def said(self) -> str:
        """For a table."""
        return f"{self.delta:+.1f} [{self.low:+.1f}, {self.high:+.1f}]".replace("-", "−")


def val_run(runs: Path, model: str, method: str, trial: int) -> Path:
    """Where a trial of the search lies."""
    return runs / f"{model}-{method}-val-{trial}"


def test_run(runs: Path, model: str, method: str, task: str) -> Path:
    """Where the test of one task lies."""
    return runs / f"{model}-{method}-test-{task}"


def ensemble_run(runs: Path, task: str, league: str, split: str) -> Path:
    """Where an ensemble's evaluation lies."""
    return runs / f"ensemble-{task}-{league}-{split}"


def artefact(run: Path, task: str, league: str) -> Path | None:
    """What the run kept of the first seed in a league; None for the unedited model."""
    seeds = (Row.read(run / "row.json").leagues or {})[league].tasks[task].seeds or ()
    taken = next(each.candidate for each in seeds if each.seed == 0)
    return None if taken is None else run / "artefacts" / task / "seed-0" / f"candidate-{taken}"


def best_trial(runs: Path, model: str, method: str, task: str) -> int:
    """The trial of highest success on val on average over the leagues; of equals that of the lowest rate."""
    rows = [Row.read(val_run(runs, model, method, trial) / "row.json") for trial in TRIALS[method]]
    means = [fmean((row.leagues or {})[league].tasks[task].success.edited for league in LEAGUES) for row in rows]
    return TRIALS[method][means.index(max(means))]


@click.group()
def main() -> None:
    """Measure the methods on the models that come with the package."""


jobs_option = click.option("--jobs", default=2, help="Runs at a time, on a thread each.")
runs_argument = click.argument("runs", type=click.Path(path_type=Path, file_okay=False))


@main.command()
@runs_argument
@jobs_option
def search(runs: Path, jobs: int) -> None:
    """Edit on val with settings drawn at random."""
    commands = []
    for model, method in PAIRS:
        for trial in TRIALS[method]:
            settings = drawn(model, method, trial).items()
            named = [part for name, value in settings for part in ("--set", f"{name}={value}")]
            where = val_run(runs, model, method, trial)
            if not (where / "row.json").exists():
                edit = ["edit", "--model", model, "--method", method, "--suite", "mini", "--task", "all"]
                commands.append([*edit, "--split", "val", "--keep", kept(method), *named, "--run", where])
    all_of(commands, jobs)


@main.command()
@runs_argument
@jobs_option
def test(runs: Path, jobs: int) -> None:
    """Repeat on test what val chose."""
    commands = []
    for model, method in PAIRS:
        for task in TASKS:
            chosen = val_run(runs, model, method, best_trial(runs, model, method, task))
            where = test_run(runs, model, method, task)
            if not (where / "row.json").exists():
                edit = ["edit", "--model", model, "--method", method, "--suite", "mini", "--task", task]
                follow = ["--split", "test", "--chosen", chosen, "--seeds", str(SEEDS), "--keep", kept(method)]
                commands.append([*edit, *follow, "--run", where])
    all_of(commands, jobs)


@main.command()
@runs_argument
@jobs_option
def ensemble(runs: Path, jobs: int) -> None:
    """The twin plus what the Backpack's edit changed: β from val, success from test. One seed."""
    for split in ("val", "test"):
        commands = []
        for task in TASKS:
            trial = best_trial(runs, BACKPACK, ADDED, task)
            edits = {"val": val_run(runs, BACKPACK, ADDED, trial), "test": test_run(runs, BACKPACK, ADDED, task)}
            for league in LEAGUES:
                edit, where = artefact(edits[split], task, league), ensemble_run(runs, task, league, split)
                beta = f"auto@{league}" if split == "val" else chosen_beta(runs, task, league)
                if edit is not None and beta is not None and not (where / "row.json").exists():
                    name = f"ensemble:{TWIN},{edit},beta={beta}"
                    data = ["--suite", "mini", "--split", split, "--task", task]
                    commands.append(["evaluate", "--model", name, *data, "--run", where])
        all_of(commands, jobs, unless="there the choice is")


@main.command()
@runs_argument
def joint(runs: Path) -> None:
    """One Backpack with the edits of all tasks, alone and added to its twin: rows of the joint track."""
    merged = {}
    for split in ("val", "test"):
        found = []
        for task in TASKS:
            trial = best_trial(runs, BACKPACK, ADDED, task)
            run = val_run(runs, BACKPACK, ADDED, trial) if split == "val" else test_run(runs, BACKPACK, ADDED, task)
            found.append(run if split == "test" else artefact(run, task, LEAGUES[0]))
        merged[split] = runs / f"joint-{split}"
        if not merged[split].exists():
            canonbench(["merge", *filter(None, found), "--out", merged[split]])
    data = ["--suite", "mini", "--task", "all"]
    sought, alone, both = (runs / f"joint-{name}-row" for name in ("beta", "backpack", "ensemble"))
    auto = f"ensemble:{TWIN},{merged['val']},beta=auto@{LEAGUES[0]}"
    canonbench(["evaluate", "--model", auto, *data, "--split", "val", "--run", sought])
    beta = Row.read(sought / "row.json").model.name.rpartition("beta=")[2]
    canonbench(["evaluate", "--model", merged["test"], *data, "--split", "test", "--run", alone])
    added = f"ensemble:{TWIN},{merged['test']},beta={beta}"
    canonbench(["evaluate", "--model", added, *data, "--split", "test", "--run", both])


def chosen_beta(runs: Path, task: str, league: str) -> str | None:
    """What the val run chose; None if no β was in the league."""
    path = ensemble_run(runs, task, league, "val") / "row.json"
    return Row.read(path).model.name.rpartition("beta=")[2] if path.exists() else None


@main.command()
@runs_argument
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the averages here (SVG).")
def table(runs: Path, picture: Path | None) -> None:
    """Print the test results as Markdown."""
    found = {f"{method} on {model}": edited(runs, model, method) for model, method in PAIRS}
    found[f"{TWIN} + β · {ADDED} on {BACKPACK}"] = added(runs)
    click.echo(f"| average over six tasks | {' | '.join(LEAGUES)} |\n|---|---:|---:|---:|")
    for name, (averages, _) in found.items():
        click.echo(f"| {name} | {' | '.join(averages[league].said() for league in LEAGUES)} |")
    click.echo(f"\n| Δ at {' / '.join(LEAGUES)} | {' | '.join(TASKS)} |\n|---|{'---:|' * len(TASKS)}")
    for name, (_, gains) in found.items():
        cells = (" / ".join(f"{gains[task][league]:+.1f}".replace("-", "−") for league in LEAGUES) for task in TASKS)
        click.echo(f"| {name} | {' | '.join(cells)} |")
    click.echo(f"\n| chosen on val | {' | '.join(TASKS)} |\n|---|{'---|' * len(TASKS)}")
    for model, method in PAIRS:
        click.echo(f"| {method} on {model} | {' | '.join(setting(runs, model, method, task) for task in TASKS)} |")
    if picture is not None:
        draw({name: averages for name, (averages, _) in found.items()}, picture)


Results = tuple[dict[str, Gain], dict[str, dict[str, float]]]
"""The average by league; Δ by task and league."""


def edited(runs: Path, model: str, method: str) -> Results:
    """Of an editing method."""
    row = read_merged([test_run(runs, model, method, task) for task in TASKS]).row
    assert row.leagues is not None
    averages = {league: row.leagues[league].average.success for league in LEAGUES}
    return {league: Gain(each.delta, *(each.ci or (each.delta, each.delta))) for league, each in averages.items()}, {
        task: {league: row.leagues[league].tasks[task].success.delta for league in LEAGUES} for task in TASKS
    }


def added(runs: Path) -> Results:
    """Of the ensemble; 0 where there is none in the league. The interval is that of a mean of independent tasks."""
    changes = {}
    for task in TASKS:
        for league in LEAGUES:
            path = ensemble_run(runs, task, league, "test") / "row.json"
            found = (Row.read(path).tasks or {})[task].success if path.exists() else None
            changes[task, league] = (
                Gain(0, 0, 0) if found is None else Gain(found.delta, *(found.ci or (found.delta, found.delta)))
            )
    averages = {}
    for league in LEAGUES:
        own = [changes[task, league] for task in TASKS]
        mean, half = fmean(each.delta for each in own), np.hypot.reduce([(each.high - each.low) / 2 for each in own])
        averages[league] = Gain(mean, mean - half / len(own), mean + half / len(own))
    return averages, {task: {league: changes[task, league].delta for league in LEAGUES} for task in TASKS}


def setting(runs: Path, model: str, method: str, task: str) -> str:
    """What val chose, without the regulariser's weight."""
    row = Row.read(val_run(runs, model, method, best_trial(runs, model, method, task)) / "row.json")
    known = row.hyperparameters or {}
    return ", ".join(f"{name}={known[name]:g}" for name in ("lr", "k", "rank") if name in known)


def draw(found: dict[str, dict[str, Gain]], path: Path) -> None:
    """Averages by league, with their intervals."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6), dpi=72)
        axes = figure.add_axes((0.08, 0.14, 0.5, 0.8))
        for place, (name, averages) in enumerate(found.items()):
            x = np.arange(len(LEAGUES)) + (place - (len(found) - 1) / 2) * 0.13
            gains = [averages[league] for league in LEAGUES]
            sides = [[each.delta - each.low for each in gains], [each.high - each.delta for each in gains]]
            axes.errorbar(
                x, [each.delta for each in gains], yerr=sides, fmt=MARKERS[place], color=COLOURS[place], label=name
            )
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xticks(range(len(LEAGUES)), LEAGUES)
        axes.set(xlabel="loss league", ylabel="Δ success, points (mean of six tasks)")
        figure.legend(loc="center right", frameon=False)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
