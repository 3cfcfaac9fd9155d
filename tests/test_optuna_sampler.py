"""Optuna's studies sampled by a controller: from the first trial on, told all that ended, nothing that runs twice."""

import copy
import pickle
import threading
import time

import pytest

from search_spaces import UserError

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.ERROR)

OPTIONS = {"a": ["x", "y", "z"], "b=c, d": [1, 2, 4], "c": [True, False, None]}


def sampler(controller="evolution", **settings):
    from nas.integrations.optuna import MetacellSampler

    return MetacellSampler(controller, seed=settings.pop("seed", 3), search_space=OPTIONS, **settings)


def objective(trial):
    values = [OPTIONS[name].index(trial.suggest_categorical(name, options)) for name, options in OPTIONS.items()]
    trial.suggest_float("independent", 0, 1)
    return sum(values)


def test_a_study_is_the_search_of_its_controller():
    study = optuna.create_study(direction="maximize", sampler=sampler())
    study.optimize(objective, n_trials=12)
    s = sampler()._search
    for trial in study.trials:
        (asked,) = s.ask()
        assert asked.indices == tuple(OPTIONS[name].index(trial.params[name]) for name in OPTIONS)
        s.tell(asked, trial.value)


def test_minimizing_is_maximizing_the_negative():
    lower = optuna.create_study(direction="minimize", sampler=sampler("local_search"))
    lower.optimize(lambda trial: -objective(trial), n_trials=15)
    higher = optuna.create_study(direction="maximize", sampler=sampler("local_search"))
    higher.optimize(objective, n_trials=15)
    assert [t.value for t in higher.trials] == [-t.value for t in lower.trials]


def test_trials_that_run_elsewhere_are_not_proposed_again():
    study = optuna.create_study(direction="maximize", sampler=sampler("random_search"))
    fixed = dict.fromkeys(OPTIONS)
    seen = set()
    for _ in range(27):  # All that there are, none of them told.
        trial = study.ask()
        seen.add(tuple(trial.suggest_categorical(name, OPTIONS[name]) for name in fixed))
        study.sampler = sampler("random_search")  # That of another process.
    assert len(seen) == 27


def test_failed_trials_are_told_as_failures_and_pruned_ones_by_their_last_value():
    study = optuna.create_study(direction="maximize", sampler=sampler())
    for value in (1.0, None):
        trial = study.ask()
        objective(trial)
        study.tell(trial, value, state=optuna.trial.TrialState.FAIL if value is None else None)
    trial = study.ask()
    objective(trial)
    trial.report(5.0, step=0)
    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    objective(study.ask())
    told = [t.score for t in study.sampler._search.told]
    assert told[0] == 1.0
    assert told[1] != told[1]
    assert told[2] == 5.0


def test_without_a_search_space_the_parameters_that_all_trials_have_are_decided_together():
    from nas.integrations.optuna import MetacellSampler

    study = optuna.create_study(direction="maximize", sampler=MetacellSampler("evolution", seed=1))
    study.optimize(objective, n_trials=4)
    assert set(study.sampler._space) == set(OPTIONS)
    assert len(study.sampler._search.told) == 3


def test_several_objectives_are_refused():
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler())
    trial = study.ask()
    with pytest.raises(UserError, match="2 objectives"):
        objective(trial)


def test_a_study_becomes_a_run_that_a_prior_learns_from(nas, tmp_path):
    from nas import Search
    from nas.integrations.optuna import run_of
    from nas.run import step_log, store

    space = Search("nasbench201", "random_search", prior="none").space
    study = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=0))

    def loss(trial):
        options = dict(zip(space.decisions, space.operations))
        picked = {name: trial.suggest_categorical(f"edge {name}", list(names)) for name, names in options.items()}
        if picked["0-1"] == "none":
            raise RuntimeError("it diverged")
        return float(sum(options[name].index(op) for name, op in picked.items()))

    study.optimize(loss, n_trials=8, catch=RuntimeError)
    study.enqueue_trial({})
    parameters = {name: f"edge {name}" for name in space.decisions}
    assert run_of(study, tmp_path / "runs" / "mine", "nasbench201", parameters=parameters) == 8
    with store.open_run(tmp_path / "runs" / "mine") as run:
        past = step_log.history(run)
    for trial, arch, score in zip(study.trials, past.archs[0], past.score[0]):
        assert [trial.params[f"edge {d}"] for d in space.decisions] == [o[i] for o, i in zip(space.operations, arch)]
        assert score.isnan() if trial.value is None else score == -trial.value
    shown = nas("show", "mine")
    assert shown.returncode == 0, shown.stderr
    taught = nas("meta-train", "--from-runs", "runs/mine", "--out", "taught")
    assert taught.returncode == 0, taught.stderr
    assert "learned from 1 run" in taught.stdout
    with pytest.raises(UserError, match="holds a run already"):
        run_of(study, tmp_path / "runs" / "mine", "nasbench201", parameters=parameters)
    with pytest.raises(UserError, match="None of 8 finished trials"):
        run_of(study, tmp_path / "other", "nasbench201")


