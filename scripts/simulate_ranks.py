"""How often the board tells two methods apart that are equally good, or not: paired tests against intervals.

    python scripts/simulate_ranks.py

Six tasks of the embedded suite's size, 22 subjects with three rows each. Whether a row succeeds depends on how hard its
subject and the row itself are (shared by both methods), on what a method makes of the subject and of the row (its own),
and on a shift in favour of the better one. The results stand in docs/reference/leaderboard.md.
"""

from __future__ import annotations

import click
import numpy as np
from numpy.typing import NDArray

from canonbench.board.ranks import Contender, Gains, TaskGains, ranking
from canonbench.scoring.intervals import mean_of_estimates, success_change

TASKS, SUBJECTS, ROWS = 6, 22, 3
CLUSTERS = [f"subject {row // ROWS}" for row in range(SUBJECTS * ROWS)]
THRESHOLD = 0.3
"""A row of average difficulty stands this far below success, in its own standard deviations."""
Values = NDArray[np.float64]


@click.command()
@click.option("--pairs", default=400, help="Pairs of methods per shift.")
def main(pairs: int) -> None:
    """Simulate and print."""
    random = np.random.default_rng(1)
    for shift in (0.0, 0.3, 0.6):
        apart = [told_apart(random, shift) for _ in range(pairs)]
        points = np.mean([gain for gain, _, _ in apart])
        shares = [100 * np.mean([each[way] for each in apart]) for way in (1, 2)]
        print(f"{points:+.1f} points on average: paired {shares[0]:.1f} %, intervals {shares[1]:.1f} %")


def told_apart(random: np.random.Generator, shift: float) -> tuple[float, bool, bool]:
    """The better one's lead in points, and whether a paired test and whether intervals see a difference."""
    scored = [both(random, shift) for _ in range(TASKS)]
    methods = list(zip(*scored, strict=True))
    lead = float(np.mean([better - other for better, other in scored]))
    if lead < 0:
        methods.reverse()  # contenders stand best first
    paired = [Contender(None, Gains("all", tuple(TaskGains(each, CLUSTERS) for each in tasks))) for tasks in methods]
    estimates = [mean_of_estimates([success_change(0 * each, each, CLUSTERS) for each in tasks]) for tasks in methods]
    intervals = [Contender(None if each is None else each.interval, None) for each in estimates]
    return lead, ranking(paired).ranks == (1, 2), ranking(intervals).ranks == (1, 2)


def both(random: np.random.Generator, shift: float) -> tuple[Values, Values]:
    """One task's successes of the better method and of the other, percent, (rows,) each."""
    shared = of_subjects(random, 1.0) + random.normal(size=len(CLUSTERS))
    own = [of_subjects(random, 0.7) + random.normal(size=len(CLUSTERS)) for _ in range(2)]
    better, other = (100.0 * (shared + each + more > THRESHOLD) for each, more in zip(own, (shift, 0.0), strict=True))
    return better, other


def of_subjects(random: np.random.Generator, scale: float) -> Values:
    """One value per subject, repeated on its rows."""
    return np.repeat(random.normal(scale=scale, size=SUBJECTS), ROWS)


if __name__ == "__main__":
    main()
