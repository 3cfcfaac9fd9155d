"""Files whose container is whole and whose meaning is not: each reader says it in a line, and listings pass over them."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from nas import tables
from nas.run import priors, session, store, trained_network
from nas.run.config import RunConfig
from nas.tables import Column, plan_file
from nas.tasks import find
from search_spaces import UserError

ARCHS = torch.tensor([[0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2]])
SCORE = torch.tensor([10.0, 20, 30])
ABOUT = Column("t", "accuracy", "valid", 3, "percent", True)._asdict()


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Writes a table by hand, without the checks of `tables.write`."""
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))

    def write(archs=ARCHS, score=SCORE, about=None, name="bad"):
        header = {"format": "nas-table/1", "space": "nasbench201"}
        header["columns"] = json.dumps({"t/a": ABOUT | (about or {})})
        tensors = {"archs": archs if archs.is_floating_point() else archs.to(torch.int8), "t/a": score}
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(safetensors.torch.save(tensors, header))
        return path

    return write


def _read_all(name):
    found = tables.find(name)
    return found.archs, found.column("t/a")


BAD_VALUES = {
    "a row of -1, which would wrap round to the last": ({"archs": ARCHS - 1}, "is not in space"),
    "two rows of one cell": ({"archs": ARCHS[[0, 1, 1]]}, "there twice"),
    "an option too many": ({"archs": ARCHS + 3}, "is not in space"),
    "turned architectures": ({"archs": torch.tensor([[0, 1, 2], [1, 2, 3], [3, 0, 1]])}, "takes 6"),
    "fractions for options": ({"archs": ARCHS.float()}, "int8"),
    "a number without rows": ({"archs": torch.tensor(3)}, "lacks"),
    "scores of another type": ({"score": SCORE.double()}, "float64"),
    "fewer scores than rows": ({"score": SCORE[:2]}, r"\[2\]"),
    "infinite scores": ({"score": SCORE / 0}, "infinities"),
    "percent above 100": ({"score": SCORE * 10}, "percent"),
}
BAD_HEADERS = {
    "epochs in words": ({"epochs": "three"}, "epochs 'three'"),
    "epochs of true": ({"epochs": True}, "epochs 'True'"),
    "epochs below zero": ({"epochs": -1}, "below 0"),
    "a split that is none": ({"split": "tset"}, "split 'tset'"),
    "maximize in words": ({"maximize": "yes"}, "maximize 'yes'"),
    "no metric": ({"metric": None}, "metric 'None'"),
    "a key that no column has": ({"colour": "red"}, "colour"),
}


@pytest.mark.parametrize("case", BAD_VALUES | BAD_HEADERS)
def test_a_table_that_means_nothing_is_one_line_and_no_optimum(case, table, nas):
    change, says = BAD_VALUES.get(case) or ({"about": BAD_HEADERS[case][0]}, BAD_HEADERS[case][1])
    table(**change)
    done = nas("search", "--task", "bad/t", "--controller", "random_search", "--evals", 3, "--name", "one")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    with pytest.raises(UserError, match=says):
        _read_all("bad")


@pytest.mark.parametrize("case", ["two rows of one cell", "scores of another type", "epochs in words"])
def test_listings_pass_over_a_bad_neighbor_with_a_line(case, table, nas):
    change, says = BAD_VALUES.get(case) or ({"about": BAD_HEADERS[case][0]}, BAD_HEADERS[case][1])
    table(**change)
    table(name="good", archs=ARCHS, score=SCORE)
    listed = nas("tasks", "--family", "good")
    assert listed.returncode == 0, listed.stderr
    assert "good/t" in listed.stdout
    if case == "epochs in words":
        assert listed.stderr.startswith("nas: passed over: ")
        assert says in listed.stderr
    informed = nas("table", "info")
    assert informed.returncode == 0
    assert "good" in informed.stdout


