"""`in_context` where there are limits: it learns what they take off apart from the rest."""

from dataclasses import replace

import pytest
import torch

from controller import Proposal, Results
from controller.models import constraints, features, pretrained, prior_file, scores, transfer_model
from controller.models.cell_encoder import CellEncoder
from controller.transfer_bo import TransferBO
from nas.run import session, step_log
from nas.run.config import RunConfig
from nas.run.summary import summary
from search_spaces import _ops
from search_spaces.nasbench201 import NasBench201
from tests import _toys

SPACE, SEEDS = NasBench201(), torch.arange(3)
LIMITED = replace(_toys.TASK, constraints=(20.0, 5.0))
SHARES = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))


def over(archs):
    """What adds up over a cell's operations, over its limit; and of that four fifths."""
    first = (SHARES[torch.arange(6), archs] - 0.5).sum(-1).exp()
    return torch.stack([first, first / 1.25], -1)


def off(archs):
    return 20 * (over(archs)[..., 0] - 1).clamp(min=0) + 5 * (over(archs)[..., 1] - 1).clamp(min=0)


def evaluate(proposal):
    plain = _toys.evaluate(SPACE)(proposal)
    return Results(plain.score - off(proposal.archs), plain.cost, over(proposal.archs))


def searched(seeds=SEEDS, run=evaluate, batch=8, steps=5):
    controller = TransferBO(SPACE)
    return controller, _toys.walk(controller, run, seeds, batch, steps, controller.begin(LIMITED, seeds))[2]


def test_scores_without_the_points_off_are_those_of_the_task_without_limits():
    _, state = searched()
    torch.testing.assert_close(
        constraints.unpenalised_scores(state), _toys.evaluate(SPACE)(Proposal(state.archs)).score
    )
    bare = state._replace(
        constraint_ratio=state.constraint_ratio[..., :0], penalty_weights=state.penalty_weights[:, :0]
    )
    assert torch.equal(constraints.unpenalised_scores(bare), bare.score)


def test_points_off_of_cells_never_tried_are_foretold():
    """The logarithm of `over` is a sum over the decisions, so 60 evaluations tell it; the nodes' mean is the points off."""
    controller, proposal = TransferBO(SPACE), Proposal(_ops.sample_unchecked(SEEDS, 0, 60, SPACE.choices))
    state = controller.learn(controller.begin(LIMITED, SEEDS), proposal, evaluate(proposal))
    archs = _ops.enumerate_all(SPACE.choices)[None, ::37].expand(3, -1, -1)
    model = transfer_model.make(SPACE)
    found = constraints.penalty_posterior(model, state, archs, model.features(archs))
    worth = constraints.points_to_normal_scores(constraints.unpenalised_scores(state))
    truth = off(archs).double() * worth
    foretold = found.expected(lambda off_SM: off_SM)
    assert sum(p for p, _ in found.candidates) == pytest.approx(1.0)
    torch.testing.assert_close(found.observed, off(state.archs).double() * worth, rtol=1e-4, atol=1e-5)
    for guess in (found.candidates[2][1], constraints.ridge_penalty(model, state)[:, ::37]):
        alike = [torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(guess, truth)]
        assert min(alike) > 0.95
    assert (foretold >= found.candidates[2][1]).all()


def _model(factors):
    """A model that knows this of what may be constrained, and nothing else."""
    if factors is None:
        return transfer_model.make(SPACE)
    nothing, zeros = torch.zeros(5**6, 0, dtype=torch.float64), torch.zeros(5**6, 1, dtype=torch.float64)
    memory = prior_file.SpaceMemory(zeros[:, 0], nothing, zeros, nothing[:0], constraint_factors=factors)
    families = prior_file.Families(torch.zeros(1, 16).double(), torch.eye(16).double(), torch.ones(1).double())
    prior = pretrained.PretrainedPrior(CellEncoder().double(), None, families, None, {SPACE.name: memory})
    return transfer_model.TransferModel(SPACE, 7, prior)


