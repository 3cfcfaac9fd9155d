"""The search for settings: what is stopped ends as what is not, grids are tried whole, and nothing that tests is asked."""

import dataclasses
import json
import shlex
import sqlite3
from pathlib import Path

import pytest

from controller.meta import reptile
from nas import tables
from nas.few_shot import evaluate, run
from nas.few_shot.learners.maml import Maml
from nas.few_shot.run import Config
from nas.meta import task_distribution
from nas.run import priors
from nas.tasks import TaskName
from nas.testing import synthetic_tasks
from nas.tune import ranges, settings_file, study
from nas.tune.objectives import FewShot, MetaTrain, Pruned
from search_spaces import UserError

pytest.importorskip("optuna")

RANGES = ("inner_lr=0.01..1:log", "inner_steps=1..4", "first_order=true,false")


class Toy:
    """Best at inner_lr 0.1; stops at some trial once."""

    what = "a curve"

    def __init__(self, stop_at=None, prune=False):
        self.asked, self.stop_at, self.prune = [], stop_at, prune

    def value(self, options, report):
        self.asked.append(options)
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        value = -abs(float(options["inner_lr"]) - 0.1) if "inner_lr" in options else float(options["inner_steps"])
        if report(1, value) and self.prune:
            raise Pruned
        return value

    def check_data(self):
        pass


def plan(objective, method="random", texts=RANGES, trials=6):
    found = ranges.parse(Maml, "maml", texts)
    return study.Plan(objective, found, ranges.defaults(Maml, found), method, trials, 0, "median", {"method": method})


def ignore(_):
    pass


@pytest.mark.parametrize(("method", "stop_at"), [("random", 1), ("bayesian", 4)])
def test_a_search_that_was_stopped_ends_as_one_that_was_not(method, stop_at, tmp_path):
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = study.work(tmp_path / "whole", plan(Toy(), method), 1, ignore)
    with pytest.raises(KeyboardInterrupt):
        study.work(tmp_path / "stopped", plan(Toy(stop_at=stop_at), method), 1, ignore)
    rest = Toy()
    assert study.work(tmp_path / "stopped", plan(rest, method), 1, ignore) == whole
    assert len(whole) == 6
    assert len(rest.asked) == 6 - (stop_at - 1), "what has ended is not tried again"
    assert whole[0].settings == {"inner_lr": 0.4, "inner_steps": 1, "first_order": False}, "first the learner's own"
    assert len({t.settings["inner_lr"] for t in whole}) == 6
    assert study.best(whole).value == max(t.value for t in whole)


def test_a_grid_is_tried_whole_and_once(tmp_path):
    texts = ("inner_steps=1,2", "first_order=true,false")
    found = study.work(tmp_path, plan(Toy(), "grid", texts, trials=100), 1, ignore)
    assert sorted(tuple(t.settings.values()) for t in found) == [(s, f) for s in (1, 2) for f in (False, True)]
    assert study.best(found).settings["inner_steps"] == 2
    with pytest.raises(UserError, match="was begun with"):
        study.work(tmp_path, dataclasses.replace(plan(Toy(), "grid", texts), asked={}), 1, ignore)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: b"nothing of the kind", "file is not a database. Name another --out, or delete the file"),
        (lambda content: content[:8000] + bytes(len(content) - 8000), "malformed. Name another --out"),
    ],
)
def test_a_damaged_study_is_one_line(change, says, tmp_path):
    study.work(tmp_path, plan(Toy(), trials=1), 1, ignore)
    file = tmp_path / study.FILE
    file.write_bytes(change(file.read_bytes()))
    with pytest.raises(UserError, match=f"The study '{file}' cannot be used: .*{says}"):
        study.work(tmp_path, plan(Toy(), trials=2), 1, ignore)


def test_a_full_disk_is_one_line_and_keeps_the_study(tmp_path, monkeypatch):
    def full(*_given):
        raise sqlite3.OperationalError("database or disk is full")

    study.work(tmp_path, plan(Toy(), trials=1), 1, ignore)
    with monkeypatch.context() as patch:
        patch.setattr(study, "_worker", full)
        with pytest.raises(UserError, match=r"disk is full. Free some space; the same command"):
            study.work(tmp_path, plan(Toy(), trials=2), 1, ignore)
    assert len(study.work(tmp_path, plan(Toy(), trials=2), 1, ignore)) == 2


