"""What an evaluator says of itself: whether it trains networks is a field, and a wrapper hands on what it wraps."""

import pytest
import torch

from nas import tasks
from nas.evaluators.constrained import feasible
from search_spaces import _ops

TABLE = "nasbench201/cifar100@200"
LATENCY = "nasbench201-hardware/fpga/latency"


@pytest.fixture(autouse=True)
def _tables(table):
    for name in ("nasbench201", "nasbench201-hardware"):
        table(name)


def test_only_an_evaluator_that_trains_names_a_training():
    trains = tasks.find("digits")
    assert trains.training is trains
    assert tasks.find(TABLE).training is None


def test_constraints_change_neither_the_training_nor_the_defaults_nor_the_report():
    inner = tasks.find("digits")
    constrained = tasks.find(f"digits+{LATENCY}<=q50")
    assert constrained.training.final_space == inner.final_space
    assert constrained.defaults == inner.defaults
    assert tasks.find(f"{TABLE}+{LATENCY}<=q50").training is None


def test_feasible_is_every_bound_kept_and_everything_without_a_bound():
    evaluator = tasks.find(f"{TABLE}+{LATENCY}<=q50+{LATENCY}<=q20")
    archs = _ops.enumerate_all(evaluator.space.choices)
    tight = tasks.find(f"{TABLE}+{LATENCY}<=q20")
    assert torch.equal(
        feasible(archs, evaluator.space, evaluator.constraints), feasible(archs, tight.space, tight.constraints)
    )
    assert feasible(archs, evaluator.space, ()).all()