@pytest.mark.parametrize("search_space", [["a"], {"a": []}, {"a": 5}])
def test_what_is_no_search_space_is_one_line(search_space):
    from nas.integrations.optuna import MetacellSampler

    with pytest.raises(UserError, match="search_space is"):
        MetacellSampler("evolution", search_space=search_space)


def test_any_name_and_any_value_of_a_trial_will_do():
    from nas.integrations.optuna import MetacellSampler

    space = {"a=b, c\n": ["x, y", "x\ny", None, True]}
    study = optuna.create_study(sampler=MetacellSampler("evolution", seed=0, search_space=space))
    study.optimize(lambda trial: 1e300 if trial.suggest_categorical("a=b, c\n", space["a=b, c\n"]) else 1.0, n_trials=5)
    assert len(study.trials) == 5


def test_a_number_that_is_the_name_of_an_option_is_that_option_and_not_its_place(tmp_path):
    from nas.integrations.optuna import run_of
    from nas.run import step_log, store
    from search_spaces import Choices

    class Kernels(Choices):
        options = {"kernel": {"1": 1, "3": 3, "5": 5}, "pool": {"max": 0, "mean": 1}}

    study = optuna.create_study(direction="maximize")
    for kernel in (1, 3, 5):
        study.enqueue_trial({"kernel": kernel, "pool": 1})

    def kernel_size(trial):
        trial.suggest_categorical("pool", [0, 1])
        return trial.suggest_categorical("kernel", [1, 3, 5])

    study.optimize(kernel_size, n_trials=3)
    assert run_of(study, tmp_path / "mine", Kernels()) == 3
    with store.open_run(tmp_path / "mine") as run:
        past = step_log.history(run)
    assert past.archs[0].tolist() == [[0, 1], [1, 1], [2, 1]]
    assert past.score[0].tolist() == [1.0, 3.0, 5.0]


def test_threads_that_share_a_sampler_tell_each_trial_once_and_repeat_none_that_runs(monkeypatch):
    from nas.run.ask_tell import Search

    inside, together, ask = set(), [], Search.ask

    def slow(self, count=1):
        inside.add(threading.get_ident())
        together.append(len(inside))
        time.sleep(0.01)  # Long enough for the others to come in.
        try:
            return ask(self, count)
        finally:
            inside.discard(threading.get_ident())

    monkeypatch.setattr(Search, "ask", slow)
    study = optuna.create_study(direction="maximize", sampler=sampler())
    study.optimize(objective, n_trials=24, n_jobs=8)
    assert max(together) == 1
    assert len(study.trials) == 24
    assert all(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials)
    assert len(study.sampler._search.told) == len(study.sampler._told)


def test_studies_of_other_parameters_in_one_process_are_not_mixed_up():
    """By default, so that the space grows from none as trials come in."""
    from nas.integrations.optuna import MetacellSampler

    def one(trial):
        return trial.suggest_categorical("a", [1, 2, 3]) + trial.suggest_categorical("b", [1, 5])

    def other(trial):
        return trial.suggest_categorical("c", [1, 2]) * trial.suggest_categorical("d", [1, 5, 9, 4])

    for objective_, best in ((one, 8), (other, 18)):
        study = optuna.create_study(direction="maximize", sampler=MetacellSampler(seed=0))
        study.optimize(objective_, n_trials=8)
        assert study.best_value == best


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda sampler: pickle.loads(pickle.dumps(sampler))])
def test_a_copy_of_a_sampler_goes_on_as_it_would(copied):
    study = optuna.create_study(direction="maximize", sampler=sampler("local_search"))
    study.optimize(objective, n_trials=5)
    other = copied(study.sampler)
    study.optimize(objective, n_trials=5)
    late = optuna.create_study(direction="maximize", sampler=other)
    late.add_trials(study.trials[:5])
    late.optimize(objective, n_trials=5)
    assert [t.value for t in late.trials] == [t.value for t in study.trials]
