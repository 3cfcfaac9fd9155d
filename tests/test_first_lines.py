"""What takes long says first what it does and how long: networks at their full size, a meta-training."""

import re

import pytest
import torch

from nas.commands import _stage_time
from nas.commands._stage_time import StageTime
from nas.evaluators.train import Train
from nas.meta.outer_loop import Progress
from nas.training import step_time
from nas.training.step_time import StepTime
from search_spaces import _sampling

OPTIONS = [word for value in ("epochs=3", "examples=64") for word in ("-t", value)]


@pytest.fixture
def measured(monkeypatch):
    """A machine on which a network takes 10 ms for an image; no search goes further than its first lines."""
    monkeypatch.setattr(step_time, "measure", lambda *_: StepTime(0.01, (1_000, 20_000)))
    monkeypatch.setattr("nas.commands._shared.work", lambda *_, **__: None)
    monkeypatch.setattr("nas.commands.show.print_run", lambda *_: None)


def _search(nas, *more):
    done = nas(
        "search", "--task", "digits", "--controller", "random_search", "--evals", 4, "--seeds", 2, *OPTIONS, *more
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_search_says_how_large_networks_are_and_how_long_they_take_where_there_are_no_smaller_ones(measured, nas):
    said = _search(nas, "-t", "space=natsbench_size")
    assert "by networks of natsbench-size as they are" in said
    # 0.01 s x 64 images x 3 epochs, and eight of it.
    assert (
        "it trains its own, 1,000 to 20,000 parameters. An evaluation takes about 1.9 s, 8 evaluations about 15 s"
        in said
    )
    assert "as they are" not in (small := _search(nas))
    assert "no smaller networks" not in small


def test_the_step_that_is_timed_is_of_networks_of_the_space():
    evaluator = Train.of("digits", space="natsbench_size", examples="64", batch="8")
    images = evaluator.cache.images(evaluator.data.x_train, evaluator.data.y_train)
    found = step_time.measure(evaluator.space, evaluator.task, images, evaluator.recipe, torch.device("cpu"))
    archs = _sampling.sample(evaluator.space, torch.zeros(1).long(), torch.zeros(1).long(), 4)[0]
    built = [evaluator.space.build(arch, evaluator.task) for arch in archs]
    counts = [sum(weight.numel() for weight in network.parameters()) for network in built]
    assert found.parameters == (min(counts), max(counts))
    assert found.seconds > 0


def test_a_stage_says_how_long_it_takes_after_a_few_steps(monkeypatch):
    clock = iter((0.0, 9.0, 100.0, 100.0))
    monkeypatch.setattr(_stage_time.time, "monotonic", lambda: next(clock))
    stages = StageTime()
    # The first step is not timed; the next three took nine seconds, and 96 are left.
    lines = [stages.after(Progress(None, "pca", step, 200, {}), end=100) for step in range(1, 10)]  # pyright: ignore
    assert lines == [None, None, None, "Stage pca: about 5 minutes left.", *[None] * 5]
    # The next stage is over at once.
    assert [stages.after(Progress(None, "memory", step, 200, {}), end=200) for step in range(101, 110)] == [None] * 9  # pyright: ignore


def test_a_meta_training_says_what_it_will_do(nas, monkeypatch):
    monkeypatch.setenv("NAS_TABLES", "")
    done = nas("meta-train", "--learner", "portfolio", "--task-fraction", "0.2")
    assert done.returncode == 0, done.stderr
    first = done.stderr.splitlines()[0]
    assert re.fullmatch(
        r"Training a prior by portfolio on \d+ tasks \(split everything\) in runs/portfolio-everything: 1 step \(rank 1\)\. "
        r"Ctrl-C keeps a checkpoint\.",
        first,
    )
