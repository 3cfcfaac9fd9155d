"""The bank, the network, their training and the prior that ships: by hand, by law, and on tasks left out."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file
from torch.distributions import MultivariateNormal

from controller import Prior, Results, transfer_bo
from controller.attention_policy import AttentionPolicy
from controller.candidates import exploration, pool
from controller.models import (
    cell_encoder,
    features,
    gp_ensemble,
    gp_members,
    kernels,
    prior_file,
    scores,
    task_features,
    transfer_model,
    transformer,
)
from controller.models.gp import GaussianProcess
from controller.policies import attention
from controller.transfer_bo import TransferBO
from nas import plugins, tables
from nas.meta import splits, task_distribution, task_similarity
from nas.run import priors
from nas.testing.large_space import LargeSpace
from search_spaces import Task, UserError, _ops, _sampling
from search_spaces.nasbench201 import NasBench201
from tests import _toys

SPACE = NasBench201()
SPACE_SIZE = 15_625
LISTED = [plugins.load("space", name)() for name in plugins.names("space")]
LISTED = [space for space in LISTED if features.size(space) <= features.MAX_ENUMERABLE]


def untrained():
    torch.manual_seed(0)
    weights, R = transformer.TaskTransformer().state_dict(), cell_encoder.COMPONENTS
    contents = prior_file.Contents(
        encoder={n.removeprefix("encoder."): t.clone() for n, t in weights.items() if n.startswith("encoder.")},
        policy={n: t.clone() for n, t in weights.items() if not n.startswith("encoder.")},
        families=prior_file.Families(torch.randn(2, R) * 0.3, torch.eye(R), torch.tensor([0.6, 0.4])),
    )
    about = {
        "format": prior_file.FORMAT,
        "controller": "transfer_bo",
        "trusted": "true",
        "tasks": "[]",
        "families": "[]",
    }
    return Prior(prior_file.pack(contents), about)


class _Policy:
    """A state of `attention_policy` after scores, by whose turn it was each time."""

    def __init__(self, **settings):
        self.controller = AttentionPolicy(SPACE, **settings)
        task = Task("t", (3, 32, 32), 10)
        self.state = self.controller.begin(task, torch.arange(1), priors.find("shipped", "attention_policy"))

    def turns(self, scores):
        """The policy's share after each of these scores."""
        found = []
        for score in scores:
            self.state = self.controller.learn(
                self.state, self.controller.propose(self.state, 1), Results(*torch.tensor([[[score]], [[1.0]]]))
            )
            found.append(self.controller.prior_weight(self.state).item())
        return found


def test_a_policy_that_no_longer_improves_takes_turns_with_a_search_without_prior_and_is_dropped():
    run = _Policy(patience=2)
    assert run.turns([1.0, 2.0, 0.0]) == [1, 1, 1]
    # Twice idle: the other's turn, whose better score is not the policy's.
    assert run.turns([0.0, 5.0]) == [0.5, 0.5]
    assert run.state.idle.tolist() == [2]
    assert run.state.cold.tolist() == [1]
    assert run.turns([0.0]) == [0.5]  # The policy again.
    unlimited, none = torch.zeros(1, 0, dtype=torch.float64), torch.zeros(1, dtype=torch.long)
    cold = transfer_bo.State(*run.state[:2], none, *run.state[3:6], torch.zeros(1, 6, 0), unlimited, none)
    assert torch.equal(run.controller.propose(run.state, 2).archs, TransferBO(SPACE).propose(cold, 2).archs)
    assert run.turns([6.0, 7.0]) == [0.5, 1]  # The second is the policy's: it is alone again.
    assert run.turns([0.0] * 20)[-1] == 0
    assert run.state.idle.tolist() == [6]