def test_a_study_goes_on_with_the_same_contents_alone(tmp_path):
    def asked(**more):
        objective = {"split": "shipped"} | more
        return dataclasses.replace(plan(Toy(), trials=1), asked={"objective": objective})

    study.work(tmp_path, asked(), 1, ignore)  # As an earlier version, which kept no digest.
    study.work(tmp_path, asked(digest="one"), 1, ignore)
    with pytest.raises(UserError, match=r"begun with other contents of its tables"):
        study.work(tmp_path, asked(digest="two"), 1, ignore)
    with pytest.raises(UserError, match=r"was begun with \{"):
        study.work(tmp_path, asked(digest="one", split="other"), 1, ignore)
    study.work(tmp_path, asked(digest="one"), 1, ignore)


class WithoutData(Toy):
    """Its data are gone at the third trial, and there again in another session."""

    def value(self, options, report):
        if len(self.asked) == 2:
            self.gone = True
            raise FileNotFoundError("photos")
        return super().value(options, report)

    def check_data(self):
        if self.gone:
            raise UserError("There is no 'photos'.")


def test_data_that_are_gone_spend_no_trial(tmp_path):
    whole = study.work(tmp_path, plan(Toy()), 1, ignore)
    (tmp_path / "gone").mkdir()
    with pytest.raises(UserError, match="There is no 'photos'"):
        study.work(tmp_path / "gone", plan(WithoutData()), 1, ignore)
    assert study.work(tmp_path / "gone", plan(Toy()), 1, ignore) == whole


class Picky(Toy):
    """Refuses some settings, as learners do that data are too small for."""

    def __init__(self, refused):
        super().__init__()
        self.refused = refused

    def value(self, options, report):
        if options["inner_steps"] in self.refused:
            raise UserError(f"inner_steps is {options['inner_steps']}: too many.")
        return super().value(options, report)


def test_settings_that_are_refused_are_failures_with_their_reason(tmp_path):
    """Before, the command ended there, and the same command came there again."""
    (tmp_path / "some").mkdir()
    (tmp_path / "all").mkdir()
    told = []
    found = study.work(tmp_path / "some", plan(Picky({"2"}), "grid", ("inner_steps=1,2,3",), 3), 1, told.append)
    assert found == told
    assert {t.settings["inner_steps"]: (t.state, t.error) for t in found} == {
        1: ("complete", ""),
        2: ("fail", "inner_steps is 2: too many."),
        3: ("complete", ""),
    }
    assert study.best(found).settings == {"inner_steps": 3}
    none = study.work(tmp_path / "all", plan(Picky({"1", "2"}), "grid", ("inner_steps=1,2",), 2), 1, ignore)
    with pytest.raises(UserError, match=r"try other settings; the last: inner_steps is [12]: too many\."):
        study.best(none)


def test_a_training_below_the_median_of_earlier_ones_is_given_up(tmp_path):
    texts = ("inner_steps=9,8,7,6,5,1",)
    made = dataclasses.replace(plan(Toy(prune=True), "grid", texts), first=None)
    values = {t.settings["inner_steps"]: t for t in study.work(tmp_path, made, 1, ignore)}
    last = max(values.values(), key=lambda t: t.number)
    earlier = sorted(t.value for t in values.values() if t is not last)
    assert (last.state == "pruned") == (last.settings["inner_steps"] < earlier[2])
    assert study.best(list(values.values())).state == "complete"


def test_tuning_a_few_shot_learner_asks_no_class_that_tests(monkeypatch):
    asked, correct = [], evaluate.correct
    monkeypatch.setattr(evaluate, "correct", lambda *given: asked.append(given[3]) or correct(*given))
    config = Config("digits", "prototypical", 3, queries=2, steps=2, options={"tasks": "1"}, arch="16:0:0:0:max_pool")
    value = FewShot(config).value({"lr": "0.01"}, lambda step, value: False)
    assert set(asked) == {"valid"}
    assert 0 < value <= 100
    with pytest.raises(Pruned):
        FewShot(config).value({"lr": "0.01"}, lambda step, value: True)


