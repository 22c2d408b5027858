"""How often 95 % intervals hold the truth: the package's, and percentiles of the bootstrap that they replaced.

    python scripts/simulate_intervals.py            # about two minutes
    python scripts/simulate_intervals.py --quick    # a tenth of it

Prints the table of docs/reference/intervals.md. Each line is a world that data are drawn from, again and again; "holds"
is the share of the intervals that hold the world's true value, "width" their mean width. Success and its changes are in
percentage points, hard negatives in nats, loss ratios in units of 1e-3. "m x r" are m subjects with r rows each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from canonbench.scoring.intervals import Estimate, mean_change, mean_of_estimates, ratio, success_change

Values = NDArray[np.float64]
Units = tuple[Values, Values]
"""Numerators and denominators of what is resampled."""
RESAMPLES = 400
UNEQUAL = (1, 1, 1, 2, 2, 3, 3, 4, 5, 8, 10, 20)


class Drawn(NamedTuple):
    """One set of data: the package's estimate, and per task what a bootstrap resamples."""

    estimate: Estimate | None
    tasks: list[Units]


class World(NamedTuple):
    """Where data come from."""

    name: str
    draw: Callable[[np.random.Generator], Drawn]
    truth: float
    scale: float = 1.0
    """What widths are multiplied by in the table."""


