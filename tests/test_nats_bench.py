"""nats_bench's own files score as our table does."""

from __future__ import annotations

import json
import warnings

import pytest
import torch

from controller import Proposal
from nas import tasks
from search_spaces import UserError


@pytest.fixture
def rows(nats_sample, nasbench201):
    """The sample's architectures: those of the table's first 300 rows."""
    return nasbench201.archs[:300].long()


def alike(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("task", ["cifar10@12", "cifar10@200", "cifar10@200~drawn", "cifar100@12", "ImageNet16-120"])
def test_it_scores_costs_and_reports_as_the_table_does(task, rows, nats_sample):
    table, files = tasks.find(f"nasbench201/{task}"), tasks.find(f"nats:{nats_sample}/{task}")
    assert (files.task.input_shape, files.task.num_classes) == (table.task.input_shape, table.task.num_classes)
    seeds = torch.arange(2) + 5
    some = Proposal(torch.stack([rows[20:70], rows[45:95]]))
    ours, theirs = (evaluator.load(seeds)(some) for evaluator in (files, table))
    alike(ours.cost, theirs.cost)
    alike(files.report(some.archs), table.report(some.archs))
    alike(ours.score, theirs.score)


def test_a_drawn_score_is_one_that_was_measured(rows, nasbench201):
    """In two thirds of the rows a seed is missing; it is never drawn."""
    measured = nasbench201.column("cifar10/valid_accuracy@200")
    drawn = tasks.find("nasbench201/cifar10@200~drawn").load(torch.arange(30))
    score = drawn(Proposal(nasbench201.archs[:2000].long().expand(30, -1, -1))).score
    assert not score.isnan().any()
    assert (score[..., None] == measured[:2000]).any(-1).all()
    means = measured[:2000].nanmean(1)
    several = (~measured[:2000].isnan()).sum(1) > 1
    assert (score.mean(0) - means)[several].mean().abs() < 0.05, "each seed as often as the others"


def test_what_its_files_lack_is_a_failed_evaluation(nasbench201, nats_sample):
    files = tasks.find(f"nats:{nats_sample}/cifar10@12")
    results = files.load(torch.zeros(1).long())(Proposal(nasbench201.archs[None, 298:303].long()))
    assert results.cost.isfinite().all(), "a budget of seconds stays a number"
    assert results.score.isnan().tolist() == [[False, False, True, True, True]]


def test_a_search_over_its_files_goes_on_past_what_they_lack(nats_sample, nas):
    task = f"nats:{nats_sample}/cifar10@12"
    done = nas("search", "--task", task, "--controller", "random_search", "--evals", "300", "--name", "one", "--json")
    assert done.stderr == ""
    best = json.loads(done.stdout)["best"][0]
    assert best["score"] > 10
    assert best["report"] > 10
    shown = nas("show", "one")
    assert shown.returncode == 0, shown.stderr


def test_nats_bench_is_kept_quiet(rows, nats_sample, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = tasks.find(f"nats:{nats_sample}/cifar10@12")
        files.load(torch.zeros(1).long())(Proposal(rows[None, :3]))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("cifar11", "Did you mean 'cifar10'?"),
        ("cifar10@13", "no metrics after 13 epochs; there are: 12, 200"),
        ("cifar10~drwan", "after '~' there is: one-seed"),
    ],
)
def test_a_task_that_is_not_there_is_told_what_is(rest, says, nats_sample):
    with pytest.raises(UserError, match=says.replace("?", r"\?")):
        tasks.find(f"nats:{nats_sample}/{rest}")
    with pytest.raises(UserError, match="There is no NATS-Bench download"):
        tasks.find("nats:nowhere/cifar10")
