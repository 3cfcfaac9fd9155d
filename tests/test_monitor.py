"""What TensorBoard is given: every evaluation once, the policy, the best cell, the hyperparameters."""

from __future__ import annotations

import itertools
import warnings

import pytest

from nas.run import session, store
from nas.run.config import RunConfig


@pytest.fixture
def events():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(folder):
        return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()

    return read


def _asked(controller: str) -> dict:
    return RunConfig(task="nasbench201/cifar10@12", controller=controller, evals=20, seeds=2)


def test_a_run_stopped_and_resumed_shows_every_evaluation_once_with_its_best_score(events, nasbench201, tmp_path):
    asked = _asked("evolution")
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        first = session.resume(run, setup)
        list(itertools.islice(first, 7))
        first.close()
        list(session.resume(run, setup))
        expected = store.history(run).score.cummax(1).values.mean(0)
    logged = events(run.folder).Scalars("score/best")
    assert [event.step for event in logged] == list(range(1, 21))
    assert [event.value for event in logged] == pytest.approx(expected.tolist())


def test_a_policy_is_shown_by_entropy_and_by_the_probability_of_every_choice(events, nasbench201, tmp_path):
    asked = _asked("reinforce")
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        list(session.resume(run, setup))
    shown = events(run.folder)
    assert len(shown.Scalars("policy/entropy")) == 20
    for decision, names in zip(setup.evaluator.space.decisions, setup.evaluator.space.operations):
        probabilities = [shown.Scalars(f"policy/{decision}/{name}")[-1].value for name in names]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)


def test_the_best_cell_is_a_picture_whenever_it_changes_and_the_settings_are_hparams(events, nasbench201, tmp_path):
    asked = _asked("evolution")
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        bests = [progress.found for progress in session.resume(run, setup)]
    shown = events(run.folder)
    tops = [found.archs[found.score.argmax()].tolist() for found in bests]
    changes = 1 + sum(before != after for before, after in itertools.pairwise(tops))
    assert len(shown.Images("best_cell")) == changes
    assert shown.Images("best_cell")[0].encoded_image_string.startswith(b"\x89PNG")
    assert "_hparams_/session_start_info" in shown.summary_metadata