def test_what_the_policy_proposed_counts_as_the_policy_s_when_its_turn_is_over():
    run = _Policy(patience=2)
    run.turns([2.0, 1.0])
    both = [run.controller.propose(run.state, 1) for _ in range(2)]  # By two workers.
    for proposal, score in zip(both, [1.0, 5.0]):
        results = Results(*torch.tensor([[[score]], [[1.0]]]))
        run.state = run.controller.learn(run.state, proposal, results)
    assert (run.state.idle.tolist(), run.state.cold.tolist()) == ([0], [0])


def test_a_policy_without_patience_is_kept_to():
    run = _Policy(patience=0)
    assert run.turns([1.0] + [0.0] * 9) == [1] * 10


def test_a_policy_without_a_prior_counts_for_nothing():
    controller = AttentionPolicy(SPACE)
    state = controller.begin(Task("t", (3, 32, 32), 10), torch.arange(2))
    assert controller.prior_weight(state).tolist() == [0, 0]


def test_a_space_too_large_to_list_has_hypotheses_of_little_noise_and_wider_kernels():
    space = LargeSpace(units=24)
    large, small = (transfer_model.make(one) for one in (space, NasBench201()))
    noise = [sorted({round(x, 3) for x in m.ensemble.hypotheses.noise_ratio.tolist()}) for m in (large, small)]
    assert noise == [[0.1, 0.4], [0.4]]
    archs = _sampling.sample(space, torch.arange(1), 0, 2)
    differ = (archs[0, 0] != archs[0, 1]).sum().item()
    one_hot = large.features(archs).one_hot[0]
    # As if six decisions in place of 24.
    assert (one_hot[0] - one_hot[1]).square().sum().item() == pytest.approx(2 * differ * 6 / 24)


def test_one_member_predicts_what_a_gaussian_process_does_by_hand():
    rows = [0.5, 0.3, 0.2, 0.0, 0.0, 1.0, 0.1, -1.0, 0.0, 0.0]
    members = gp_members.Hypotheses(*(torch.tensor([x], dtype=torch.float64) for x in rows))
    torch.manual_seed(1)

    def inputs(n):
        nothing = torch.zeros(1, n, 0, dtype=torch.float64)
        place, whole = torch.randn(1, n, 3).double(), torch.randn(1, n, 2).double()
        return kernels.KernelInputs(place, whole, torch.randn(1, n, 4).double(), nothing, nothing)

    seen, ahead = inputs(4), inputs(3)
    y = scores.normal_scores(torch.tensor([[1.0, 3.0, 2.0, 9.0]]))
    belief = gp_ensemble.predict(gp_members.ensemble(members), seen, y, ahead)

    def k(a, b):
        whole = (a.path_stats[0, :, None] - b.path_stats[0, None]).square().sum(-1) / 2
        place = (a.one_hot[0, :, None] - b.one_hot[0, None]).square().sum(-1)
        pair = (a.op_pairs[0, :, None] - b.op_pairs[0, None]).square().sum(-1)
        return 0.5 * torch.exp(-whole) + 0.3 * torch.exp(-place / 6) + 0.2 * torch.exp(-pair)

    unit = 1 - k(seen, seen).mean() + 0.1 * (1 - 1 / 4)
    gram = k(seen, seen) / unit + 1.0 + 0.1 / unit * torch.eye(4, dtype=torch.float64)
    cross = k(seen, ahead) / unit + 1.0
    torch.testing.assert_close(belief.mean[0, 0], cross.T @ torch.linalg.solve(gram, y[0]))
    variance = 1.1 / unit + 1.0 - (cross * torch.linalg.solve(gram, cross)).sum(0)
    torch.testing.assert_close(belief.std[0, 0], variance.sqrt())


