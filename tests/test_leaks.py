"""A searcher cannot read a report column: everything a controller or a meta-learner is handed is taken apart.

The table here has report figures around a billion, so that any way to one shows.
"""

import inspect
import json

import pytest
import torch
from safetensors.torch import save_file

from nas import plugins, tables, tasks
from nas.evaluators.tabular import Tabular
from nas.loop import search
from nas.meta import task_distribution, task_sampler
from search_spaces import _ops

SECRET = 1e9
PLAIN = str | int | float | bool | bytes | None | complex
TASK = "secret/cifar10@200"


@pytest.fixture(autouse=True)
def secret_table(tmp_path, monkeypatch):
    archs = _ops.enumerate_all((5,) * 6)
    columns = {
        "cifar10/valid_accuracy@200": archs.float().mean(-1),
        "cifar10/test_accuracy@200": SECRET + archs.float().sum(-1) * 1e6,
    }
    common = {"task": "cifar10", "metric": "accuracy", "epochs": 200, "unit": None, "maximize": True}
    about = {name: {**common, "split": name.removeprefix("cifar10/").split("_")[0]} for name in columns}
    header = {"format": "nas-table/1", "space": "nasbench201", "columns": json.dumps(about)}
    save_file({"archs": archs.to(torch.int8), **columns}, tmp_path / "secret.safetensors", header)
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))


def reachable(thing, seen):
    """Everything that public attributes, items and calls without arguments lead to from a thing."""
    if isinstance(thing, PLAIN) or id(thing) in seen or inspect.ismodule(thing) or len(seen) > 20_000:
        yield thing
        return
    seen[id(thing)] = thing
    yield thing
    if torch.is_tensor(thing):
        return
    if isinstance(thing, dict):
        parts = [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set | frozenset):
        parts = list(thing)
    elif inspect.isroutine(thing):
        parts = [thing.__self__] if inspect.ismethod(thing) else []
    elif inspect.isclass(thing):
        parts = []
    else:
        names = [n for n in dir(thing) if not n.startswith("_")]
        parts = [value for n in names if (value := getattr(thing, n, None)) is not None]
    for part in parts:
        yield from reachable(part, seen)


def assert_no_way_to_a_report(*handed):
    for thing in reachable(handed, {}):
        assert not isinstance(thing, Tabular | tables.Table), thing
        if torch.is_tensor(thing):
            assert not ((thing >= SECRET) & thing.isfinite()).any()
        elif isinstance(thing, int | float):
            assert not SECRET <= thing < float("inf")


def test_the_walk_finds_a_report_where_there_is_a_way_to_one():
    with pytest.raises(AssertionError):
        assert_no_way_to_a_report({"deep": [tasks.find(TASK)]})
    with pytest.raises(AssertionError):
        assert_no_way_to_a_report(tasks.find(TASK).report(torch.zeros(1, 6, dtype=torch.long)))
    with pytest.raises(AssertionError):
        assert_no_way_to_a_report(tasks.find(TASK).report)


@pytest.mark.parametrize("name", plugins.names("controller"))
def test_a_controller_is_handed_no_way_to_a_report(name):
    evaluator = tasks.find(TASK)
    before = tables.column_read_counts()
    controller = plugins.load("controller", name)(evaluator.space)
    seeds = torch.arange(2)
    state = controller.begin(evaluator.task, seeds)
    assert_no_way_to_a_report(controller, evaluator.space, evaluator.task, seeds, state)
    steps = search(controller, evaluator.load(seeds), state, batch=2)
    for _, step in zip(range(6), steps):
        assert_no_way_to_a_report(*step)
    assert set(tables.column_read_counts() - before) == {"secret/cifar10/valid_accuracy@200"}


@pytest.mark.parametrize("name", plugins.names("meta-learner"))
def test_a_meta_learner_is_handed_no_way_to_a_report(name):
    before = tables.column_read_counts()
    known = task_distribution.task_set("everything")
    assert TASK in [x.name for x in known.tasks]
    learner = plugins.load("meta-learner", name)(known)
    state = learner.init(torch.tensor([0]))
    batch = task_sampler.build(known).batch(learner.stages[0], 0, seed=0)
    after, _ = learner.update(state, batch)
    assert_no_way_to_a_report(learner, known, state, batch, after, learner.prior(after))
    read = {column for column in tables.column_read_counts() - before if column.startswith("secret/")}
    assert read <= {"secret/cifar10/valid_accuracy@200"}  # A task that was read once is kept.
