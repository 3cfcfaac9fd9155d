"""A deep kernel against dense formulas, a neural process by its symmetry, and metrics of tasks by hand."""

import math
from dataclasses import replace

import pytest
import torch

from controller import Prior, Proposal, Results
from controller.meta.meta_surrogate import MetaSurrogate
from controller.meta.neural_process import NeuralProcess as Learner
from controller.meta.task_metric import TaskMetric
from controller.models import learned_surrogates as surrogates
from controller.models import task_metrics
from controller.models.learned_surrogates import DeepKernel, NeuralProcess
from controller.probed_portfolio import ProbedPortfolio
from controller.surrogate_bo import SurrogateBO
from nas.meta import outer_loop
from nas.testing import synthetic_tasks
from nas.testing.synthetic_tasks import SPACE, TASKS
from search_spaces import UserError, _ops, _sampling

SEEDS = torch.arange(2)
ARCHS = _sampling.sample(SPACE, SEEDS, 0, 9)
ASKED = _sampling.sample(SPACE, SEEDS, 1, 5)
TARGET = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
NONE = synthetic_tasks.task_set(synthetic_tasks.scores(0))


def params(learner, copies=2):
    return {n: p.repeat(copies, *[1] * (p.dim() - 1)) for n, p in learner.init(torch.tensor([0])).params.items()}


def test_the_likelihood_is_that_of_a_multivariate_normal():
    learner = MetaSurrogate(NONE, space=SPACE.name)
    own, x = params(learner, 1), _ops.one_hot(ARCHS, SPACE.choices)
    z = surrogates.embed(own, x)
    covariance = torch.exp(-(z[:, :, None] - z[:, None]).square().sum(-1) / 2) + 0.1 * torch.eye(9)
    normal = torch.distributions.MultivariateNormal(torch.zeros(9), covariance)
    expected = (normal.log_prob(TARGET) + 9 / 2 * math.log(2 * math.pi)) / 9
    torch.testing.assert_close(learner.log_likelihood(own, x, TARGET), expected, rtol=1e-4, atol=1e-5)


