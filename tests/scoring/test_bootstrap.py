from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonbench.errors import CanonbenchError, UsageError
from canonbench.scoring import bootstrap, difference_units, draw, mean_draw, percentile_interval, ratio_units, stream


def test_units_are_cluster_sums_of_the_paired_differences_and_cluster_sizes() -> None:
    # France: (1-0) + (0-0) = 1 over 2 rows; Peru: (0-1) = -1 over 1 row. Clusters come in the order of their names.
    units = difference_units([0, 1, 0], [1, 0, 0], ["France", "Peru", "France"])
    assert units.numerators.tolist() == [1.0, -1.0]
    assert units.denominators.tolist() == [2.0, 1.0]


def test_two_clusters_have_exactly_the_three_statistics_worked_out_by_hand() -> None:
    # Draws of two from {France: 1 over 2, Peru: -1 over 1}: FF = 2/4 = 0.5 (p 1/4), FP or PF = 0/3 = 0 (p 1/2),
    # PP = -2/2 = -1 (p 1/4). The 2.5 % and 97.5 % points are therefore -1 and 0.5.
    units = difference_units([0, 1, 0], [1, 0, 0], ["France", "Peru", "France"])
    statistics = draw(units, resamples=20_000, generator=stream(0, "country"))
    values, counts = np.unique(statistics, return_counts=True)
    assert values.tolist() == [-1.0, 0.0, 0.5]
    assert counts / 20_000 == pytest.approx([0.25, 0.5, 0.25], abs=0.02)
    assert percentile_interval(statistics) == (-1.0, 0.5)


def test_the_loss_ratio_is_token_weighted_and_paired() -> None:
    # Base NLL 10 and 30 nats, edited 11 and 30: both = 11/10 = 1.1, neither = 30/30 = 1, one each = 41/40 = 1.025.
    statistics = draw(ratio_units([10, 30], [11, 30]), resamples=1000, generator=stream(0, "general"))
    assert np.unique(statistics) == pytest.approx([1.0, 1.025, 1.1], abs=1e-12)


def test_a_proportional_change_leaves_a_ratio_nothing_to_vary() -> None:
    # Unpaired resampling of these very different chunks would give a wide interval; paired, every draw is 1.01.
    base = np.array([1.0, 100.0, 5000.0])
    interval = percentile_interval(draw(ratio_units(base, base * 1.01), resamples=1000, generator=stream(1, "general")))
    assert interval == pytest.approx((1.01, 1.01), abs=1e-12)


def test_the_interval_of_a_normal_mean_has_the_width_theory_gives_it() -> None:
    # 400 clusters of one row, differences with standard deviation s: the half width is 1.96 s / sqrt(400).
    differences = np.random.default_rng(3).normal(1.0, 2.0, size=400)
    units = difference_units(np.zeros(400), differences, [str(i) for i in range(400)])
    low, high = percentile_interval(draw(units, resamples=10_000, generator=stream(0, "t")))
    assert (high - low) / 2 == pytest.approx(1.96 * differences.std() / 20, rel=0.05)
    assert (high + low) / 2 == pytest.approx(differences.mean(), abs=0.02)


def test_rows_of_one_subject_count_as_one_observation() -> None:
    # Five copies of every row are no new evidence: the clustered interval does not move, an unclustered one would
    # shrink by sqrt(5).
    differences = np.random.default_rng(4).normal(size=60)
    names = [str(i) for i in range(60)]
    once = difference_units(np.zeros(60), differences, names)
    copied = difference_units(np.zeros(300), np.repeat(differences, 5), np.repeat(names, 5).tolist())
    intervals = [percentile_interval(draw(u, resamples=2000, generator=stream(0, "t"))) for u in (once, copied)]
    assert intervals[0] == pytest.approx(intervals[1], abs=1e-12)


def test_one_cluster_has_no_interval_and_neither_has_an_average_with_it() -> None:
    one = draw(difference_units([0, 0], [1, 0], ["Peru", "Peru"]), resamples=100, generator=stream(0, "t"))
    two = draw(difference_units([0, 0], [1, 0], ["Peru", "Chad"]), resamples=100, generator=stream(0, "t"))
    assert one is None
    assert percentile_interval(mean_draw([one, two])) is None
    assert percentile_interval(mean_draw([two, two])) is not None


