"""What a run at work says of itself, by a clock that the test moves."""

from __future__ import annotations

import io
import math

import pytest
import torch
from rich.console import Console

from nas.commands import _progress
from nas.commands._progress import Display
from nas.run import stages
from nas.run.budget import Progress
from nas.run.config import RunConfig
from nas.run.incumbent import Best
from nas.run.outlook import Outlook, short_name
from nas.types import TrainingProgress

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|"
ENDING = {stages.FINAL: 40.0, stages.COMPARISON: 30.0, stages.EXPORT: 10.0}


@pytest.fixture
def clock():
    return [100.0]


@pytest.fixture
def outlook(clock):
    config = RunConfig(evals=32, batch=16, leaders=None)
    return Outlook(config, ENDING, lambda: clock[0], scores_are_accuracies=True)


def step(evaluations, wall, score=91.25):
    found = Best(torch.zeros(1, 6).long(), torch.tensor([score]), torch.ones(1).long())
    return Progress(evaluations, found, wall, 0.0)


def trained(done, total, epoch=1, epochs=4, loss=0.5, best=math.nan):
    return TrainingProgress((CELL, "other"), done, total, epoch, epochs, loss, best)


def test_a_cell_is_named_by_its_operations_node_by_node_and_any_other_by_its_beginning():
    assert short_name(CELL) == "3x3 / - skip / 1x1 pool 3x3"
    assert short_name(f"{CELL} width=16") == "3x3 / - skip / 1x1 pool 3x3 wi..."
    assert short_name("8:16:\x1b[31m32") == "8:16:\\x1b[31m32"
    assert short_name("w" * 60) == "w" * 30 + "..."


def test_trainings_are_counted_and_not_batches_and_the_time_left_holds_all_that_follows(outlook, clock):
    assert outlook.line() == "searching: 0 evaluations"
    outlook.watch(trained(0, 16, 0, loss=math.nan))
    assert outlook.left is None
    clock[0] += 5
    outlook.watch(trained(1, 16))
    assert outlook.done() == "1 of 26 evaluations"  # None has ended: there is no best.
    clock[0] += 15
    outlook.watch(trained(4, 16, best=88.0))
    # 5 s an evaluation: 26 of 32 search, 22 of them are left, 6 are the leaders'; then 80 s of what follows.
    assert outlook.left == pytest.approx(22 * 5 + 6 * 5 + 80)
    assert outlook.line() == (
        "searching: 4 of 26 evaluations, best 88.000; training 3x3 / - skip / 1x1 pool 3x3 +1, epoch 1 of 4, loss 0.500; "
        "about 4 minutes left in all"
    )
    clock[0] += 60
    outlook.step(step(16, 80.0))
    assert outlook.left == pytest.approx(10 * 5 + 6 * 5 + 80)
    assert outlook.line() == "searching: 16 of 26 evaluations, best 91.250; about 3 minutes left in all"
    clock[0] += 10
    assert outlook.left == pytest.approx(10 * 5 - 10 + 6 * 5 + 80)
    outlook.watch(trained(2, 10, best=92.0))
    # The last step of the search has 10 evaluations: a fifth of it is done.
    assert outlook.done() == "18 of 26 evaluations, best 92.000"


def test_where_every_evaluation_failed_it_is_said(outlook):
    outlook.step(step(4, 8.0, math.nan))
    assert "none succeeded yet" in outlook.done()


def test_leaders_the_final_training_and_the_export_have_their_own_words_and_times(outlook, clock):
    outlook.step(step(26, 130.0))
    outlook.enter(stages.LEADERS)
    assert outlook.left == pytest.approx(6 * 5 + 80)
    clock[0] += 10
    outlook.watch(trained(2, 4))
    assert outlook.left == pytest.approx(6 * 5 - 10 + 80)
    assert outlook.line().startswith("training the leaders again: 2 of 4 trainings; training 3x3")
    outlook.enter(stages.FINAL)
    assert outlook.line() == "final training: about 80 s left in all"
    clock[0] += 10
    outlook.watch(TrainingProgress((CELL,), 0.125, 1, 5, 40, 0.75, math.nan))
    assert outlook.left == pytest.approx((70 + 30) / 2 + 40)  # Half as measured, half as expected.
    clock[0] += 10
    outlook.watch(TrainingProgress((CELL,), 0.25, 1, 10, 40, 0.75, math.nan))
    assert outlook.left == pytest.approx(60 + 40)  # Slower than was expected: as measured now.
    assert outlook.line() == (
        "final training: epoch 10 of 40; training 3x3 / - skip / 1x1 pool 3x3, loss 0.750; about 100 s left in all"
    )
    outlook.enter(stages.EXPORT)
    clock[0] += 4
    assert outlook.line() == "writing the export and the report: about 6.0 s left in all"
    assert 0 < outlook.share < 1


