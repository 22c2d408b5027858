"""Progress as people see it: what is done, how long it will take, on a terminal and elsewhere."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from canonbench.runs.progress import Pace, Progress, Training, plain_progress, span, terminal_progress


class Clock:
    """A clock that only moves when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    return Clock()


def test_recent_work_counts_more() -> None:
    pace = Pace()
    assert pace.time_for(100) is None
    pace.add(100, 10)  # ten a second
    assert pace.time_for(50) == pytest.approx(5)
    pace.add(0, 60)  # a half-life of nothing: 50 units in 5 + 60 seconds
    assert pace.time_for(50) == pytest.approx(65)
    assert pace.time_for(0) == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99.4, "99 s"), (99.6, "2 min"), (420, "7 min"), (5940, "99 min"), (12000, "3 h 20 min")],
)
def test_times_are_given_in_units_that_fit(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_the_time_left_is_that_of_the_tokens_that_are_left(clock: Clock) -> None:
    progress = Progress(clock=clock)
    clock.now = 100.0  # loading the model is no scoring
    progress.expect(1000)
    assert progress.left() is None
    clock.now += 2
    progress.advance(100, "base")
    assert progress.left() == pytest.approx(18)
    progress.expect(-500)  # rejected before all of it was scored
    assert progress.left() == pytest.approx(8)


def test_scores_found_from_an_earlier_run_do_not_make_it_look_fast(clock: Clock) -> None:
    progress = Progress(clock=clock)
    progress.expect(1000)
    progress.skip(800, "base")
    assert progress.done == 800
    assert progress.left() is None
    clock.now += 1
    progress.advance(50, "base")
    assert progress.left() == pytest.approx(3)


def test_the_time_left_of_an_edit_run_holds_the_trainings_that_are_to_come(clock: Clock) -> None:
    progress = Progress(clock=clock)
    progress.expect(300)
    progress.expect_trainings(3)
    clock.now += 1
    progress.advance(100, "base")
    assert progress.left() is None, "nobody knows yet how long a training is"
    clock.now += 60
    progress.training("country seed 0", 1, 10, 3.0)
    assert progress.left() is None, "the first step waited for the model to load"
    clock.now += 2
    progress.training("country seed 0", 2, 10, 3.0)
    # 200 tokens at 100 a second, 8 steps of this training and 2 x 10 of the next ones at 2 seconds a step
    assert progress.left() == pytest.approx(2 + 2 * 28)
    clock.now += 60
    progress.training("gender seed 0", 1, 20, 3.0)
    assert progress.left() == pytest.approx(2 + 2 * (19 + 20))


def test_a_training_of_one_step_is_timed_by_it(clock: Clock) -> None:
    progress = Progress(clock=clock)
    progress.expect(0)
    progress.expect_trainings(3)
    clock.now += 5
    progress.training("country seed 0", 1, 1, 3.0)
    assert progress.left() == pytest.approx(10)


def test_the_training_loss_is_smoothed_anew_for_every_training() -> None:
    seen: list[Training] = []
    progress = Progress(show_training=seen.append)
    for what, step, loss in (("a", 1, 4.0), ("a", 2, 2.0), ("b", 1, 1.0)):
        progress.training(what, step, 2, loss)
    assert [each.smoothed for each in seen] == pytest.approx([4.0, 0.9 * 4 + 0.1 * 2, 1.0])
    assert [each.loss for each in seen] == [4.0, 2.0, 1.0]


def test_plain_lines_come_every_ten_seconds_and_notes_at_once(clock: Clock) -> None:
    lines: list[str] = []
    progress = plain_progress(lines.append, clock)
    progress.say("suite mini")
    progress.expect(2000)
    for _ in range(9):
        clock.now += 4
        progress.advance(100, "edited country")
    assert lines == [
        "suite mini",
        "edited country: 300 of 2,000 tokens (15 %), about 68 s left",
        "edited country: 600 of 2,000 tokens (30 %), about 56 s left",
        "edited country: 900 of 2,000 tokens (45 %), about 44 s left",
    ]


def test_plain_lines_of_a_training_give_the_step_and_both_losses(clock: Clock) -> None:
    lines: list[str] = []
    progress = plain_progress(lines.append, clock)
    progress.expect(100)
    progress.expect_trainings(1)
    for step, loss in ((1, 2.0), (2, 1.0)):
        clock.now += 10
        progress.training("country seed 0", step, 240, loss)
    assert lines == [
        "country seed 0: step 1 of 240, loss 2.0000 (smoothed 2.0000)",
        "country seed 0: step 2 of 240, loss 1.0000 (smoothed 1.9000)",
    ]
    clock.now += 1
    progress.advance(50, "base")
    clock.now += 9
    progress.training("country seed 0", 3, 240, 1.0)
    # 237 steps at 9.47 seconds, of which 9 count 1 and 10 count 0.9
    assert lines[-1] == "country seed 0: step 3 of 240, loss 1.0000 (smoothed 1.8100), about 37 min left"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_there_is_a_bar_for_scoring_and_one_for_training(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()

    def console(**options: Any) -> Console:
        return Console(file=screen, force_terminal=True, width=100, **{**options, "stderr": False})

    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("rich.console.Console", console)
    with terminal_progress() as progress:
        progress.expect(2000)
        progress.expect_trainings(1)
        progress.advance(500, "base [country]")
        progress.training("country seed 0", 60, 240, 2.5)
        progress.say("a [note]")
    shown = screen.getvalue()
    for text in (
        "a [note]",
        "base [country]",
        "25%",
        "500 / 2,000 tokens",
        "country seed 0",
        "step 60 / 240  loss 2.5",
    ):
        assert text in shown, text


def test_where_standard_error_is_no_terminal_there_is_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal_progress() as progress:
        progress.expect(10)
        progress.advance(10, "base")
        progress.say("a note")
    assert capsys.readouterr().err == "a note\n"
