"""Meta-learners of a policy's start: exact expectations, meta-gradients against enumeration, finite differences, expansions."""

import itertools
import math

import pytest
import torch

from controller import Prior, TaskSet
from controller.learned_policy import LearnedPolicy
from controller.meta import _start
from controller.meta.maml import Maml
from controller.meta.reptile import Reptile
from controller.reinforce import Reinforce
from nas.meta import outer_loop, task_sampler
from nas.testing import synthetic_tasks
from search_spaces import Task, UserError
from search_spaces.nasbench201 import NasBench201
from tests import _toys

NONE = TaskSet((), ())
CHOICES = (3, 2)


def drawn(tasks=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    scores = torch.randn(tasks, *CHOICES, dtype=torch.float64, generator=g)
    return torch.randn(2, 3, dtype=torch.float64, generator=g), scores


def probability(logits, arch):
    return math.prod(logits[d, : CHOICES[d]].softmax(-1)[c] for d, c in enumerate(arch))


ARCHS = list(itertools.product(*map(range, CHOICES)))


def enumerated(logits, score):
    return sum(probability(logits, arch) * score[arch] for arch in ARCHS)


def test_the_expected_score_is_the_sum_over_all_architectures():
    logits, scores = drawn()
    found = _start.expected(scores, logits.expand(2, -1, -1), CHOICES)
    torch.testing.assert_close(found, torch.stack([enumerated(logits, s) for s in scores]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2])
def test_the_exact_meta_gradient_is_that_of_finite_differences(steps):
    learner, (logits, scores) = Maml(NONE, inner_steps=steps, inner_lr=0.7), drawn()
    leaf, towards = logits.clone().requires_grad_(), drawn(seed=1)[0]
    (slope,) = torch.autograd.grad(learner.exact(leaf, scores, None, 0).sum(), leaf)
    ahead, behind = (
        learner.exact((logits + sign * 1e-6 * towards).requires_grad_(), scores, None, 0).sum().detach()
        for sign in (1, -1)
    )
    torch.testing.assert_close((ahead - behind) / 2e-6, (slope * towards).sum(), rtol=1e-6, atol=1e-8)


def test_the_sampled_meta_gradient_is_without_bias_and_that_of_maml_without_the_draws_is_not():
    logits, scores = drawn(tasks=1)
    learner = Maml(NONE, inner_steps=1, inner_lr=0.7, samples=2)
    leaf = logits.clone().requires_grad_()

    def after(drawn_archs):
        """Where the inner step leads after a draw, a function of the logits."""
        log_p = sum(probability(leaf, arch).log() * scores[0][arch] for arch in drawn_archs) / 2
        return leaf + 0.7 * torch.autograd.grad(log_p, leaf, create_graph=True)[0]

    whole = sum(
        probability(leaf, a) * probability(leaf, b) * enumerated(after((a, b)), scores[0])
        for a, b in itertools.product(ARCHS, ARCHS)
    )
    (exact,) = torch.autograd.grad(whole, leaf)
    many = scores.expand(4000, *CHOICES)
    slopes = []
    for step in range(5):
        each = logits.expand(4000, -1, -1).clone().requires_grad_()
        # Tasks share nothing but their logits: with a copy for each, every task gives an estimate of its own.
        slopes.append(torch.autograd.grad(per_task(learner, each, many, step).sum(), each)[0])
    slopes = torch.cat(slopes)
    error = slopes.std(0) / len(slopes) ** 0.5
    known = ~_start._sampling.padding_mask(CHOICES)
    assert (((slopes.mean(0) - exact) / error)[known].abs() < 3).all()
    assert ((slopes.mean(0) - without_the_draws(leaf, scores[0], after)) / error)[known].abs().max() > 3


def per_task(learner, logits, scores, step):
    class Each:
        """Logits that are each task's own already."""

        def expand(self, *_):
            return logits

        shape, new_zeros = logits.shape[1:], logits.new_zeros

    return learner.sampled(Each(), scores, torch.tensor([3]), step)


def without_the_draws(leaf, score, after):
    """The mean gradient through the inner step alone, as Finn et al. 2017 estimate it."""
    whole = sum(
        (probability(leaf, a) * probability(leaf, b)).detach() * enumerated(after((a, b)), score)
        for a, b in itertools.product(ARCHS, ARCHS)
    )
    return torch.autograd.grad(whole, leaf)[0]


def test_reptile_follows_its_expansion():
    """Nichol et al. 2018, section 5.1: two steps go 2 alpha g + alpha^2 H g, but for alpha^3."""
    logits, scores = drawn(tasks=1)
    leaf = logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(_start.expected(scores, leaf[None], CHOICES).sum(), leaf, create_graph=True)
    (curved,) = torch.autograd.grad((slope * slope.detach()).sum(), leaf)
    left = []
    for rate in (0.02, 0.01):
        gone = Reptile(NONE, inner_lr=rate, inner_steps=2, entropy=0.0).ends(logits, scores)[0] - logits
        left.append((gone - 2 * rate * slope.detach() - rate**2 * curved).norm())
    assert left[0] / left[1] == pytest.approx(8, rel=0.1)


@pytest.mark.parametrize("learner", [Maml, Reptile])
def test_entropy_keeps_a_start_open(learner):
    tasks = synthetic_tasks.task_set(synthetic_tasks.scores(0))
    (sample,) = _batch(learner(tasks, space="transnas-micro"))
    found = []
    for entropy in (0.0, 1.0):
        made = learner(tasks, space="transnas-micro", entropy=entropy)
        state = made.init(torch.tensor([0]))
        for _ in range(8):
            state, metrics = made.update(state, (sample,))
        found.append(metrics["entropy"])
    assert found[0] < found[1]


@pytest.mark.parametrize("learner", [Maml, Reptile])
def test_a_training_goes_on_from_a_checkpoint_bitwise(learner, tmp_path):
    made = learner(synthetic_tasks.task_set(synthetic_tasks.scores(0)), space="transnas-micro", steps=4)
    state, (sample,), path = made.init(torch.tensor([0])), _batch(made), tmp_path / "checkpoint"
    for step in range(4):
        if step in (0, 2):
            outer_loop.save(path, state, {})
            again = outer_loop.load(path, made.init(torch.tensor([0])), {})
        state, _ = made.update(state, (sample,))
        again, _ = made.update(again, (sample,))
        assert torch.equal(state.logits, again.logits)


def _batch(learner):
    return task_sampler.build(learner.tasks).batch(learner.stages[0], 0, 0)


def nearly_certain(controller):
    """The first state of a search whose prior draws one architecture nine times of ten."""
    params = {"logits": torch.zeros(1, 6, 5)}
    params["logits"][..., 2] = 5.4
    if isinstance(controller, LearnedPolicy):
        params |= {"rates": torch.zeros(1, 6, 5), "window": torch.tensor([20.0])}
    return controller.begin(_toys.TASK, torch.arange(3), Prior(params, {"space": controller.space.name}))


@pytest.mark.parametrize("made", [Reinforce, LearnedPolicy])
def test_a_policy_with_a_prior_repeats_no_architecture_while_it_samples_others(made):
    """Before, a policy that was nearly certain evaluated the same again and again."""
    controller, scores = made(NasBench201()), _toys.evaluate(NasBench201())
    state = begun = nearly_certain(controller)
    (
        archs,
        *_,
    ) = _toys.walk(controller, scores, torch.arange(3), 10, 2, state)
    for found in archs.flatten(1, 2):
        assert len(found.unique(dim=0)) == 20
    # Without what was evaluated, as in a state of an earlier version, each step's first sample.
    plain = controller.propose(begun._replace(archs=None), 2).archs
    assert torch.equal(plain[:, 0], controller.propose(begun, 2).archs[:, 0])
    assert (plain[:, 0] == plain[:, 1]).all(-1).any()


@pytest.mark.parametrize("made", [Reinforce, LearnedPolicy])
def test_what_has_a_provisional_score_may_come_again(made):
    controller = made(NasBench201())
    begun = nearly_certain(controller)
    proposal = controller.propose(begun, 1)
    results = _toys.evaluate(controller.space)(proposal)
    for provisional in (False, True):
        given = results._replace(provisional=torch.full(results.score.shape, provisional))
        again = controller.propose(controller.learn(begun, proposal, given), 8).archs
        assert (again == proposal.archs).all(-1).any(1).tolist() == [provisional] * 3


def test_a_start_of_another_space_is_refused():
    prior = Prior({"logits": torch.zeros(1, 3, 2)}, {"controller": "reinforce", "space": "mine"})
    with pytest.raises(UserError, match="'mine', and the search is in 'nasbench201'"):
        Reinforce(NasBench201()).begin(Task("t", (3, 8, 8), 4), torch.arange(1), prior)