def test_the_posterior_is_the_dense_formula_at_the_likeliest_length():
    """Rasmussen & Williams 2006, equations 2.23 and 2.24."""
    own = params(MetaSurrogate(NONE, space=SPACE.name))
    mean, std = DeepKernel(SPACE, params=own)._posterior(ARCHS, TARGET, ASKED)
    for s in range(2):
        one = {n: p[s].double() for n, p in own.items()}
        z, z_asked = (surrogates.embed(one, _ops.one_hot(a[s], SPACE.choices).double()) for a in (ARCHS, ASKED))
        found = []
        for length in (0.5, 1.0, 2.0):
            k, cross, both = (
                torch.exp(-torch.cdist(a, b).square() / (2 * length**2))
                for a, b in ((z, z), (z, z_asked), (z_asked, z_asked))
            )
            noisy = k + 0.1 * torch.eye(9)
            y = TARGET[s].double()
            likely = -(y @ noisy.inverse() @ y + noisy.logdet()) / 2
            variance = (both - cross.T @ noisy.inverse() @ cross).diagonal()
            found.append((float(likely), cross.T @ noisy.inverse() @ y, variance.sqrt()))
        _, expected, deviation = max(found, key=lambda x: x[0])
        torch.testing.assert_close(mean[s], expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(std[s], deviation, rtol=1e-5, atol=1e-6)


def test_a_neural_process_forgets_the_order_and_reads_scores_in_their_own_unit():
    surrogate = NeuralProcess(SPACE, params=params(Learner(NONE, space=SPACE.name)))
    mean, std = surrogate._posterior(ARCHS, TARGET, ASKED)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    turned = surrogate._posterior(ARCHS[:, order], TARGET[:, order], ASKED)
    larger = surrogate._posterior(ARCHS, 3 * TARGET, ASKED)
    for again, by in ((turned, 1), (larger, 3)):
        torch.testing.assert_close(again[0], by * mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(again[1], by * std, rtol=1e-5, atol=1e-6)
    assert (std >= 0.1 * TARGET.square().mean(1).sqrt().min()).all()


@pytest.mark.parametrize("kind", [(DeepKernel, MetaSurrogate), (NeuralProcess, Learner)], ids=["kernel", "process"])
def test_a_search_is_predicted_alike_alone_and_in_company(kind):
    own = params(kind[1](NONE, space=SPACE.name))
    both = kind[0](SPACE, params=own)._posterior(ARCHS, TARGET, ASKED)
    alone = kind[0](SPACE, params={n: p[1:] for n, p in own.items()})._posterior(ARCHS[1:], TARGET[1:], ASKED[1:])
    assert all(torch.equal(a[1:], b) for a, b in zip(both, alone))


@pytest.mark.parametrize("learner", [MetaSurrogate, Learner], ids=["kernel", "process"])
def test_a_surrogate_learns_from_no_task_with_a_constraint(learner):
    scores = NONE.tasks[0].normal_scores
    limited = [
        x._replace(task=replace(x.task, constraints=(1.0,)), family="device", normal_scores=-scores) for x in NONE.tasks
    ]
    priors = []
    for known in (NONE, NONE._replace(tasks=(*NONE.tasks, *limited))):
        made = learner(known, space=SPACE.name, steps=2)
        state = outer_loop.untrained(made, 0)
        for progress in outer_loop.train(made, state, 0):
            state = progress.state
        priors.append(made.prior(state).params)
    for name, tensor in priors[0].items():
        assert torch.equal(tensor, priors[1][name]), name


INPUTS = 2
KNOWN = torch.tensor([[0.0, 1.0], [0.0, 3.0], [2.0, 0.0]])
NEW = torch.tensor([[0.0, 2.0]])
MEMBER = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
"""Two known tasks of the first family, one of the second."""


def by_hand(metric):
    """Numbers under which the embedding of an input is its tanh."""
    own = {"w1": torch.eye(2), "b1": torch.zeros(2), "w2": torch.eye(2), "gain": torch.tensor(2.0)}
    own |= {"alpha": torch.tensor([-1.0, -3.0]), "bias": torch.tensor(0.5)} if metric == "siamese" else {}
    r1 = torch.cat([torch.eye(2), -torch.eye(2)])
    return own | ({"r1": r1, "r2": torch.tensor([1.0, -2.0])} if metric == "relation" else {})


def test_metrics_of_tasks_worked_by_hand():
    a, (k1, k2, k3) = NEW[0].tanh(), KNOWN.tanh()
    first, second = ((a - mean).square().sum() for mean in ((k1 + k2) / 2, k3))
    likely = float((-2 * first).exp() / ((-2 * first).exp() + (-2 * second).exp()))
    sigmoid = torch.sigmoid
    expected = {
        "prototypical": [likely, likely, 1 - likely],
        # The cosine of (0, x) with (0, y) is 1, with (x, 0) it is 0.
        "matching": [math.exp(2) / (2 * math.exp(2) + 1)] * 2 + [1 / (2 * math.exp(2) + 1)],
        "siamese": [float(sigmoid(2 * (0.5 - (a - k).abs()[0] - 3 * (a - k).abs()[1]))) for k in (k1, k2, k3)],
        "relation": [float(sigmoid(2 * ((a - k).relu()[0] - 2 * (a - k).relu()[1]))) for k in (k1, k2, k3)],
    }
    for metric, values in expected.items():
        found = task_metrics.similarity(metric, by_hand(metric), NEW, KNOWN, MEMBER)
        torch.testing.assert_close(found, torch.tensor([values]), rtol=1e-5, atol=1e-6)


def test_losses_of_metrics_worked_by_hand():
    family = torch.tensor([0])
    for metric in ("prototypical", "matching", "siamese", "relation"):
        own = by_hand(metric)
        (found,) = task_metrics.similarity(metric, own, NEW, KNOWN, MEMBER).double()
        same, other = found[:2], found[2]
        expected = {
            "prototypical": -same[0].log(),
            "matching": -same.sum().log(),
            "siamese": (-same.log().mean() - (1 - other).log()) / 2,
            "relation": ((1 - same).square().mean() + other.square()) / 2,
        }[metric]
        loss = task_metrics.loss(metric, own, NEW, KNOWN, MEMBER, family)[0].double()
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("metric", ["prototypical", "matching", "siamese", "relation"])
def test_a_metric_learns_to_tell_families_apart(metric):
    learner = TaskMetric(NONE, space=SPACE.name, metric=metric, steps=60, probes=4)
    state = outer_loop.untrained(learner, 0)
    losses = [progress.metrics["loss"] for progress in outer_loop.train(learner, state, 0)]
    assert sum(losses[-5:]) / 5 < 0.8 * losses[0]


def test_probes_that_end_in_another_order_weigh_the_tasks_alike():
    learner = TaskMetric(NONE, space=SPACE.name, steps=60, probes=4)
    *_, trained = outer_loop.train(learner, outer_loop.untrained(learner, 0), 0)
    prior = learner.prior(trained.state)
    controller = ProbedPortfolio(SPACE)

    def order(ended):
        state = controller.begin(TASKS["wide"], SEEDS, prior)
        archs = controller.propose(state, 4).archs[:, ended]
        scores = _ops.index(archs, SPACE.choices).float() % 7
        for i in range(4):
            state = controller.learn(state, Proposal(archs[:, i : i + 1]), Results(scores[:, [i]], scores[:, [i]]))
        assert state.place.tolist() == [4, 4]
        return state.order[:, 4:], state.score

    (expected, probes), (found, same) = order([0, 1, 2, 3]), order([2, 3, 1, 0])
    assert torch.equal(found, expected)
    assert torch.equal(probes, same)
    unasked = controller.begin(TASKS["wide"], SEEDS, prior).order[:, 4:]
    assert not torch.equal(found, unasked), "the probes' scores change nothing"


def test_priors_of_another_space_are_refused():
    prior = Prior({}, {"controller": "x", "space": "mine"})
    for controller in (SurrogateBO(SPACE), ProbedPortfolio(SPACE)):
        with pytest.raises(UserError, match=r"(on|for) 'mine'"):
            controller.begin(TASKS["wide"], SEEDS, prior)
