"""The Gaussian process of `bayesian`, and the evidence for the hypotheses of `transfer_bo`, against their textbook formulas."""

import torch
from torch.distributions import MultivariateNormal

from controller import Proposal, Results
from controller.models import gp, gp_ensemble, gp_members, kernels, scores, transfer_model
from controller.transfer_bo import TransferBO
from search_spaces import _ops, _sampling
from search_spaces.nasbench201 import NasBench201
from tests import _toys

SPACE = NasBench201()


class Searched:
    """Two searches of twelve architectures, one of which failed: two neighbors that are the best, the others random."""

    seeds, step = torch.tensor([3, 4]), torch.tensor([12, 12])
    archs = _sampling.sample(SPACE, seeds, 0, 12)
    archs[:, 1] = _ops.neighbours(archs[:, 0], SPACE.choices)[:, 0]
    score = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))
    score[:, 0], score[:, 1], score[:, 5] = 5.0, 4.0, torch.nan


def _differ(a, b):
    """In how many features of one-hot decisions architectures differ."""
    return 2.0 * (a[:, None] != b[None]).sum(-1)


def test_the_posterior_is_that_of_a_gaussian_process_of_the_likeliest_length():
    process = gp.GaussianProcess(SPACE, noise=0.1)
    ahead = _sampling.sample(SPACE, Searched.seeds, 7, 30)
    target = scores.rank_quantiles(Searched.score)
    mean, std = process._posterior(Searched.archs, target.float(), ahead)
    for s, (archs, y) in enumerate(zip(Searched.archs, target)):
        apart, cross = _differ(archs, archs).double(), _differ(archs, ahead[s]).double()
        covariances = {length: (-apart / length).exp() + 0.1 * torch.eye(12) for length in gp._LENGTHS}
        zero = torch.zeros(12, dtype=torch.float64)
        length = max(covariances, key=lambda x: MultivariateNormal(zero, covariances[x]).log_prob(y))
        k = (-cross / length).exp()
        solved = torch.linalg.solve(covariances[length], k)
        torch.testing.assert_close(mean[s].double(), solved.T @ y, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(std[s].double().square(), 1 - (k * solved).sum(0), atol=1e-4, rtol=1e-4)


def test_what_is_tried_next_is_new_and_of_the_highest_expected_improvement_among_neighbors_of_the_best():
    process = gp.GaussianProcess(SPACE, num_incumbents=2, num_random_candidates=5)
    queue = process.next(Searched)
    gain = process._expected_improvement(Searched, queue)
    assert (gain[:, :20].diff(dim=1) <= 0).all()  # Where candidates run out, random ones follow.
    assert not _ops.isin(*(_ops.index(x, SPACE.choices) for x in (queue, Searched.archs))).any()
    best = torch.tensor([0, 1])
    for s, candidates in enumerate(process._candidates(Searched)[:, :-5]):
        assert (_differ(candidates, Searched.archs[s, best]) <= 2).any(1).all()
        around = _ops.neighbours(Searched.archs[s, best], SPACE.choices).flatten(0, 1)
        new = ~_ops.isin(*(_ops.index(x, SPACE.choices) for x in (around, Searched.archs[s])))
        expected = process._expected_improvement(Searched, around[new].expand(2, -1, -1))[s]
        assert gain[s, 0] >= expected.max()


def test_hypotheses_are_weighted_by_their_marginal_likelihood_times_their_prior_probability():
    rows = [
        [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.1, -1.0, 0.0, -0.3],
        [0.0, 1.0, 0.0, 0.0, 0.0, 0.5, 0.4, -1.0, 0.0, -1.5],
        [0.5, 0.0, 0.5, 0.0, 0.0, 1.0, 0.2, 0.0, 0.0, -2.5],
    ]
    members = gp_members.Hypotheses(*torch.tensor(rows, dtype=torch.float64).T)
    generator = torch.Generator().manual_seed(1)
    seen = kernels.KernelInputs(*(0.5 * torch.randn(1, 9, f, generator=generator).double() for f in (3, 2, 4, 1, 0)))
    y = scores.normal_scores(torch.randn(1, 9, generator=generator))
    found = gp_ensemble.predict(gp_members.ensemble(members), seen, y, seen)

    def kernel(x, width):
        return torch.exp(-(x[0, :, None] - x[0, None]).square().sum(-1) / width)

    parts = kernel(seen.path_stats, 2), kernel(seen.one_hot, 6), kernel(seen.op_pairs, 1)
    log_weight = []
    for w_rbf, w_one_hot, w_pairs, _, _, signal, noise, at, _, log_prior in rows:
        C = signal * (w_rbf * parts[0] + w_one_hot * parts[1] + w_pairs * parts[2])
        mean = torch.zeros(9, dtype=torch.float64) if at < 0 else seen.mean[0, :, 0] - seen.mean.mean()
        scale = mean.square().mean() + C.diagonal().mean() - C.mean() + signal * noise * (1 - 1 / 9)
        gram = C / scale + 1.0 + signal * noise / scale * torch.eye(9)
        log_weight.append(MultivariateNormal(mean / scale.sqrt(), gram).log_prob(y[0]) + log_prior)
    expected = torch.stack(log_weight).softmax(0)
    order = found.weight[0].argsort(), expected.argsort()
    torch.testing.assert_close(found.weight[0, order[0]], expected[order[1]])
    torch.testing.assert_close(found.prior_weight[0], expected[2])


def test_the_likeliest_hypotheses_are_kept():
    members = gp_members.hypotheses(torch.tensor([0.7, 0.2, 0.1]))
    generator = torch.Generator().manual_seed(2)
    seen = kernels.KernelInputs(*(torch.randn(1, 9, f, generator=generator).double() for f in (3, 2, 4, 3, 5)))
    y = scores.normal_scores(torch.randn(1, 9, generator=generator))
    kinds = gp_members.unique_covariances(members)
    factors = gp_ensemble._factorise(kinds.unique, kernels.kernel_matrices(seen, seen), seen.mean, y)
    evidence = gp_ensemble._fit(members, kinds.index, factors).log_marginal_likelihood[0]
    assert len(evidence) > gp_ensemble._KEEP
    expected = evidence.sort(descending=True).values[: gp_ensemble._KEEP].softmax(0)
    found = gp_ensemble.predict(gp_members.ensemble(members), seen, y, seen).weight[0].sort(descending=True).values
    torch.testing.assert_close(found, expected)


def test_a_model_conditions_on_the_best_and_the_latest_by_hand():
    score = torch.tensor([[5.0, 1.0, torch.nan, 4.0, 3.0, 2.0, 0.0, 1.0]])
    assert scores.context_window(score, 4).tolist() == [[0, 3, 6, 7]]
    assert scores.context_window(score, 8).tolist() == [list(range(8))]


def test_transfer_bo_expects_improvement_over_the_best():
    controller = TransferBO(SPACE)
    state = controller.begin(_toys.TASK, Searched.seeds)
    proposal = Proposal(Searched.archs)
    state = controller.learn(state, proposal, Results(Searched.score, torch.ones_like(Searched.score)))
    ahead = _sampling.sample(SPACE, Searched.seeds, 7, 30)
    model, history = transfer_model.find(SPACE, state.prior), controller._history(state)
    inputs = model.features(ahead)
    belief = controller._posterior(model, history, inputs)
    best = scores.normal_scores(Searched.score).amax(1)[:, None, None]
    u = (belief.mean - best) / belief.std
    normal = torch.distributions.Normal(torch.zeros_like(u), torch.ones_like(u))
    gain = belief.std * (u * normal.cdf(u) + normal.log_prob(u).exp())
    expected = (belief.weight[..., None] * gain).sum(1)
    torch.testing.assert_close(controller._acquisition(model, state, history, ahead, inputs), expected)