def test_the_average_resamples_within_every_task() -> None:
    # Two tasks of the two-valued kind {0, 1}: each draw is 0, 1/2 or 1, their mean one of 0, 1/4, ..., 1, and both
    # tasks at their extreme together has probability 1/16, more than the 2.5 % tail; 1/16 each side -> (0, 1).
    tasks = [
        draw(difference_units([0, 0], [0, 1], ["a", "b"]), resamples=20_000, generator=stream(0, name))
        for name in ("country", "verb")
    ]
    values, counts = np.unique(mean_draw(tasks), return_counts=True)
    assert values.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert counts / 20_000 == pytest.approx([1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16], abs=0.02)
    assert percentile_interval(mean_draw(tasks)) == (0, 1)


def test_the_same_seed_and_label_give_the_same_interval_and_others_do_not() -> None:
    units = difference_units(np.zeros(50), np.random.default_rng(5).normal(size=50), [str(i) for i in range(50)])

    def interval(seed: int, label: str) -> object:
        return percentile_interval(draw(units, resamples=500, generator=stream(seed, label)))

    assert interval(7, "country") == interval(7, "country")
    assert interval(7, "country") != interval(8, "country")
    assert interval(7, "country") != interval(7, "verb")


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="-1"):
        stream(-1, "country")


def test_memory_stays_bounded_for_ten_thousand_resamples_of_thousands_of_chunks() -> None:
    # The full index matrix would be 10,000 x 4,000 x 8 bytes = 320 MB.
    chunks = np.random.default_rng(6).uniform(100, 400, size=4000)
    units = ratio_units(chunks, chunks * 1.001)
    tracemalloc.start()
    draw(units, resamples=10_000, generator=stream(0, "general"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_the_last_block_is_filled_like_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    # 10 draws of 3 units in blocks of 4: 4 + 4 + 2. Every statistic must be one that three units can give.
    monkeypatch.setattr(bootstrap, "_BLOCK", 12)
    statistics = draw(ratio_units([1, 1, 1], [1, 2, 4]), resamples=10, generator=stream(0, "t"))
    possible = {sum(c) / 3 for c in itertools.product([1, 2, 4], repeat=3)}
    assert statistics.shape == (10,)
    assert set(statistics.tolist()) <= possible


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.booleans()), min_size=2, max_size=30),
    shuffle=st.randoms(use_true_random=False),
)
def test_the_order_of_the_rows_does_not_matter(rows: list[tuple[str, bool, bool]], shuffle: object) -> None:
    def interval(some: list[tuple[str, bool, bool]]) -> object:
        names, base, edited = zip(*some, strict=True)
        units = difference_units([100 * b for b in base], [100 * e for e in edited], names)
        return percentile_interval(draw(units, resamples=100, generator=stream(0, "t")))

    mixed = rows.copy()
    shuffle.shuffle(mixed)
    assert interval(mixed) == interval(rows)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_the_interval_contains_the_point_estimate(seed: int) -> None:
    generator = np.random.default_rng(seed)
    base, edited = generator.integers(0, 2, size=(2, 80))
    names = generator.integers(0, 25, size=80).astype(str).tolist()
    low, high = percentile_interval(draw(difference_units(base, edited, names), resamples=500, generator=generator))
    assert low <= edited.mean() - base.mean() <= high


@pytest.mark.parametrize(
    ("units", "message"),
    [
        (lambda: difference_units([0, 1], [1], ["a", "b"]), "2 base values cannot be paired with 1"),
        (lambda: difference_units([0, 1], [1, 1], ["a"]), "2 values but 1 cluster names"),
        (lambda: difference_units([0, np.nan], [1, 1], ["a", "b"]), "base: not finite in row 1"),
        (lambda: ratio_units([1, 2], [1, np.inf]), "edited chunk NLL: not finite in row 1"),
        (lambda: ratio_units([1, 0], [1, 1]), "row 1 is not positive"),
        (lambda: ratio_units([1, 2, 3], [1, 1]), "3 base values cannot be paired with 2"),
    ],
)
def test_inputs_that_cannot_be_paired_are_refused(units: object, message: str) -> None:
    with pytest.raises(CanonbenchError, match=message):
        units()
