"""What is copied from other tasks first: orders by hand, and that a search begins with them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from controller import Prior
from controller.candidates import pending
from controller.models import known_costs, portfolio, prior_file, rank_sources, transfer_model
from controller.models.prior_file import Runs, Tasks
from controller.models.source_ranks import KINDS, QUANTITIES, SourceRanks
from controller.portfolio import Portfolio
from controller.transfer_bo import TransferBO
from nas import tasks
from nas.run import priors
from nas.testing import synthetic_tasks
from nas.testing.toys import TASK, evaluate, walk
from search_spaces import ConstraintFacts, _ops
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()
LATENCY, GPU, PHONE = QUANTITIES.index("latency"), KINDS.index("gpu"), KINDS.index("phone")


def ranks_of(*columns, families=None, costs=(), kinds=()):
    """Sources with these ranks, 0 the best; costs as shares of the space that cost less."""
    ranks, count = torch.tensor(columns).T.float(), len(columns)
    return SourceRanks(
        rows=torch.arange(len(ranks)).float(),
        ranks=ranks.log1p(),
        tasks=torch.arange(count).float(),
        families=torch.tensor(families or [0] * count).float(),
        shares=torch.full((count,), 1 / count),
        costs=torch.tensor(costs).T.float() if costs else torch.zeros(len(ranks), 0),
        cost_kinds=torch.tensor(kinds).float().view(-1, 3),
    )


def order(ranks, how, *facts, alike=None):
    alike = torch.ones(len(ranks.tasks)) if alike is None else torch.tensor(alike)
    return portfolio.order(ranks, alike, facts, how, 8).tolist()


def test_greedy_takes_what_adds_most_to_what_was_taken():
    # 0 is second everywhere, and 3 third. After 0, 2 adds to two sources and 1 to one; by mean rank 3 comes before 1.
    ranks = ranks_of([1, 0, 9, 2], [1, 9, 0, 2], [1, 9, 0, 2])
    assert order(ranks, "greedy") == [0, 2, 1, 3]
    assert order(ranks, "mean") == [0, 2, 3, 1]


def test_families_take_turns_whatever_their_size():
    ranks = ranks_of([0, 1, 2, 3], [0, 1, 2, 3], [3, 2, 1, 0], families=[0, 0, 1])
    assert order(ranks, "families") == [0, 3, 1, 2]


def test_a_source_counts_as_much_as_its_data_is_alike():
    ranks = ranks_of([0, 1, 2, 3], [3, 2, 1, 0])
    assert order(ranks, "greedy", alike=[1.0, 0.0])[0] == 0
    assert order(ranks, "greedy", alike=[0.0, 1.0])[0] == 3


def costs_of(gpu, phone):
    """Four devices of each kind that cost alike, and the means."""
    mean = [(a + b) / 2 for a, b in zip(gpu, phone)]
    return {
        "costs": [gpu] * 4 + [phone] * 4 + [mean, gpu, phone],
        "kinds": [[LATENCY, GPU, 0]] * 4
        + [[LATENCY, PHONE, 0]] * 4
        + [[LATENCY, -1, 1], [LATENCY, GPU, 1], [LATENCY, PHONE, 1]],
    }


LIMITED = ranks_of([0, 1, 2, 3], **costs_of(gpu=[0.9, 0.1, 0.8, 0.0], phone=[0.9, 0.95, 0.1, 0.0]))


@pytest.mark.parametrize("how", ["greedy", "families", "mean", "fastest"])
@pytest.mark.parametrize(("kind", "first"), [("gpu", 1), ("phone", 2)])
def test_the_first_keeps_the_limit_of_the_kind_of_device(how, kind, first):
    """The best architecture breaks the limit on both kinds; the next two keep it on one each."""
    assert order(LIMITED, how, ConstraintFacts("latency", kind, 0.3))[0] == first


@pytest.mark.parametrize(("on_the_fourth", "first"), [(0.25, 0), (0.6, 1)])
def test_the_first_keeps_a_limit_surely_where_known_devices_differ(on_the_fourth, first):
    """The best costs less than the limit by the mean over devices; the second costs so little that it keeps any of them."""
    devices = [[0.25, 0.01, 0.9], [0.25, 0.01, 0.9], [0.25, 0.01, 0.9], [on_the_fourth, 0.01, 0.9]]
    mean = [0.27, 0.01, 0.9]
    ranks = ranks_of(
        [0, 1, 2], costs=[*devices, mean, mean], kinds=[[LATENCY, GPU, 0]] * 4 + [[LATENCY, -1, 1], [LATENCY, GPU, 1]]
    )
    found = order(ranks, "greedy", ConstraintFacts("latency", "gpu", 0.3))
    assert found[0] == first
    assert set(found) == {0, 1, 2}


@pytest.mark.parametrize(
    ("facts", "kept"),
    [
        # The two devices are 0.1 from their mean, and so 0.2 from each other.
        (ConstraintFacts("latency", "gpu", 0.3), torch.special.ndtr(torch.tensor([0.0, 1.5, -3.5]))),
        (ConstraintFacts("latency", "phone", 0.3), torch.ones(3)),
        (ConstraintFacts("latency", "gpu"), torch.ones(3)),
    ],
)
def test_how_surely_a_limit_is_kept_by_hand(facts, kept):
    costs = [[0.2, 0.0, 1.0], [0.4, 0.0, 1.0], [0.3, 0.0, 1.0]]
    ranks = ranks_of([0, 1, 2], costs=costs, kinds=[[LATENCY, GPU, 0]] * 2 + [[LATENCY, GPU, 1]])
    torch.testing.assert_close(known_costs.probability_kept(ranks, (facts,)), kept)


def test_a_device_of_another_kind_counts_less():
    found = portfolio.sources(LIMITED, torch.ones(1), (ConstraintFacts("latency", "gpu", 0.3),))
    # One task, and for it nine costs: four of each kind and the usual one, which counts as much as those eight.
    weights = found.weights.sort().values
    same, other = 0.5 / 5.2, 0.5 * 0.3 / 5.2
    torch.testing.assert_close(weights[weights > 0], torch.tensor([other] * 4 + [same] * 4 + [0.5]))


def test_several_limits_are_all_kept():
    both = (ConstraintFacts("latency", "gpu", 0.3), ConstraintFacts("latency", "phone", 0.3))
    assert all(order(LIMITED, how, *both)[0] == 3 for how in ("greedy", "fastest"))


def test_only_constraints_that_cost_score_count():
    assert portfolio.soft_constraints(tasks.find("digits+params<=20k").task) == ()
    (facts,) = portfolio.soft_constraints(tasks.find("own201/digits+own201/digits/params<=q30").task)
    assert facts.quantity == "params"


def test_what_is_kept_has_the_exact_ranks_of_all_tasks_at_the_longest_training():
    known = synthetic_tasks.task_set(synthetic_tasks.scores(3))
    space = known.tasks[0].space
    short = known.tasks[0]._replace(name="short", longest=False)
    found = rank_sources.fit(space, known._replace(tasks=(*known.tasks, short)))
    assert found is not None
    every = [x for x in known.tasks if x.space == space]
    assert len(found.tasks) == len(every)
    for t, x in enumerate(every):
        rows = found.rows.long()
        above = (x.normal_scores[None] > x.normal_scores[rows][:, None]).sum(1)
        torch.testing.assert_close(found.ranks[:, t].float(), above.float().log1p(), rtol=1e-3, atol=1e-6)
        assert int(x.normal_scores.argmax()) in rows


@pytest.fixture(scope="module")
def shipped() -> Prior:
    found = priors.find("shipped", "transfer_bo")
    assert found is not None
    return found


@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_search_copies_first_in_batches_of_any_size(shipped, size):
    controller = TransferBO(SPACE, num_copied=4)
    seeds = torch.tensor([3, 8])
    state = controller.begin(TASK, seeds, shipped)
    first = transfer_model.find(SPACE, state.prior).first_archs[:4]
    archs, *_ = walk(controller, evaluate(SPACE), seeds, size, math.ceil(6 / size), state)
    archs = archs.flatten(1, 2)
    assert torch.equal(archs[:, :4], first.expand(2, -1, -1))
    assert all(len(_ops.index(row, SPACE.choices).unique()) == len(row) for row in archs)


def test_a_batch_has_what_is_copied_once_though_the_surrogate_wants_it_too(shipped):
    controller = TransferBO(SPACE, num_copied=1)
    archs = controller.propose(controller.begin(TASK, torch.tensor([0]), shipped), 96).archs[0]
    alone = TransferBO(SPACE, num_copied=0)
    wanted = alone.propose(alone.begin(TASK, torch.tensor([0]), shipped), 96).archs[0]
    assert bool((wanted == archs[0]).all(1).any())
    assert len(_ops.index(archs, SPACE.choices).unique()) == 96


def test_what_is_copied_is_evaluated_once_though_the_second_ends_before_the_first(shipped):
    controller = TransferBO(SPACE, num_copied=3)
    state = controller.begin(TASK, torch.tensor([0]), shipped)
    both = controller.propose(state, 2)
    second = both._replace(archs=both.archs[:, 1:])
    state = controller.learn(state, second, evaluate(SPACE)(second))
    waiting = pending.Group(both.archs[0, :1])
    third = pending.ask(controller, state, [waiting], 1, 0.0, 1.0, 0)
    first = transfer_model.find(SPACE, state.prior).first_archs
    assert torch.equal(third.archs, first[2:3])


def test_the_portfolio_begins_with_what_transfer_bo_copies(shipped):
    task = tasks.find("own201/digits+own201/digits/params<=q20").task
    state = Portfolio(SPACE).begin(task, torch.tensor([5]), shipped)
    begun = TransferBO(SPACE).begin(task, torch.tensor([5]), shipped)
    first = transfer_model.find(SPACE, begun.prior).first_archs
    assert torch.equal(_ops.from_index(state.order[0], SPACE.choices), first)
    assert len(state.order[0].unique()) == len(state.order[0])


def test_a_prior_that_runs_taught_copies_as_before(shipped):
    contents = prior_file.unpack(shipped.params)
    assert contents.tasks is not None
    one = Tasks(contents.tasks.features[:1], contents.tasks.share[:1], contents.tasks.coords[:1])
    runs = Runs(one, {name: memory.task_coords[:1] for name, memory in contents.spaces.items()})
    taught = Prior(prior_file.pack(contents._replace(runs=runs)), shipped.about)
    limited = replace(TASK, constraints=(20.0,), constraint_facts=(ConstraintFacts("latency", "gpu", 0.3),))
    for task in (TASK, limited):
        before, after = (transfer_model.make(SPACE, prior, task).first_archs for prior in (shipped, taught))
        assert torch.equal(before, after)
        assert len(after)


@pytest.mark.parametrize("share", [10, 30, 70])
def test_the_first_proposal_of_a_search_with_a_limit_keeps_it(shipped, share):
    evaluator = tasks.find(f"own201/digits+own201/digits/params<=q{share}")
    controller = TransferBO(SPACE)
    state = controller.begin(evaluator.task, torch.tensor([0]), shipped)
    results = evaluator.load(torch.tensor([0]))(controller.propose(state, 1))
    assert results.constraint_ratio is not None
    assert float(results.constraint_ratio) <= 1