@click.command()
@click.option("--quick", is_flag=True, help="A tenth of the data sets.")
@click.option("--sets", default=3000, help="Data sets per world.")
def main(quick: bool, sets: int) -> None:
    """Simulate and print."""
    print("| data | holds | width | percentiles hold | width |\n|---|---:|---:|---:|---:|")
    for number, world in enumerate(worlds()):
        holds, width, old_holds, old_width = simulated(world, sets // 10 if quick else sets, number)
        scaled = [f"{world.scale * each:.3g}" for each in (width, old_width)]
        print(f"| {world.name} | {holds:.1f} % | {scaled[0]} | {old_holds:.1f} % | {scaled[1]} |", flush=True)


def simulated(world: World, sets: int, number: int) -> tuple[float, float, float, float]:
    """Coverage in percent and mean width, of the package's intervals and of percentiles."""
    random = np.random.default_rng([7, number])
    found = []
    for _ in range(sets):
        drawn = world.draw(random)
        assert drawn.estimate is not None
        for low, high in (drawn.estimate.interval, percentiles(random, drawn.tasks)):
            found += [low - 1e-12 <= world.truth <= high + 1e-12, high - low]
    holds, width, old_holds, old_width = np.reshape(found, (sets, 4)).mean(axis=0)
    return 100 * holds, width, 100 * old_holds, old_width


def percentiles(random: np.random.Generator, tasks: list[Units]) -> tuple[float, float]:
    """The percentile bootstrap: units resampled within tasks, the central 95 % of the mean over tasks."""
    draws = np.zeros(RESAMPLES)
    for numerators, denominators in tasks:
        chosen = random.integers(numerators.size, size=(RESAMPLES, numerators.size))
        draws += numerators[chosen].sum(axis=1) / denominators[chosen].sum(axis=1) / len(tasks)
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def worlds() -> Iterator[World]:
    """Few subjects and ordinary ones, rare changes, averages, hard negatives, loss ratios."""
    for sizes, label in (
        ((10,) * 6, "6 x 10"), ((5,) * 12, "12 x 5"), (UNEQUAL, "12 of 1 to 20 rows"), ((3,) * 22, "22 x 3"),
        ((1,) * 66, "66 x 1"), ((10,) * 60, "60 x 10"),
    ):  # fmt: skip
        yield success(f"success, {label}", sizes)
    yield success("success, 6 x 10, rows of a subject alike", (10,) * 6, alike=0.9)
    yield success("success, 6 x 10, rows of a subject unlike", (10,) * 6, alike=0.05)
    yield success("success, 22 x 3, mean of 5 seeds", (3,) * 22, seeds=5)
    for label, sizes, p, share in (
        ("22 x 3, a subject in 20 gained", (3,) * 22, 0.05, 1.0),
        ("22 x 3, a row in 60 gained", (3,) * 22, 1.0, 1 / 60),
        ("12 x 10, a third of a subject in 11 gained", (10,) * 12, 1 / 11, 1 / 3),
        ("6 x 10, a subject in 6 gained", (10,) * 6, 1 / 6, 1.0),
        ("66 x 1, a row in 60 gained", (1,) * 66, 1 / 60, 1.0),
        ("400 x 1, a row in 300 gained", (1,) * 400, 1 / 300, 1.0),
        ("400 x 1, a row in 100 gained", (1,) * 400, 0.01, 1.0),
    ):
        yield World(f"success, {label}", lambda random, s=sizes, p=p, q=share: rare(random, s, p, q), 100 * p * share)
    six = success("", (3,) * 22)
    yield World("average of 6 tasks, 22 x 3", lambda random: together([six.draw(random) for _ in range(6)]), six.truth)
    few = success("", (10,) * 6)
    yield World("average of 6 tasks, 6 x 10", lambda random: together([few.draw(random) for _ in range(6)]), few.truth)
    for label, each in (("a subject in 20", 0.05), ("a subject in 100", 0.01)):
        yield World(
            f"average of 6 tasks, 22 x 3, {label} gained",
            lambda random, p=each: together([rare(random, (3,) * 22, p, 1.0) for _ in range(6)]),
            100 * each,
        )
    for shape, of, mean in (
        ("normal", lambda random, n: random.normal(0.1, 1, n), 0.1),
        ("t with 3 degrees", lambda random, n: random.standard_t(3, n), 0.0),
        ("log-normal", lambda random, n: np.exp(random.normal(size=n)), float(np.exp(0.5))),
    ):
        for m, r in ((6, 10), (12, 5), (22, 2), (100, 2)):
            name = f"hard negatives, {m} x {r}, {shape}"
            truth = mean * (np.sqrt(0.3) + np.sqrt(0.7))
            yield World(name, lambda random, of=of, m=m, r=r: hard_negatives(random, of, m, r), truth)
    for chunks in (144, 500, 2000):
        yield loss_ratio(f"loss ratio, {chunks} chunks", chunks, 0.0, 0.0, 0.01)
        yield loss_ratio(f"loss ratio, {chunks} chunks, 2 % hit hard", chunks, 0.02, 1.0, 0.001)
    yield loss_ratio("loss ratio, 144 chunks, 2 % hit, amid noise", 144, 0.02, 0.2, 0.01)


def success(name: str, sizes: tuple[int, ...], *, alike: float = 0.5, seeds: int = 1) -> World:
    """Subjects and rows differ in difficulty and in what the edit makes of them; ``alike`` is the subjects' share."""

    def changes(random: np.random.Generator, rows_of: NDArray[np.int64]) -> Values:
        def mixed() -> Values:
            of_subject = random.normal(size=rows_of.size)[subjects(rows_of)]
            return np.sqrt(alike) * of_subject + np.sqrt(1 - alike) * random.normal(size=int(rows_of.sum()))

        hard = mixed()
        after = np.mean([hard + 0.5 + 0.7 * mixed() > 0.3 for _ in range(seeds)], axis=0)
        return np.asarray(100 * (after - (hard > 0.3)))

    rows_of = np.array(sizes)
    many = np.tile(rows_of, 400_000 // rows_of.sum())
    truth = float(np.mean([changes(np.random.default_rng(seed), many).mean() for seed in range(5)]))
    return World(name, lambda random: of_rows(changes(random, rows_of), rows_of), truth)


def rare(random: np.random.Generator, sizes: tuple[int, ...], p: float, share: float) -> Drawn:
    """A subject is reached with probability ``p``, then each of its rows gained with probability ``share``."""
    rows_of = np.array(sizes)
    reached = (random.random(rows_of.size) < p)[subjects(rows_of)]
    return of_rows(100.0 * (reached & (random.random(reached.size) < share)), rows_of)


def of_rows(changes: Values, rows_of: NDArray[np.int64]) -> Drawn:
    """Changes of success, points, of subjects with so many rows."""
    names = subjects(rows_of).astype(str).tolist()
    units = np.bincount(subjects(rows_of), weights=changes), rows_of.astype(np.float64)
    return Drawn(success_change(np.zeros(changes.size), changes, names), [units])


def together(tasks: list[Drawn]) -> Drawn:
    """The average over tasks."""
    return Drawn(
        mean_of_estimates([each.estimate for each in tasks]), [units for each in tasks for units in each.tasks]
    )


def hard_negatives(
    random: np.random.Generator, of: Callable[[np.random.Generator, int], Values], m: int, r: int
) -> Drawn:
    """Changes in nats, 30 % of whose variance is the subject's."""
    rows_of = np.full(m, r)
    changes = np.sqrt(0.3) * of(random, m)[subjects(rows_of)] + np.sqrt(0.7) * of(random, m * r)
    units = np.bincount(subjects(rows_of), weights=changes), rows_of.astype(np.float64)
    return Drawn(mean_change(np.zeros(m * r), changes, subjects(rows_of).astype(str).tolist()), [units])


def loss_ratio(name: str, chunks: int, p: float, hit: float, noise: float) -> World:
    """Chunks change by ``noise`` of their loss; a share ``p`` of them rises by a log-normal share, mean ``hit``."""

    def drawn(random: np.random.Generator) -> Drawn:
        base = random.integers(60, 140, chunks) * random.normal(4, 0.5, chunks).clip(2)
        hits = (random.random(chunks) < p) * hit * np.exp(random.normal(scale=0.7, size=chunks) - 0.7**2 / 2)
        edited = base * (1 + hits + noise * random.normal(size=chunks))
        return Drawn(ratio(base, edited), [(edited, base)])

    return World(name, drawn, 1 + p * hit, scale=1000)


def subjects(rows_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """The subject of each row, by number."""
    return np.repeat(np.arange(rows_of.size), rows_of)


if __name__ == "__main__":
    main()
