"""`nas forecast`: the gain on the scale of other tables, the time by rehearsal, nothing left behind."""

import json

import pytest
import torch

from controller import Proposal
from nas import tasks
from nas.evaluators.tabular import Tabular
from nas.loop import search
from nas.meta import forecast, task_similarity
from nas.run import session
from nas.run.config import RunConfig
from nas.tasks import families
from search_spaces.nasbench201 import NasBench201

FORECAST = ("forecast", "--task", "own201/digits")


def test_a_gain_by_hand():
    value = torch.arange(5.0).double()[None].repeat(2, 1)
    start, end = torch.tensor([1.0, 2.0]).double(), torch.tensor([3.0, 4.0]).double()
    scales = {"a": torch.tensor([10.0, 20, 30, 40, 50, 60]).double(), "b": torch.tensor([0.0, 1.0]).double()}
    assert forecast._gain(value, start, end, {}).tolist() == [[2], [2]]
    by_hand = torch.tensor([[20.0, 0.4], [20.0, 0.4]]).double()
    assert torch.allclose(forecast._gain(value, start, end, scales), by_hand)


def test_the_scale_is_never_that_of_the_tasks_own_data(nasbench201):
    for name in ("own201/digits", "own201/digits@2", "nasbench201/cifar10@12"):
        data = name.split("/")[1].split("@")[0]
        scales = forecast._scales(tasks.find(name).task, NasBench201())
        assert len(scales) == len(families.families()["accuracy"]) + len(families.families()["own201"]) - 1
        assert not any(scale.split("/")[1].split("@")[0] == data for scale in scales)


def test_what_is_no_accuracy_is_on_no_scale_of_accuracies(nasbench201, table):
    table("nasbench201-hardware")
    limited = tasks.find("nasbench201/cifar100@200+nasbench201-hardware/fpga/latency<=q30")
    assert forecast._scales(limited.task, limited.space) == {}


def test_the_gain_found_lies_in_the_interval_foretold(nasbench201):
    asked = RunConfig(task="own201/digits", evals=15)
    setup = session.load(asked)
    found = forecast.forecast(asked, setup, setup.prior)
    column = setup.evaluator.load(torch.tensor([0]))
    archs = torch.stack([task_similarity.resnet_reference_arch(setup.evaluator.space), _best_of_15(setup)])
    plain, best = column(Proposal(archs[None])).score[0].tolist()
    assert found.low <= best - plain <= found.high
    assert (found.evaluations, found.simulated_evaluations, found.unit) == (15, 15, "points of accuracy")


def _best_of_15(setup):
    state = setup.controller.begin(setup.evaluator.task, torch.tensor([0]), setup.prior)
    steps = search(setup.controller, setup.evaluator.load(torch.tensor([0])), state)
    tried = [step for _, step in zip(range(15), steps)]
    return max(tried, key=lambda step: step.results.score.item()).proposal.archs[0, 0]


def test_a_forecast_looks_at_no_score_and_leaves_nothing_behind(nas, tmp_path, monkeypatch):
    load = Tabular.load

    def blind(self, seeds):
        evaluate = load(self, seeds)
        return lambda proposal: evaluate(proposal)._replace(score=torch.full(proposal.archs.shape[:2], torch.nan))

    monkeypatch.setattr(Tabular, "load", blind)
    monkeypatch.setattr(forecast, "_scales", lambda task, space: {"made up": torch.linspace(0, 100, 50).double()})
    said = nas(*FORECAST, "--evals", "4")
    assert said.returncode == 0, said.stderr
    assert "points of accuracy, 80% interval" in said.stdout
    assert " simulated, about " in said.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_budget_of_time_is_put_into_evaluations(nas):
    document = json.loads(nas(*FORECAST, "--simulated-seconds", "3", "--json").stdout)
    each = document["simulated_seconds"] / document["evaluations"]
    assert document["simulated_seconds"] <= 3 < document["simulated_seconds"] + each
    assert document["low"] <= document["expected_gain"] <= document["high"]


def test_training_is_timed_by_a_probe(nas):
    words = (
        "--task",
        "digits",
        "-t",
        "examples=100",
        "-t",
        "epochs=3",
        "--evals",
        "8",
        "--batch",
        "4",
        "--json",
    )
    document = json.loads(nas("forecast", *words).stdout)
    assert 0 < document["simulated_seconds"] < document["wall_seconds"]
    assert "from one epoch of 4 random cells" in document["method"]
    assert (document["evaluations"], document["leader_trainings"]) == (6, 2)
    said = nas("forecast", *words[:-1]).stdout.splitlines()
    assert said[0].startswith("score: validation accuracy after 3 epochs of 100 images")
    assert said[1:-6] == [f"data: {note}" for note in document["data"]]
    assert said[-6] == "Search: 6 evaluations, then 2 trainings of the leaders."


@pytest.mark.parametrize("words", [("--prior", "none"), ("--controller", "evolution")])
def test_without_a_prior_there_is_nothing_to_ask(words, nas):
    said = nas(*FORECAST, *words)
    assert said.returncode == 2
    assert "this search has none" in said.stderr


def test_the_plain_cell_is_two_convolutions_beside_skips():
    space = NasBench201()
    assert space.describe(task_similarity.resnet_reference_arch(space)).count("nor_conv_3x3") == 2