def test_tuning_a_meta_learner_trains_on_no_task_of_the_family_that_validates(monkeypatch):
    known = synthetic_tasks.task_set(synthetic_tasks.scores(0))
    monkeypatch.setattr(task_distribution, "task_set", lambda split: known)
    objective = MetaTrain("reptile", "any", "narrow", {"space": "transnas-micro", "steps": "2"}, 3, 2, 0)
    rest, apart = objective.tasks()
    assert ({t.family for t in rest.tasks}, {t.family for t in apart}) == ({"wide"}, {"narrow"})
    few, many = (objective.value({"inner_steps": n}, lambda step, value: False) for n in ("1", "10"))
    assert few != many
    with pytest.raises(UserError, match="the split's families: narrow, wide"):
        dataclasses.replace(objective, validate="none").tasks()


@pytest.mark.parametrize(
    ("split", "family", "stay"),
    [
        ("everything", "own201", {"nasbench201", "own201-many", "natsbench-size", "transnas-micro"}),
        ("everything", "accuracy", {"own201", "own201-many", "transnas-micro"}),
        ("own201", "natsbench-size", {"nasbench201", "transnas-micro"}),
    ],
)
def test_nothing_of_a_table_or_a_dataset_that_validates_is_trained_on(split, family, stay):
    if not {"nasbench201", "nasbench201-hardware", "own201-many"} <= set(tables.names()):
        pytest.skip("without the tables of NAS_TABLES")
    rest, apart = MetaTrain("reptile", split, family, {}, 3, 2, 0).tasks()
    names = [TaskName.parse(task.name) for task in rest.tasks]
    assert stay <= {name.table for name in names}
    theirs = [TaskName.parse(task.name) for task in apart]
    assert not {n.table for n in names} & {n.table for n in theirs}
    assert not {n.base_dataset() for n in names} & {n.base_dataset() for n in theirs}
    columns = [column.name.split("/")[:2] for column in rest.auxiliary]
    assert columns
    assert not {table for table, _ in columns} & {n.table for n in theirs}
    assert not {data.partition(":")[0] for _, data in columns} & {n.base_dataset() for n in theirs}


def test_an_encoder_that_has_seen_a_task_that_validates_is_refused(nas, tmp_path):
    asked = ("tune", "meta-train", "--learner", "rl2", "--setting", "entropy=0..1", "--trials", 1, "--out", "t")
    assert "rl2 rests on the cell encoder of a prior" in nas(*asked).stderr
    shipped = f"encoder={priors.SHIPPED}"
    for given in (("--learner-option", shipped), ("--setting", shipped)):
        done = nas(*asked, *given)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "' validates; train one by nas meta-train" in done.stderr
    assert not (tmp_path / "t").exists()


def test_the_file_of_settings_is_taken_by_the_command_that_it_is_for(nas, tmp_path):
    file = tmp_path / "best.json"
    settings_file.write(
        file, settings_file.Tuned("few-shot", "maml", {"inner_lr": 0.2, "first_order": True, "tasks": 1}, {})
    )
    asked = (
        "few-shot",
        "--settings",
        file,
        "--steps",
        1,
        "--way",
        3,
        "--queries",
        2,
        "--episodes",
        2,
        "--arch",
        "16:0:0:0:stride",
    )
    assert nas(*asked, "-l", "tasks=2", "--name", "few").returncode == 0
    config = run.read_config(tmp_path / "runs" / "few")
    assert (config.learner, config.options) == (
        "maml",
        {"inner_lr": "0.2", "first_order": "true", "tasks": "2", "train_queries": "3"},
    )
    assert "settings of maml" in nas(*asked, "--learner", "anil").stderr
    assert "has settings for nas few-shot --learner maml" in nas("meta-train", "--settings", file).stderr
    file.write_text(json.dumps({"format": "other"}))
    assert "is no file of settings" in nas(*asked).stderr


