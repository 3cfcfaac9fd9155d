"""Successive halving and Hyperband: the schedules worked by hand, and who goes on."""

from dataclasses import replace

import pytest
import torch

from controller import Results
from controller.hyperband import Hyperband
from controller.successive_halving import SuccessiveHalving
from search_spaces import UserError, _ops
from search_spaces.nasbench201 import NasBench201
from tests import _toys

SPACE = NasBench201()


def schedule(controller, *fidelities):
    task = replace(_toys.TASK, fidelities=fidelities)
    return [(rung.entrants, rung.epochs) for rung in controller.rungs(task)]


def by_index(proposal):
    """A score that fidelity does not change."""
    score = _ops.index(proposal.archs, SPACE.choices).float()
    return Results(score, proposal.epochs.float())


def test_hyperbands_brackets_are_those_of_algorithm_1_worked_by_hand():
    assert schedule(Hyperband(SPACE, epochs=81, eta=3)) == [
        (81, 1), (27, 3), (9, 9), (3, 27), (1, 81),
        (34, 3), (11, 9), (3, 27), (1, 81),
        (15, 9), (5, 27), (1, 81),
        (8, 27), (2, 81),
        (5, 81),
    ]  # fmt: skip


def test_successive_halving_is_one_bracket_worked_by_hand():
    assert schedule(SuccessiveHalving(SPACE, epochs=16, eta=4)) == [(16, 1), (4, 4), (1, 16)]
    assert schedule(SuccessiveHalving(SPACE, epochs=12, eta=3, entrants=30)) == [(30, 1), (10, 4), (3, 12)]
    assert schedule(SuccessiveHalving(SPACE, epochs=1)) == [(1, 1)]


def test_rungs_are_those_that_the_task_knows_by_hand():
    assert schedule(SuccessiveHalving(SPACE), 1, 2, 4) == [(4, 1), (1, 4)]
    assert schedule(SuccessiveHalving(SPACE, eta=2), 1, 2, 4) == [(4, 1), (2, 2), (1, 4)]
    assert schedule(SuccessiveHalving(SPACE), *range(1, 13)) == [(4, 3), (1, 12)]
    assert schedule(SuccessiveHalving(SPACE), 12, 200) == [(17, 12), (1, 200)]
    assert schedule(SuccessiveHalving(SPACE), 1, 12, 90) == [(90, 1), (7, 12), (1, 90)]
    assert schedule(SuccessiveHalving(SPACE), 200) == [(1, 200)]
    assert schedule(SuccessiveHalving(SPACE)) == [(1, 0)]
    assert schedule(Hyperband(SPACE), 1, 4, 16) == schedule(Hyperband(SPACE, epochs=16))
    assert schedule(Hyperband(SPACE), 12, 200) == [(17, 12), (1, 200), (2, 200)]


def test_a_task_of_one_unnamed_length_is_asked_for_no_epochs():
    controller = SuccessiveHalving(SPACE)
    state = controller.begin(replace(_toys.TASK, fidelities=()), torch.arange(2))
    assert controller.propose(state, 3).epochs is None


def test_what_a_batch_has_left_begins_the_next_bracket():
    controller = SuccessiveHalving(SPACE, epochs=4, eta=4)
    state = controller.begin(_toys.TASK, torch.arange(3))
    epochs, best = [], None
    for _ in range(4):
        proposal = controller.propose(state, 8)
        results = by_index(proposal)
        epochs.append(proposal.epochs[0].tolist())
        if best is not None:
            assert torch.equal(results.score[:, 0], best)
        best = torch.where(proposal.epochs == 1, results.score, -1).amax(1)
        state = controller.learn(state, proposal, results)
    assert epochs == [[1] * 8] + [[4] + [1] * 7] * 3


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_the_best_of_a_rung_go_on_and_nobody_else(batch):
    controller = SuccessiveHalving(SPACE, epochs=16, eta=4)
    _, score, _ = _toys.walk(controller, by_index, torch.arange(5), batch, steps=16 // batch + 4 // batch)
    first, second = score.flatten(1)[:, :16], score.flatten(1)[:, 16:]
    assert torch.equal(second, first.sort(1, descending=True).values[:, :4])


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_the_winner_of_a_bracket_is_trained_to_the_end(batch):
    controller = SuccessiveHalving(SPACE, epochs=16, eta=4)
    state = controller.begin(_toys.TASK, torch.arange(3))
    best = torch.zeros(3)
    while True:
        proposal = controller.propose(state, batch)
        results = by_index(proposal)
        if int(proposal.epochs[0, 0]) == 16:
            assert torch.equal(results.score[:, 0], best)
            return
        best = torch.maximum(best, results.score.max(1).values)
        state = controller.learn(state, proposal, results)


def test_who_failed_does_not_go_on():
    controller = SuccessiveHalving(SPACE, epochs=16, eta=4)

    def half_fail(proposal):
        score = by_index(proposal).score
        return Results(torch.where(proposal.archs[..., 0] % 2 == 0, score, torch.nan), score)

    _, score, _ = _toys.walk(controller, half_fail, torch.arange(20), 16, steps=1)
    state = controller.begin(_toys.TASK, torch.arange(20))
    state = controller.learn(state, controller.propose(state, 16), Results(score[:, 0], score[:, 0]))
    enough = score[:, 0].isfinite().sum(1) >= 4
    assert enough.any()
    assert (controller.propose(state, 4).archs[enough, :, 0] % 2 == 0).all()


@pytest.mark.parametrize("controller", [SuccessiveHalving, Hyperband])
@pytest.mark.parametrize("settings", [{"epochs": -1}, {"eta": 1}])
def test_settings_without_a_schedule_are_refused(controller, settings):
    with pytest.raises(UserError, match="it takes epochs >= 1, or 0 for the task's, and eta >= 2"):
        controller(SPACE, **settings).begin(_toys.TASK, torch.arange(1))


def test_rungs_that_the_task_does_not_know_are_refused_before_anything_is_made(nas, tmp_path):
    done = nas("search", "--task", "own201/digits", "--controller", "hyperband", "--set", "epochs=16")
    assert done.returncode == 2
    assert "epochs=16 and eta=4 take 16 epochs; task 'own201/digits' can be evaluated after: 1, 2, 4." in done.stderr
    assert list(tmp_path.iterdir()) == []