@pytest.mark.parametrize("n", [1, 2, 9])
def test_members_of_one_kind_are_weighed_together_as_each_would_be_alone(n):
    generator = torch.Generator().manual_seed(2)
    members = gp_members.hypotheses(torch.tensor([0.7, 0.2, 0.1]))
    kinds = gp_members.unique_covariances(members)
    assert len(members.w_rbf) == 7 + 3 * 3 + 2
    assert kinds.unique.w_rbf.shape == (1, 7 + 3 + 2)
    seen = kernels.KernelInputs(*(torch.randn(4, n, f, generator=generator).double() for f in (3, 2, 4, 3, 5)))
    standing, among = scores.normal_scores(torch.randn(4, n, generator=generator)), kernels.kernel_matrices(seen, seen)
    found = gp_ensemble._fit(members, kinds.index, gp_ensemble._factorise(kinds.unique, among, seen.mean, standing))
    C_SHnn = gp_ensemble.covariance(among, gp_members.Hypotheses(*(x[None] for x in members)))
    for h, (at, noise) in enumerate(zip(members.mean_index.int().tolist(), members.signal_var * members.noise_ratio)):
        mean_Sn = (
            torch.zeros_like(standing) if at < 0 else seen.mean[..., at] - seen.mean[..., at].mean(1, keepdim=True)
        )
        C_Snn = C_SHnn[:, h] + noise * torch.eye(n, dtype=torch.float64)
        spread_S = C_Snn.diagonal(dim1=1, dim2=2).mean(1) - C_Snn.mean((1, 2)) + mean_Sn.square().mean(1)
        scale_S = spread_S if n > 1 else torch.ones_like(spread_S)
        gram_Snn = C_Snn / scale_S[:, None, None] + 1.0
        alone = (
            MultivariateNormal(mean_Sn / scale_S.sqrt()[:, None], gram_Snn).log_prob(standing) + members.log_prior[h]
        )
        expected = alone + n / 2 * math.log(2 * math.pi)
        torch.testing.assert_close(found.log_marginal_likelihood[:, h], expected, rtol=1e-9, atol=1e-9)


def test_cells_that_agree_in_what_tasks_differ_by_are_believed_to_score_alike():
    members = gp_members.hypotheses(torch.tensor([1.0]))
    around = members.take(((members.mean_index == 0) & (members.component_var == 0)).nonzero().squeeze(-1))
    same = torch.zeros(1, 4, 2, dtype=torch.float64)
    span = torch.tensor([[[0.0], [3.0], [0.1], [1.5]]], dtype=torch.float64)
    every = kernels.KernelInputs(same, same, same, same[..., :1], span)
    seen = kernels.KernelInputs(*(x[:, :2] for x in every))
    y = scores.normal_scores(torch.tensor([[1.0, 0.0]]))
    belief = gp_ensemble.predict(gp_members.ensemble(around), seen, y, every)
    like_the_first, like_none = belief.mean[0, :, 2], belief.mean[0, :, 3]
    assert (like_the_first > like_none + 0.1).all()
    assert (belief.std[0, :, 2] < belief.std[0, :, 3]).all()


def test_expected_improvement_is_its_integral():
    mean, deviation, best = torch.tensor([0.3]).double(), torch.tensor([0.7]).double(), torch.tensor([0.5]).double()
    x = torch.linspace(-8, 8, 400_001).double()
    density = torch.exp(-((x - mean) / deviation).square() / 2) / (deviation * (2 * torch.pi) ** 0.5)
    integral = torch.trapezoid((x - best).clamp_min(0) * density, x)
    torch.testing.assert_close(scores.expected_improvement(mean, deviation, best)[0], integral, rtol=1e-6, atol=1e-9)


def test_standing_depends_on_order_alone_and_failures_stand_last():
    score = torch.tensor([[1.0, torch.nan, 5.0, 2.0]])
    stand = scores.normal_scores(score)
    torch.testing.assert_close(stand, scores.normal_scores(torch.tensor([[10.0, torch.nan, 1e6, 11.0]])))
    assert stand.argmin() == 1
    torch.testing.assert_close(stand.square().mean(), torch.tensor(1.0).double())