def test_a_run_that_cannot_be_read_does_not_hide_the_others(nas, table, tmp_path):
    table(name="good")
    for name in ("one", "two"):
        searched = nas("search", "--task", "good/t", "--controller", "random_search", "--evals", 3, "--name", name)
        assert searched.returncode == 0, searched.stderr
    (tmp_path / "runs/one/run.sqlite").write_bytes(b"SQLite format 3\0" + bytes(5000))
    listed = nas("runs")
    assert listed.returncode == 0, listed.stderr
    assert "runs/two" in listed.stdout
    assert listed.stderr.startswith("nas: passed over: ")
    assert listed.stderr.count("\n") == 1


def _trial(nas, tmp_path):
    """A comparison of one trial, and the file of it."""
    asked = ("compare", "--tasks", "good/t", "--controllers", "random_search", "--seeds", 2, "--evals", 4, "--jobs", 1)
    asked = (*asked, "--no-figures", "--out", "out")
    done = nas(*asked)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out/trials").glob("*.safetensors")
    return path, lambda: nas(*asked)


def _rewritten(path, change, header=lambda text: text):
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(tensors)
    path.write_bytes(safetensors.torch.save(tensors, {key: header(text) for key, text in about.items()}))


BAD_TRIALS = {
    "a seed less": lambda t: t.update({name: x[:1].clone() for name, x in t.items()}),
    "an evaluation less": lambda t: t.update({name: x[:, :3].clone() for name, x in t.items()}),
    "scores of another type": lambda t: t.update(score=t["score"].double()),
    "infinite scores": lambda t: t.update(score=t["score"] / 0),
    "an index beyond the space": lambda t: t.update(index=t["index"] + 10**6),
    "an index below 0": lambda t: t.update(index=-t["index"] - 1),
    "turned scores": lambda t: t.update(score=t["score"].T.contiguous()),
    "no scores": lambda t: t.pop("score"),
    "another tensor": lambda t: t.update(luck=t["score"].clone()),
}


@pytest.mark.parametrize("case", [*BAD_TRIALS, "cut", "no header", "a header of another type"])
def test_a_trial_that_means_nothing_is_one_line(case, table, nas, tmp_path):
    table(name="good")
    path, again = _trial(nas, tmp_path)
    if case in BAD_TRIALS:
        _rewritten(path, BAD_TRIALS[case])
    elif case == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        _rewritten(
            path,
            lambda t: None,
            lambda text: "[]" if case == "no header" else text.replace('"seeds": 2', '"seeds": "2"'),
        )
    done = again()
    assert done.returncode == 2, done.stdout
    assert "is not a whole trial of a comparison" in done.stderr
    assert done.stderr.count("\n") == 1


