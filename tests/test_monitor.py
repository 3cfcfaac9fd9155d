"""What TensorBoard is given: every evaluation once, the policy, the best cell, the hyperparameters."""

from __future__ import annotations

import dataclasses
import itertools
import re
import threading
import warnings
from pathlib import Path

import pytest

from nas.meta import task_similarity
from nas.run import finish, hparams, session, step_log, store, trained_network
from nas.run.config import RunConfig
from nas.run.summary import summary


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
        expected = step_log.history(run).score.cummax(1).values.mean(0)
        every = step_log.history(run).score.mean(0)
    shown = events(run.folder)
    for tag, values in (("best_score", expected), ("score", every)):
        logged = shown.Scalars(f"at_a_glance/{tag}")
        assert [event.step for event in logged] == list(range(1, 21))
        assert [event.value for event in logged] == pytest.approx(values.tolist())


@pytest.mark.parametrize("how", ["fails", "is left"])
def test_a_search_that_ends_early_leaves_no_thread_that_writes(how, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked, before = RunConfig(task="own201/digits", controller="random_search", evals=3), set(threading.enumerate())
    setup = session.load(asked)
    with session.start(Path("run"), asked, setup) as run:
        steps = session.resume(run, setup)
        next(steps)
        assert set(threading.enumerate()) > before
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        next(steps)  # The events go to the run's folder, wherever its process is by now.
        if how == "is left":
            steps.close()
        else:
            monkeypatch.setattr(session.step_log, "append", lambda *_, **__: pytest.fail("the disk is full"))
            with pytest.raises(pytest.fail.Exception):
                next(steps)
    assert set(threading.enumerate()) == before


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
    assert len(shown.Images("best/cell")) == changes
    assert shown.Images("best/cell")[0].encoded_image_string.startswith(b"\x89PNG")
    assert "_hparams_/session_start_info" in shown.summary_metadata


def _row(shown):
    """The settings and the results of a run in TensorBoard's table of hyperparameters."""
    from tensorboard.plugins.hparams import metadata

    # An experiment's summary would fix the columns to one run's settings; without it they are the union of all runs'.
    assert "_hparams_/experiment" not in shown.summary_metadata
    content = shown.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    settings = metadata.parse_session_start_info_plugin_data(content).hparams
    results = {tag: shown.Scalars(tag)[-1].value for tag in shown.Tags()["scalars"] if tag.startswith("hparam/")}
    return {name: value.string_value or value.number_value for name, value in settings.items()}, results


def test_hparams_have_every_setting_and_what_the_run_came_to(events, tmp_path):
    asked = RunConfig(
        "own201/digits", "reinforce", controller_options={"lr": "0.1"}, evals=5, seeds=2, first_seed=3, prior="none"
    )
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        list(session.resume(run, setup))
        for _ in range(2):  # What was logged is not logged again.
            finish.finish(run, setup)
        document, past = summary(run), step_log.history(run)
    shown = events(run.folder)
    settings, results = _row(shown)
    assert {
        "task": "own201/digits",
        "controller": "reinforce",
        "seeds": 2,
        "first_seed": 3,
        "evals": 5,
    }.items() <= settings.items()
    # Those that were not given too: runs compare by what was in use.
    own = {f"controller.{f.name}" for f in dataclasses.fields(setup.controller)[1:]}
    assert own == {name for name in settings if name.startswith("controller.")}
    assert settings["controller.lr"] == 0.1
    best = document["best"]
    table, arch = setup.evaluator.table, session.best(run.config, past).archs[past.score.max(1).values.argmax()]
    params = table.column("digits/params")[(table.archs == arch).all(1)].item()
    expected = {
        "hparam/score": sum(row["score"] for row in best) / 2,
        "hparam/test_score": sum(row["report"] for row in best) / 2,
        "hparam/seconds": document["wall_seconds"],
        "hparam/simulated_seconds": document["cost_seconds"],
        "hparam/parameters": 1e6 * params,
    }
    assert results == pytest.approx(expected, rel=1e-3, abs=1e-3)  # The document rounds seconds to a thousandth.
    assert len(shown.Scalars("hparam/parameters")) == 1


def test_hparams_of_a_training_have_its_options_and_the_weights_of_the_final_network(events, tmp_path):
    options = {"epochs": 1, "channels": 2, "examples": 64, "final_epochs": 1, "final_channels": 4, "final_cells": 1}
    given = {name: str(value) for name, value in options.items()}
    asked = RunConfig(controller="random_search", evals=1, training_options=given)
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        list(session.resume(run, setup))
        finish.write_report(run, setup)
        hparams.write_results(run, setup)
    settings, results = _row(events(run.folder))
    assert {f"training.{name}": value for name, value in options.items()}.items() <= settings.items()
    winner = trained_network.load(run.folder)
    weights = {n: w for n, w in winner.state_dict.items() if "running_" not in n and "num_batches" not in n}
    assert results["hparam/parameters"] == sum(w.numel() for w in weights.values())
    assert results["hparam/test_score"] == pytest.approx(winner.metrics["test_accuracy"], abs=1e-3)


def test_every_evaluation_of_a_step_is_a_point_of_its_own(events, tmp_path):
    asked = RunConfig("own201/digits", "random_search", evals=7, seeds=2, batch=3)
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        list(session.resume(run, setup))
        expected = step_log.history(run).score.mean(0).tolist()
    logged = events(run.folder).Scalars("at_a_glance/score")
    assert [(event.step, event.value) for event in logged] == [
        (number, pytest.approx(score)) for number, score in enumerate(expected, 1)
    ]


def test_the_priors_weight_is_a_curve_that_ends_where_the_search_says(events, tmp_path):
    asked = RunConfig("own201/digits", evals=20)
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        list(session.resume(run, setup))
        state = step_log.state(run, session.initial_state(setup))
    logged = {event.step: event.value for event in events(run.folder).Scalars("at_a_glance/prior_weight")}
    # Each is at least a quarter later than the one before.
    assert list(logged) == [1, 2, 3, 4, 5, 7, 9, 12, 15, 19, 20]
    weight = setup.controller.prior_weight(state).item()
    assert logged[20] == pytest.approx(weight, abs=1e-6)
    assert f"Prior weight: {weight:.0%} (" in task_similarity.describe_similarity(setup.controller, state)


def test_a_finished_run_shows_its_test_score_and_its_front(events, tmp_path):
    asked = RunConfig("own201/digits", "evolution", evals=9)
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        list(session.resume(run, setup))
        finish.finish(run, setup)
        (test,) = store.get_meta(run, "report")
    shown = events(run.folder)
    assert [(event.step, event.value) for event in shown.Scalars("at_a_glance/test")] == [
        (9, pytest.approx(test, abs=1e-3))
    ]
    assert [image.step for image in shown.Images("best/front")] == [9]


def test_a_policy_has_a_chart_for_each_decision_that_holds_all_its_curves(events, tmp_path):
    from tensorboard.plugins.custom_scalar import layout_pb2

    asked = RunConfig("own201/digits", "reinforce", evals=3)
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        list(session.resume(run, setup))
    shown = events(run.folder)
    (event,) = shown.Tensors("custom_scalars__config__")
    charts = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0]).category
    by_name = {category.title: {c.title: list(c.multiline.tag) for c in category.chart} for category in charts}
    space, tags = setup.evaluator.space, shown.Tags()["scalars"]
    assert list(by_name["policy"]) == list(space.decisions)
    for decision, names in zip(space.decisions, space.operations):
        (pattern,) = by_name["policy"][decision]
        assert {tag for tag in tags if re.fullmatch(pattern, tag)} == {f"policy/{decision}/{name}" for name in names}
    assert by_name["search"]["score"] == ["at_a_glance/best_score", "at_a_glance/score"]
    assert "prior weight" not in by_name["search"]