def test_new_scores_are_placed_between_and_beyond_the_earlier_ones():
    score = torch.tensor([[1.0, 2.0, 4.0]])
    stand = scores.normal_scores(score)
    placed = scores.normal_scores_relative_to(score, torch.tensor([[2.0, 3.0, 4.0, 400.0, -400.0]]))
    torch.testing.assert_close(placed[0, 0], stand[0, 1])
    torch.testing.assert_close(placed[0, 1], (stand[0, 1] + stand[0, 2]) / 2)
    torch.testing.assert_close(placed[0, 3:], torch.stack([stand[0, 2] + 1.5, stand[0, 0] - 1.5]))
    torch.testing.assert_close(
        placed, scores.normal_scores_relative_to(score * 7 - 3, torch.tensor([[2.0, 3, 4, 400, -400]]) * 7 - 3)
    )


def test_pace_is_the_logarithm_of_seconds_in_deviations_and_nothing_where_they_tell_nothing():
    nan = float("nan")
    seconds = torch.tensor([[1.0, 4.0, 2.0, 2.0], [7.0, 7.0, 7.0, 7.0], [1.0, nan, 0.0, 4.0], [3.0, nan, nan, 0.0]])
    root = 2.0**0.5
    expected = torch.tensor([[-root, root, 0, 0], [0, 0, 0, 0], [-1, 0, 0, 1], [0, 0, 0, 0]]).double()
    torch.testing.assert_close(task_features.standardised_log_cost(seconds), expected)
    torch.testing.assert_close(task_features.standardised_log_cost(60 * seconds), expected)


def test_the_network_reads_what_evaluations_cost():
    controller, prior, seeds = AttentionPolicy(SPACE), untrained(), torch.arange(4)
    prior.params["policy/cost_embedding"] = torch.randn(cell_encoder.WIDTH)
    for name, weights in transformer.TaskTransformer().state_dict().items():
        if name.startswith("prediction_head."):  # Only training has it; no prior's file does.
            prior.params[f"policy/{name}"] = weights
    seen = controller.propose(controller.begin(_toys.TASK, seeds, prior), 12)
    score = torch.rand(4, 12)
    predicted = {}
    for name, cost in (
        ("dear", 1 + torch.rand(4, 12)),
        ("flat", torch.ones(4, 12)),
        ("unknown", torch.full((4, 12), torch.nan)),
    ):
        state = controller.learn(controller.begin(_toys.TASK, seeds, prior), seen, Results(score, cost))
        predicted[name] = attention.predict(transfer_model.find(SPACE, state.prior), state, seen.archs)
    assert not torch.allclose(predicted["dear"][1], predicted["flat"][1], atol=1e-3)
    torch.testing.assert_close(predicted["unknown"], predicted["flat"])


