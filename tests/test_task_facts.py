"""What a search is told of its task beforehand: an unknown is unknown, and what is known is told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from controller.models import task_features
from nas import tables, tasks
from nas.run import subject
from nas.run.config import RunConfig
from nas.tables import device_kinds
from nas.tasks import describe_task
from nas.tasks.described_data import base_dataset
from search_spaces import ConstraintFacts

DEVICES = {
    "1080ti_256": "gpu", "2080ti_1": "gpu", "titan_rtx_32": "gpu", "titanxp_1": "gpu", "cifar10:edgegpu": "gpu",
    "gold_6240": "cpu", "silver_4210r": "cpu", "pixel3": "phone", "samsung_a50": "phone", "essential_ph_1": "phone",
    "cifar100:raspi4": "board", "ImageNet16-120:fpga": "fpga", "eyeriss": "accelerator", "cifar10:edgetpu": "accelerator",
    "cifar10": None, "my_golden_watch": None,
}  # fmt: skip


def test_a_task_of_data_that_nobody_describes_is_of_unknown_data():
    known, unknown = (describe_task("t", data) for data in ("cifar100", "birds"))
    assert (known.data_known, unknown.data_known) == (True, False)
    assert not task_features.task_features(unknown).any()
    # A network can be built all the same.
    assert (unknown.input_shape, unknown.num_classes) == ((3, 32, 32), 10)


def test_unknown_data_is_as_similar_to_any_task_as_to_any_other():
    others = torch.stack([task_features.task_features(describe_task("t", x)) for x in ("cifar10", "ninapro", "jigsaw")])
    unknown = replace(describe_task("t", "cifar10"), features=(), data_known=False)
    assert task_features.task_similarity(task_features.task_features(unknown), others).tolist() == [1.0] * 3
    # Of others that are unknown it cannot be said either.
    nothing = torch.zeros_like(others)
    assert task_features.task_similarity(others[1], nothing).tolist() == [1.0] * 3


def test_a_kind_of_attack_that_nobody_knows_does_not_hide_the_dataset():
    assert base_dataset("cifar10-new_attack-8/255") == base_dataset("cifar10:quarter-noise") == "cifar10"
    assert base_dataset("ImageNet16-120-blur") == "ImageNet16-120"
    assert [base_dataset(name) for name in ("cifar1000", "my-cifar10", "digits_of_mine")] == [
        "cifar1000", "my-cifar10", "digits_of_mine",
    ]  # fmt: skip
    attacked = describe_task("t", "cifar100-patch-4")
    assert (attacked.num_classes, attacked.features) == (100, describe_task("t", "cifar100").features)


@pytest.mark.parametrize("name", DEVICES)
def test_the_kind_of_a_device_is_read_off_its_name(name):
    assert device_kinds.kind_of(name) == DEVICES[name]


def test_a_constraint_says_what_it_bounds_on_what_and_for_how_much_of_the_space():
    column = "own201/digits/train_seconds@4"
    median = tables.find("own201").column("digits/train_seconds@4").median().item()
    told = tasks.find(f"own201/digits+{column}<=q25+{column}<={median}+own201/digits/params<=q30").task
    assert told.constraint_facts == (
        ConstraintFacts("train_seconds", None, 0.25),
        # The share of a bound in seconds is what only a measurement of the whole space would say.
        ConstraintFacts("train_seconds", None, None),
        ConstraintFacts("params", None, 0.3),
    )


def test_a_constraint_on_the_network_says_what_it_bounds():
    assert tasks.find("digits+params<=20k").task.constraint_facts == (ConstraintFacts("params"),)


def test_a_run_keeps_what_its_search_was_told_and_older_runs_say_nothing():
    told = tasks.find("own201/digits+own201/digits/params<=q30")
    config = RunConfig(task=told.task.name, controller="random_search", evals=2)
    kept = json.loads(json.dumps(subject.as_json(subject.of(config, told))))
    assert subject._from_json(kept).task == told.task
    for field in ("data_known", "constraint_facts"):
        del kept["task"][field]
    assert subject._from_json(kept).task == replace(told.task, data_known=True, constraint_facts=())