def test_few_evaluations_tell_what_a_device_takes_that_is_like_others():
    """One alike in all but its level, and one that is like none: that one is foretold as without memory."""
    everywhere = features.enumerate_valid(SPACE).archs
    log = over(everywhere)[:, :1].double().log()
    strange = torch.randn(len(log), 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    proposal = Proposal(_ops.sample_unchecked(SEEDS, 0, 12, SPACE.choices))
    controller = TransferBO(SPACE)
    state = controller.learn(controller.begin(LIMITED, SEEDS), proposal, evaluate(proposal))
    archs = _ops.enumerate_all(SPACE.choices)[None, ::37].expand(3, -1, -1)
    inputs = transfer_model.make(SPACE).features(archs)
    truth, wrong = off(archs).double() * constraints.points_to_normal_scores(constraints.unpenalised_scores(state)), {}
    for name, amounts in (("like", torch.cat([log - 1, strange * 0.1], 1)), ("unlike", strange), ("none", None)):
        model = _model(amounts)
        found = constraints.penalty_posterior(model, state, archs, inputs).candidates[2][1]
        wrong[name] = [
            float((x - truth).square().mean().sqrt()) for x in (found, constraints.ridge_penalty(model, state)[:, ::37])
        ]
    assert max(wrong["like"]) < 0.2 * min(wrong["none"])
    assert wrong["unlike"][0] < 1.5 * wrong["none"][0]


def test_a_point_is_worth_the_standing_that_it_brings_among_the_better_half():
    score = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0]])
    stand = scores.normal_scores(score)
    torch.testing.assert_close(constraints.points_to_normal_scores(score), (stand[:, 7:] - stand[:, 4:5]) / 4)
    failed = torch.tensor([[torch.nan] * 6 + [1.0, 2.0]])
    assert constraints.points_to_normal_scores(failed).isfinite().all()
    assert constraints.points_to_normal_scores(torch.full((1, 4), torch.nan)).isfinite().all()


def test_seeds_do_not_mix_and_failures_and_what_is_not_told_are_borne():
    def failing(proposal):
        results = evaluate(proposal)
        lost = _ops.index(proposal.archs, SPACE.choices) % 5 == 0
        return Results(
            torch.where(lost, torch.nan, results.score),
            results.cost,
            torch.where(lost[..., None], torch.nan, results.constraint_ratio),
        )

    _, together = searched(run=failing)
    for s in SEEDS.tolist():
        _, alone = searched(SEEDS[s : s + 1], failing)
        assert torch.equal(alone.archs[0], together.archs[s])
    _, untold = searched(run=lambda p: evaluate(p)._replace(constraint_ratio=None), steps=3)
    assert untold.constraint_ratio.shape == (3, 24, 2)


def test_a_cell_foretold_to_be_over_a_limit_is_wanted_less():
    """The same search, but that all it tried is far within the limits: what it now proposes breaks them more often."""
    controller, state = searched(torch.arange(24))
    careless = state._replace(
        constraint_ratio=state.constraint_ratio * 0.1, score=constraints.unpenalised_scores(state)
    )
    careful, others = (controller.propose(s, 24).archs for s in (state, careless))
    assert off(careful).mean() < 0.8 * off(others).mean()


def test_what_was_told_is_stored_with_the_run(table, tmp_path):
    for name in ("nasbench201", "nasbench201-hardware"):
        table(name)
    task = "nasbench201/cifar10@200+nasbench201-hardware/fpga/latency<=q30"
    asked = RunConfig(task=task, controller="in_context", prior="none", evals=6, seeds=2, batch=3)
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        for _ in session.resume(run, setup):
            pass
        archs, told = zip(*((proposal.archs, results.constraint_ratio) for proposal, results, _ in step_log.steps(run)))
        state = step_log.state(run, setup.controller.begin(setup.evaluator.task, setup.seeds, setup.prior))
        best = summary(run)["best"]
    wanted = setup.evaluator.load(setup.seeds)
    for archs_SBD, over_SBL in zip(archs, told):
        assert torch.equal(over_SBL, wanted(Proposal(archs_SBD)).constraint_ratio)
    assert torch.equal(state.constraint_ratio, torch.cat(told, 1))
    for s, row in enumerate(best):
        assert row["constraint_ratio"] == [round(state.constraint_ratio[s, row["found_at"] - 1, 0].item(), 4)]