@pytest.mark.parametrize("space", LISTED, ids=lambda s: s.name)
def test_policy_samples_have_the_probability_that_they_are_said_to_have(space):
    torch.manual_seed(0)
    reader, sketch = transformer.TaskTransformer().double(), cell_encoder.encode_space(space, torch.float64)
    mood = torch.randn(1, 1, cell_encoder.WIDTH).double()
    every = _ops.enumerate_all(space.choices)[:, : len(space.choices)]
    every = every[space.valid(every)][None]
    with torch.no_grad():
        total = attention.log_prob(reader, space, sketch, mood.expand(1, every.shape[1], -1), every).exp().sum()
    torch.testing.assert_close(total, torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("space", LISTED, ids=lambda space: space.name)
def test_samples_are_drawn_by_the_probabilities_that_they_are_said_to_have(space):
    torch.manual_seed(0)
    reader, sketch = transformer.TaskTransformer().double(), cell_encoder.encode_space(space, torch.float64)
    archs = _sampling.sample(space, torch.arange(3), 0, 5, stream=1)
    mood, options = torch.randn(3, 1, cell_encoder.WIDTH).double(), reader.encoder.options(sketch)
    choosing, prefix = reader.cached_policy(sketch, mood), torch.zeros(3, 5, cell_encoder.WIDTH).double()
    added = torch.zeros(3, 5, 2 * cell_encoder.WIDTH).double()
    for d in range(len(space.choices)):
        aim = reader.policy_logits(sketch, options, mood.expand(-1, 5, -1), prefix, d)
        torch.testing.assert_close(choosing.logits(added, d), aim, atol=1e-12, rtol=1e-12)
        prefix, added = prefix + options[d][archs[..., d]], added + choosing.prefix_update[d][archs[..., d]]


@pytest.mark.parametrize("space", LISTED, ids=lambda space: space.name)
def test_what_cells_share_is_computed_once_and_comes_out_the_same(space):
    torch.manual_seed(0)
    cells, sketch = transformer.TaskTransformer().double().encoder, cell_encoder.encode_space(space, torch.float64)
    archs = _sampling.sample(space, torch.zeros(1, dtype=torch.long), 0, 1200, stream=1).squeeze(0)
    described = features.describe(space, torch.cat([archs, archs[:20]]))
    alone = cells(sketch, described.archs, described.path_stats)
    torch.testing.assert_close(
        cells.encode_all(sketch, described.archs, described.path_stats), alone, atol=1e-12, rtol=1e-12
    )


def test_a_warm_search_keeps_the_laws():
    controller, prior, seeds = TransferBO(SPACE), untrained(), torch.arange(6)
    run = _toys.evaluate(SPACE, failing=0.1)
    archs, _, state = _toys.walk(controller, run, seeds, 3, 5, controller.begin(_toys.TASK, seeds, prior))
    alone = controller.begin(_toys.TASK, seeds[2:3], prior)
    fewer, _, _ = _toys.walk(controller, run, seeds[2:3], 3, 5, alone)
    assert torch.equal(fewer, archs[2:3])
    ranks = _ops.index(archs.flatten(1, 2), SPACE.choices)
    assert all(len(set(row)) == len(row) for row in ranks.tolist())
    assert ((controller.prior_weight(state) >= 0) & (controller.prior_weight(state) <= 1)).all()


def _searched(score_N, prior, evaluations=20, **settings):
    controller, seeds = TransferBO(SPACE, **settings), torch.arange(2)
    state = controller.begin(_toys.TASK, seeds, prior)
    for _ in range(evaluations):
        proposal = controller.propose(state, 1)
        score = score_N[features.row_of(SPACE, proposal.archs)]
        state = controller.learn(state, proposal, Results(score.float(), torch.zeros_like(score)))
    return controller, state


def test_a_task_that_the_prior_foretells_looks_familiar_and_others_do_not():
    prior = untrained()
    mean = transfer_model.make(SPACE, prior).all_features.mean
    noise = torch.randn(len(mean), generator=torch.Generator().manual_seed(3))
    known = mean[:, 1] + 0.3 * noise
    assert "tasks: high (" in task_similarity.describe_similarity(*_searched(known, prior))
    for strange in (noise, -known):
        assert "tasks: low (" in task_similarity.describe_similarity(*_searched(strange, prior))


def test_noise_seldom_looks_familiar_and_a_few_evaluations_say_nothing():
    prior = prior_file.read(str(priors.SHIPPED))
    controller, seeds, luck = TransferBO(SPACE), torch.arange(100), torch.Generator().manual_seed(0)
    state, looked = controller.begin(_toys.TASK, seeds, prior), []
    for _ in range(4):
        proposal = controller.propose(state, 4)
        noise = torch.rand(proposal.archs.shape[:2], generator=luck)
        state = controller.learn(state, proposal, Results(noise, torch.zeros_like(noise)))
        looked.append((controller.prior_correlation(state) > 0.35).float().mean())
    assert sum(looked[1:]) / 3 <= 0.08
    early = state._replace(
        archs=state.archs[:, :4], score=state.score[:, :4], constraint_ratio=state.constraint_ratio[:, :4]
    )
    assert "It takes scores of 8 different architectures; there are 4." in task_similarity.describe_similarity(
        controller, early
    )
    repeated = state._replace(archs=state.archs[:, :1].expand_as(state.archs))
    assert task_similarity.describe_similarity(controller, repeated).endswith("different architectures; there is 1.")
    failed = state._replace(score=state.score.clone().index_fill_(1, torch.arange(7, 16), torch.nan))
    assert task_similarity.describe_similarity(controller, failed).endswith("there are 7.")


def test_beliefs_do_not_try_twins_again_where_they_score_alike():
    described = features.enumerate_valid(SPACE)
    kin = features.index_of(SPACE, SPACE.canonical(described.archs))
    score = torch.rand(int(kin.max()) + 1, generator=torch.Generator().manual_seed(0))[kin]
    _, state = _searched(score, None, 40, patience=1000)
    tried = features.index_of(SPACE, SPACE.canonical(state.archs))
    assert all(len(set(row)) >= 38 for row in tried.tolist())


def test_a_stalled_search_explores_at_every_second_evaluation_without_a_prior_by_bayesian_optimisation():
    score = torch.zeros(2, 20)
    score[:, 3], score[1, 15] = 1.0, 2.0
    assert exploration.no_improvement(score, 8).tolist() == [True, False]
    controller, seeds = TransferBO(SPACE), torch.arange(2)
    archs = _ops.enumerate_all(SPACE.choices)[:20].expand(2, -1, -1)
    state = controller.begin(_toys.TASK, seeds)._replace(
        archs=archs, score=score, constraint_ratio=torch.zeros(2, 20, 0)
    )
    explore, explored = exploration.explore(transfer_model.make(SPACE), state, 8, 8, 0.5)
    assert explore.int().tolist() == [[0, 1, 0, 1, 0, 1, 0, 1], [0] * 8]
    plain = GaussianProcess(SPACE).next(
        state._replace(seeds=seeds[:1], step=state.step[:1], archs=archs[:1], score=score[:1])
    )
    assert torch.equal(explored[0], plain[0, :4])
    assert torch.equal(controller.propose(state, 2).archs[0, 1], plain[0, 0])


@pytest.mark.parametrize("share", [0.0, 0.25, 0.3, 0.5])
def test_the_share_that_explores_is_the_one_asked_for(share):
    state = TransferBO(SPACE).begin(_toys.TASK, torch.arange(1))
    state = state._replace(archs=_ops.enumerate_all(SPACE.choices)[None, :20], score=-torch.arange(20.0)[None])
    explore, _ = exploration.explore(transfer_model.make(SPACE), state, 40, 8, share)
    assert explore.sum() == 40 * share


def test_candidates_that_are_news_come_first_whatever_the_others_of_their_batch():
    ranks, tried = torch.tensor([[5, 3, 5, 7, 3, 9]]), torch.tensor([[7, 8]])
    assert _ops.first_unseen(ranks, tried).tolist() == [[True, True, False, False, False, True]]
    controller, seeds = TransferBO(SPACE), torch.arange(5)
    _, _, state = _toys.walk(controller, _toys.evaluate(SPACE), seeds, 8, 4)

    def ask(state):
        return pool.candidate_pool(transfer_model.make(SPACE), state, controller._history(state), 0, 4)

    archs, fresh = ask(state)
    assert fresh.int().diff(dim=-1).amax() <= 0
    assert fresh.all(-1).any()
    alone, _ = ask(type(state)(*(field[2:3] for field in state)))
    count = int(fresh[2].sum())
    assert torch.equal(alone[:, :count], archs[2:3, :count])


def test_landmarks_are_each_the_farthest_from_those_before():
    model = transfer_model.make(SPACE, untrained())
    along, rows = model.all_features.components[:, :8], exploration.farthest_first(model)
    assert rows[0] == model.prior_ranking[0]
    for count in (1, 2, 7, 30):
        apart = torch.cdist(along, along[rows[:count]], compute_mode="donot_use_mm_for_euclid_dist").amin(1)
        assert apart[rows[count]] == pytest.approx(apart.max().item())
    assert len(rows.unique()) == len(rows)


def _stale_after(score_N, prior, settings, evaluations=40):
    """Two searches that found the same, the best first, and a proposal of four."""
    controller, seeds = TransferBO(SPACE, **settings), torch.arange(2)
    state = controller.begin(_toys.TASK, seeds, prior)
    archs = _ops.enumerate_all(SPACE.choices)[torch.randperm(15625, generator=torch.Generator().manual_seed(1))]
    value_E, order_E = score_N[features.row_of(SPACE, archs[:evaluations])].sort(descending=True)
    archs, score = archs[order_E].expand(2, -1, -1), value_E.expand(2, -1)
    state = state._replace(
        archs=archs, score=score.float(), cost=torch.zeros_like(score), constraint_ratio=torch.zeros(2, evaluations, 0)
    )
    return controller, state, controller.propose(state, 4).archs


def test_with_a_prior_every_second_exploration_goes_where_no_task_has_its_best():
    prior = untrained()
    model = transfer_model.make(SPACE, prior, _toys.TASK)
    strange = torch.randn(SPACE_SIZE, generator=torch.Generator().manual_seed(3))
    net = features.enumerate_valid(SPACE).archs[exploration.farthest_first(model)]
    _, state, archs = _stale_after(strange, prior, {})
    left = net[~_ops.isin(*(features.index_of(SPACE, x) for x in (net[None], state.archs[:1]))).squeeze(0)]
    plain = GaussianProcess(SPACE).next(state)
    assert torch.equal(archs[:, 1], plain[:, 0])
    assert torch.equal(archs[:, 3], left[:1].expand(2, -1))
    for settings in ({"explore_share": 0.0}, {"patience": 1000}):
        _, state, archs = _stale_after(strange, prior, settings)
        assert not torch.equal(archs[:, 3], left[:1].expand(2, -1))


def test_members_expect_the_spread_of_the_cells_seen():
    """Draws of a member's own process at cells that lie close have, on average, the variance it allows for."""
    seen = kernels.KernelInputs(*(x[None, :30] for x in transfer_model.make(SPACE).all_features))
    members = gp_members.Hypotheses(*(x[None, :1] for x in gp_members.hypotheses(None)))
    among = kernels.kernel_matrices(seen, seen)
    factors = gp_ensemble._factorise(members, among, seen.mean, torch.zeros(1, 30, dtype=torch.float64))
    fit = gp_ensemble._fit(members.take(0), torch.zeros(1, dtype=torch.long), factors)
    own = members.signal_var * members.noise_ratio
    root = torch.linalg.cholesky(
        gp_ensemble.covariance(among, members)[0, 0] + own * torch.eye(30, dtype=torch.float64)
    )
    draws = root @ torch.randn(30, 20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(draws.var(0, correction=0).mean(), fit.scale[0, 0], rtol=0.03, atol=0)


def test_a_batch_has_no_twins():
    controller, seeds = TransferBO(SPACE), torch.arange(3)
    _, _, state = _toys.walk(controller, _toys.evaluate(SPACE), seeds, 4, 2)
    archs = controller.propose(state, 40).archs
    twins = _ops.index(SPACE.canonical(archs), SPACE.choices)
    assert all(len(set(row)) == len(row) for row in twins.tolist())


def test_a_state_whose_prior_is_not_loaded_says_so():
    controller = TransferBO(SPACE)
    state = controller.begin(_toys.TASK, torch.arange(1))._replace(prior=torch.tensor([12345]))
    with pytest.raises(UserError, match="not loaded"):
        controller.propose(state, 1)


@pytest.mark.parametrize("name", sorted(splits.splits()))
def test_what_a_split_holds_out_is_no_training_task_and_no_auxiliary_column(nasbench201, name):
    known = task_distribution.task_set(name)
    taught = [x.name for x in (*known.tasks, *known.auxiliary)]
    assert taught
    held_out = {
        "cifar10": ("/cifar10@", "/cifar10/", "/cifar10:", "robustness"),
        "cifar100": ("/cifar100@", "/cifar100/", "/cifar100:"),
        "imagenet": ("/ImageNet16-120@", "/ImageNet16-120/", "/ImageNet16-120:"),
        "robustness": ("robustness",),
        "devices": ("pixel3", "raspi4", "essential_ph_1", "1080ti"),
        "more-devices": ("samsung_a50", "gold_6240", "eyeriss", "titan"),
        "development-devices": ("2080ti", "fpga", "silver", "gold"),
        "own201": ("own201/",),
        "ninapro": ("ninapro",),
        "transnas-micro": ("transnas-micro/",),
        "natsbench-size": ("natsbench-size/",),
        "shipped": ("digits", "rsscn7", "own201-many"),
        "shipped-many": ("own201/digits", "own201-many/digits", "rsscn7", "own201-many/mnist", "usps"),
        "robustness-many": ("robustness", "-fgsm_", "-pgd_"),
        "everything": (),
    }[name]
    assert not [x for x in taught for part in held_out if part in x]


def test_no_score_is_an_auxiliary_column(nasbench201):
    names = [x.name for x in task_distribution.auxiliary_columns(())]
    assert "nasbench201/cifar10/train_seconds@200" in names
    assert not [x for x in names if "accuracy" in x and "train_accuracy" not in x]


def test_an_auxiliary_value_that_was_not_measured_is_that_of_its_equivalents(nasbench201):
    name = "nasbench201-zerocost/cifar10/jacov"
    found = next(x for x in task_distribution.auxiliary_columns(()) if x.name == name)
    described = features.enumerate_valid(SPACE)
    ranks = features.index_of(SPACE, described.archs)
    known = ~tables.find("nasbench201-zerocost").by_index("cifar10/jacov", SPACE.choices)[ranks].isnan()
    kin = features.index_of(SPACE, SPACE.canonical(described.archs))
    filled = 0
    for row in (~known).nonzero().squeeze(-1)[::97].tolist():
        twins = found.normal_scores[known & (kin == kin[row])]
        if len(twins):
            filled += 1
            assert twins.min() - 1e-2 <= found.normal_scores[row] <= twins.max() + 1e-2
        else:
            assert found.normal_scores[row] == 0
    assert filled > 30


def test_a_prior_of_another_format_is_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "p.safetensors", {"format": "other"})
    with pytest.raises(UserError, match="has format 'other'"):
        prior_file.read(str(tmp_path / "p.safetensors"))


@pytest.mark.skipif(not priors.SHIPPED.is_file(), reason="needs the shipped prior")
def test_the_shipped_prior_says_what_it_was_trained_on_and_is_small():
    prior = prior_file.read(str(priors.SHIPPED))
    assert priors.SHIPPED.stat().st_size < 8 * 2**20
    assert json.loads(prior.about["tasks"])
    assert "nasbench201/cifar10/train_seconds@200" in json.loads(prior.about["auxiliary_columns"])
    assert "digits" not in prior.about["tasks"] + prior.about["auxiliary_columns"]
    assert prior.about["command"].startswith("nas meta-train")
    elsewhere = prior.params["spaces/nasbench201/task_coords"].isnan().all(1)
    spaces = [name.startswith(("natsbench-size", "transnas")) for name in json.loads(prior.about["tasks"])]
    assert elsewhere.tolist() == spaces