BAD_PRIORS = {
    "NaN": (lambda t: t["families/coords"].fill_(torch.nan), "NaN"),
    "whole numbers": (lambda t: t.update({"families/weights": t["families/weights"].long()}), "int64"),
    "turned components": (
        lambda t: t.update({"spaces/nasbench201/components": t["spaces/nasbench201/components"].T.contiguous()}),
        "does not fit",
    ),
    "turned weights": (
        lambda t: t.update({"encoder/readout.0.weight": t["encoder/readout.0.weight"].T.contiguous()}),
        "other shapes",
    ),
    "a space of fewer cells": (
        lambda t: t.update({n: x[:9].clone() for n, x in t.items() if n.startswith("spaces/nasbench201/") and "coords" not in n}),
        "remembers 9 arch",
    ),
    "no coordinates": (lambda t: t.pop("families/coords"), "there is no tensor"),
    "infinite coordinates of tasks": (lambda t: t["spaces/nasbench201/task_coords"].fill_(torch.inf), "infinity"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_PRIORS)
def test_a_prior_that_means_nothing_is_one_line_and_begins_no_run(case, table, nas, tmp_path):
    table(name="good")
    path = tmp_path / "prior.safetensors"
    path.write_bytes(priors.SHIPPED.read_bytes())
    change, says = BAD_PRIORS[case]
    _rewritten(path, change)
    done = nas("search", "--task", "good/t", "--evals", 2, "--prior", path, "--name", "one")
    assert done.returncode == 2, done.stdout
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs/one").exists()


@pytest.mark.parametrize("text", ["", "[]", '{"task": ', "null", '{"task": "digits"}', "\ufeff{}", "[" * 100_000])
def test_a_plan_that_is_none_is_refused_and_left_as_it_is(text, tmp_path):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(UserError, match=r"is no plan of measurements|was begun as"):
        plan_file.keep(tmp_path, {"task": "digits", "epochs": 1})
    assert (tmp_path / "plan.json").read_text() == text


def test_every_table_that_there_is_can_be_read():
    """A zero-cost proxy has epochs of zero: a reader that refuses more than is wrong would hide a whole table."""
    assert tables.unreadable() == []


def test_a_column_that_a_search_cannot_read_is_refused_before_a_run_is_made(tmp_path, monkeypatch):
    class Unreadable:
        training = None

        def load(self, seeds):
            raise UserError("column 't/seconds@3' is damaged")

    monkeypatch.setattr(session.subject, "of", lambda *_: {})
    monkeypatch.setattr(session.subject, "as_json", lambda _: {})
    monkeypatch.setattr(session.provenance, "of", lambda *_: {})
    config = RunConfig(task="own201/digits", controller="random_search", evals=2)
    setup = session.load(config)._replace(evaluator=Unreadable())
    with pytest.raises(UserError, match="seconds@3"):
        session.start(tmp_path / "runs" / "new", config, setup)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("damaged", "split", "epochs"), [("test", "test", 3), ("shorter", "valid", 1)])
def test_a_damaged_column_that_is_read_late_is_refused_before_the_search(
    damaged, split, epochs, nas, tmp_path, monkeypatch
):
    """Test metrics are read when a search is over: their damage must not cost it. To check them does not count as reading."""
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))
    about = Column("t", "accuracy", "valid", 3, "percent", True)
    columns = {"t/valid": (about, SCORE), f"t/{damaged}": (about._replace(split=split, epochs=epochs), SCORE + 0)}
    asked = ("search", "--task", "late/t", "--controller", "random_search", "--evals", 2, "--name", "one")
    tables.write(tmp_path / "late.safetensors", "nasbench201", ARCHS, columns, "", "")
    before = tables.column_read_counts()
    find("late/t").load(torch.arange(1))
    assert set(tables.column_read_counts() - before) == {"late/t/valid"}
    columns[f"t/{damaged}"] = (columns[f"t/{damaged}"][0], SCORE * 10)
    tables.write(tmp_path / "late.safetensors", "nasbench201", ARCHS, columns, "", "")
    done = nas(*asked)
    assert done.returncode == 2, done.stdout
    assert f"column 't/{damaged}' holds 300; percent lie between 0 and 100" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("value", ["3", "[[", "[" * 100_000, b"\xb8"])
def test_what_a_run_keeps_of_another_kind_is_a_line(value, tmp_path):
    config = RunConfig(task="own201/digits", controller="random_search", evals=2)
    with session.start(tmp_path / "run", config, session.load(config)) as run:
        for key in ("provenance", "subject", "components", "data"):
            run.connection.execute("insert or replace into about values (?, ?)", (key, value))
            with pytest.raises(UserError, match=f"keeps a '{key}'"):
                store.get_meta(run, key)


@pytest.mark.parametrize("metrics", ["[1", "[" * 100_000, "1 2"])
def test_damaged_words_of_trained_weights_are_a_line(metrics, tmp_path):
    tensors = {"pixels.mean": torch.zeros(1), "pixels.std": torch.ones(1)}
    about = {"arch": "|a~0|", "class_names": "[]", "metrics": metrics}
    (tmp_path / trained_network.FILE).write_bytes(safetensors.torch.save(tensors, about))
    with pytest.raises(UserError, match="is not a whole file of trained weights"):
        trained_network.load(tmp_path)