def test_the_final_trainings_of_several_seeds_are_counted(clock):
    outlook = Outlook(RunConfig(evals=4, seeds=2), {stages.FINAL: 80.0}, lambda: clock[0])
    outlook.enter(stages.FINAL)
    clock[0] += 30
    outlook.watch(TrainingProgress((CELL,), 1.0, 1, 4, 4, 0.5, math.nan))
    clock[0] += 15
    outlook.watch(TrainingProgress((CELL,), 0.5, 1, 2, 4, 0.5, math.nan))
    assert outlook.done() == "epoch 2 of 4 (2 of 2)"
    assert outlook.left == pytest.approx(15)


def test_final_trainings_side_by_side_are_counted_and_timed_together(clock):
    outlook = Outlook(RunConfig(evals=4), {stages.FINAL: 80.0}, lambda: clock[0])
    outlook.enter(stages.FINAL)
    clock[0] += 30
    outlook.watch(TrainingProgress((CELL, CELL), 1.5, 4, 2, 4, 0.5, math.nan))
    assert outlook.done() == "1 of 4 trainings"
    assert outlook.left == pytest.approx(30 / (1.5 / 4) - 30)
    # Where it is known how long each is, the count is not taken for the time.
    outlook.watch(TrainingProgress((CELL, CELL), 1.5, 4, 2, 4, 0.5, math.nan, share=0.6))
    assert outlook.left == pytest.approx(30 / 0.6 - 30)
    outlook.watch(TrainingProgress((CELL,), 4.0, 4, 4, 4, 0.5, math.nan))
    assert outlook.left == 0
    clock[0] += 70
    outlook.watch(TrainingProgress((CELL, CELL), 1.0, 2, 1, 4, 0.5, math.nan))  # Once more, for the comparison.
    assert outlook.left == 0


def test_on_a_terminal_of_80_it_is_two_lines_whatever_is_searched(clock):
    outlook = Outlook(RunConfig(evals=4096, leaders=8), {}, lambda: clock[0], scores_are_accuracies=True)
    outlook.step(step(2048, 6000.0))
    for stage in (stages.SEARCH, stages.LEADERS, stages.FINAL, stages.COMPARISON, stages.EXPORT):
        outlook.enter(stage)
        clock[0] += 5
        outlook.watch(TrainingProgress((f"{CELL} width=16 size=24 lr=0.1 mirror=yes",) * 8, 8, 16, 100, 200, 0.5, 91.0))
        console = Console(width=80, file=io.StringIO(), legacy_windows=False)
        console.print(_progress._moving(outlook))
        lines = console.file.getvalue().splitlines()
        assert len(lines) == 2
        assert lines[0].startswith(stage)
        assert lines[0].rstrip().endswith("left")
        assert lines[1].startswith("  training 3x3 / - skip")
        assert "…" not in lines[0] + lines[1]


def test_without_a_terminal_a_line_is_said_now_and_then_and_holds_no_control_character(outlook, clock, capsys):
    display = Display(outlook, lines=True)
    for second in range(1, 241):
        clock[0] = 100.0 + second
        display.watch(trained(second / 20, 16))
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert said.out == ""
    assert len(lines) == 1 + (240 - 10) // 30  # After 10 seconds, then each 30.
    assert all(line.startswith("searching: ") and line.isprintable() for line in lines)
    display.enter(stages.FINAL)
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert _progress._PAUSE == 30
    Display(outlook, lines=False).enter(stages.EXPORT)
    assert capsys.readouterr().err == ""


def test_a_short_search_says_nothing_between_its_first_and_its_last_lines(nas):
    done = nas("search", "--task", "own201/digits", "--controller", "evolution", "--evals", 4)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_final_training_longer_than_most_of_the_minutes_is_announced(nas, monkeypatch):
    monkeypatch.setattr("nas.commands._shared.work", lambda *_, **__: None)
    monkeypatch.setattr("nas.commands.show.print_run", lambda *_: None)
    asked = (
        "search",
        "--task",
        "digits",
        "--controller",
        "random_search",
        "-t",
        "epochs=1",
        "--minutes",
        2,
        "--no-comparison",
    )
    for seconds, said in ((45.0, False), (165.0, True)):
        monkeypatch.setattr("nas.evaluators.train.Train.final_seconds", lambda _self, seconds=seconds: seconds)
        done = nas(*asked)
        line = "take about 3 minutes, most of --minutes: all of it takes about 3.4 minutes."
        assert (done.returncode, line in done.stdout) == (0, said), done.stdout