def test_a_learner_of_a_file_is_tuned_and_trained_by_its_path(nas, tmp_path, monkeypatch):
    known = synthetic_tasks.task_set(synthetic_tasks.scores(0))
    monkeypatch.setattr(task_distribution, "task_set", lambda split, **more: known)
    monkeypatch.setattr(task_distribution, "digest", lambda known: "one")
    (tmp_path / "my-dir").mkdir()
    (tmp_path / "my-dir/own.py").write_text(Path(reptile.__file__).read_text())
    asked = ("-l", "space=transnas-micro", "-l", "steps=2", "--learner", "my-dir/own.py:Reptile")
    searched = ("--validate", "narrow", "--setting", "inner_steps=1,2", "--trials", 1, "--evals", 2, "--searches", 1)
    done = nas("tune", "meta-train", *asked, *searched)
    assert done.returncode == 0, done.stderr
    settings = ("--settings", tmp_path / "runs/tune-Reptile/best.json")
    assert nas("meta-train", *asked, *settings, "--out", "out").returncode == 0
    assert "has settings of" in nas("meta-train", "--learner", "reptile", *settings).stderr


def test_the_command_that_is_printed_trains_what_was_tuned(nas, tmp_path):
    asked = (
        "--way",
        3,
        "--queries",
        2,
        "--arch",
        "16:0:0:0:max_pool",
        "--rotations",
        "--precision",
        "bf16",
        "--seed",
        4,
    )
    searched = ("--setting", "lr=0.001,0.01", "--method", "grid", "--trials", 1, "--steps", 1)
    tuned = nas("tune", "few-shot", "--data", "digits", "--shot", 1, *asked, *searched, "--out", "t")
    assert tuned.returncode == 0, tuned.stderr
    printed = shlex.split(tuned.stdout.splitlines()[-1].partition(": ")[2])
    assert printed[:2] == ["nas", "few-shot"]
    assert ("--shot" in printed, "--rotations" in printed) == (False, True)
    assert nas(*printed[1:], "--steps", 1, "--episodes", 2, "--name", "f").returncode == 0
    config = run.read_config(tmp_path / "runs" / "f")
    assert (config.way, config.queries, config.arch, config.precision, config.seed) == (
        3,
        2,
        "16:0:0:0:max_pool",
        "bf16",
        4,
    )


def test_settings_that_runs_name_by_default_are_searched_too(nas, tmp_path):
    asked = ("--learner", "neural_process", "--setting", "lr=0.001,0.01", "--method", "grid", "--steps", 1, "--way", 3)
    tuned = nas("tune", "few-shot", *asked, "--queries", 2, "--arch", "16:0:0:0:stride", "--out", tmp_path / "tuned")
    assert tuned.returncode == 0, tuned.stderr
    assert settings_file.read(tmp_path / "tuned" / "best.json", "few-shot").settings.keys() == {"lr"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("few-shot",), "'prototypical' has: lr, tasks"),
        (("few-shot", "--setting", "lr"), "it takes NAME=A,B,C"),
        (("few-shot", "--setting", "rate=1,2"), "No setting of 'prototypical'"),
        (("few-shot", "--setting", "lr=a,b"), "Setting lr is 'a'; it takes a number"),
        (("few-shot", "--setting", "lr=1,1"), "has a value twice"),
        (("few-shot", "--setting", "lr=1..0.1"), "is empty"),
        (("few-shot", "--setting", "lr=0..1:log"), "for numbers above zero"),
        (("few-shot", "--setting", "lr=0.1..inf"), "has no end; an interval takes two finite numbers"),
        (("few-shot", "--setting", "lr=-inf..0.1"), "has no end"),
        (("few-shot", "--setting", "lr=0.001,nan"), "lr is nan; it takes a number above 0"),
        (("few-shot", "--setting", "lr=0..1", "--method", "grid"), "a grid takes lists"),
        (("few-shot", "--setting", "lr=1,2", "-l", "lr=1"), "say one of them"),
        (("few-shot", "--learner", "maml", "--setting", "first_order=false..true"), "takes a list of values"),
        (("meta-train", "--learner", "mamml", "--setting", "lr=1,2"), "Did you mean 'maml'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(args, said, nas, tmp_path):
    done = nas("tune", *args)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
    assert [*tmp_path.iterdir()] == []
