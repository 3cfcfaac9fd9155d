"""Optuna's studies sampled by a controller: from the first trial on, told all that ended, nothing that runs twice."""

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
