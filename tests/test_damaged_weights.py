"""Weights that no training leaves: refused in a line, and no file of them is written."""

import pytest
import torch

from nas import plugins
from nas.export.export import export
from nas.run import trained_network
from nas.types import TrainedNetwork
from search_spaces import Task, UserError

TASK = Task("t", (1, 8, 8), 3)


def trained(**changed):
    space = plugins.load("space", "nasbench201")().proxy(4, 1, 1)
    weights = space.build(torch.tensor([1, 0, 0, 0, 0, 0]), TASK).state_dict()
    plain = TrainedNetwork("a", weights, torch.tensor([0.5]), torch.tensor([0.2]), ("x", "y", "z"), {})
    return space, plain._replace(**changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"mean": torch.zeros(0), "std": torch.zeros(0)},
        {"mean": torch.zeros(2)},
        {"std": torch.zeros(1)},
        {"mean": torch.tensor([torch.nan])},
        {"mean": torch.zeros(1, dtype=torch.float64), "std": torch.ones(1, dtype=torch.float64)},
    ],
)
def test_a_normalization_that_no_training_has_is_one_line(changed, tmp_path):
    trained_network.save(tmp_path, trained(**changed)[1])
    with pytest.raises(UserError, match="not a whole file of trained weights"):
        trained_network.load(tmp_path)


def test_what_is_whole_is_read(tmp_path):
    trained_network.save(tmp_path, trained()[1])
    assert trained_network.load(tmp_path).arch == "a"


def test_a_network_that_answers_nan_is_not_exported(tmp_path):
    space, network = trained()
    network.state_dict["head.4.bias"][0] = torch.nan
    with pytest.raises(UserError, match="not finite: its final training diverged"):
        export(space, torch.tensor([1, 0, 0, 0, 0, 0]), TASK, network.state_dict, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_diverged_if_its_answers_did_and_not_if_a_mask_of_its_is_infinite():
    one, half = torch.ones(1), torch.full((2, 2), 0.5)
    made = TrainedNetwork("a", {"mask": -one / 0, "weight": one}, one, one, ("x", "y"), {})
    nothing = made._replace(state_dict={"weight": one * torch.nan})
    assert not made.diverged
    assert not made._replace(metrics={"test_probabilities": half}).diverged
    assert nothing.diverged
    assert made._replace(metrics={"test_probabilities": half * torch.nan}).diverged
