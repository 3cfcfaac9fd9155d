"""The slope of second order: exact where losses are quadratic, close to automatic differentiation on a supernet."""

import pytest
import torch
import torch.nn.functional as F

from controller import Proposal
from nas.evaluators.supernet import Supernet
from nas.training import supernet
from nas.training.supernet_autograd import AutogradSupernet
from nas.training.supernet_program import Scored, SupernetPrograms, Weights
from nas.training.supernet_slope import Batches, second_order
from search_spaces import Skeleton, Task
from search_spaces.nasbench201 import NasBench201

SPACE, TASK, SKELETON = NasBench201(), Task("small", (2, 6, 5), 3), Skeleton(4, 1, 1)
FLOAT64 = torch.float64
OPTIONS = {"epochs": "1", "shared_evals": "3", "shared_steps": "2"}


class _Quadratic:
    """L_train = |w - A m|^2 / 2 and L_valid = |w - b|^2 / 2; a batch's labels say which of them is meant."""

    def __init__(self, A, b):
        self.A, self.b = A, b

    def _off(self, params, mixture, labels):
        return params - (self.b if bool(labels) else self.A @ mixture.flatten())

    def learn(self, weights, mixture, images, labels, rates, momentum, decay):
        off = self._off(weights.params, mixture, labels)
        return Weights(weights.params - rates[0] * off, off), torch.zeros(1)

    def gradients(self, params, mixture, images, labels):
        scored = _Quadratic.score(self, Weights(params, torch.zeros_like(params)), mixture, images, labels, slope=True)
        return scored.logits, scored.slope

    def score(self, weights, mixture, images, labels, *, slope):
        off = self._off(weights.params, mixture, labels)
        by_mixture = torch.zeros_like(mixture) if bool(labels) else -(self.A.T @ off).view_as(mixture)
        return Scored(off, off.square().sum() / 2, by_mixture)


def test_on_quadratic_losses_it_is_the_closed_form():
    generator = torch.Generator().manual_seed(0)
    A, b, w, m = (torch.randn(shape, generator=generator, dtype=FLOAT64) for shape in ((4, 6), (4,), (4,), (2, 3)))
    train, valid = (Batches(torch.zeros(1), torch.tensor([label])) for label in (0, 1))
    xi = 0.3
    stepped = w - xi * (w - A @ m.flatten())
    exact = xi * A.T @ (stepped - b)
    found = second_order(_Quadratic(A, b), w, m, train, valid, xi)
    torch.testing.assert_close(found.flatten(), exact, rtol=0, atol=1e-10)


def test_it_takes_four_passes():
    """The slope after the step and the direction of the difference are of one pass."""
    passes = []

    class Counted(_Quadratic):
        def gradients(self, *given):
            passes.append("gradients")
            return super().gradients(*given)

        def score(self, *given, slope):
            passes.append("score")
            return super().score(*given, slope=slope)

    given = (torch.eye(2, dtype=FLOAT64), torch.zeros(2, dtype=FLOAT64))
    w, m = (torch.randn(shape, dtype=FLOAT64) for shape in ((2,), (1, 2)))
    train, valid = (Batches(torch.zeros(1), torch.tensor([label])) for label in (0, 1))
    second_order(Counted(*given), w, m, train, valid, 0.3)
    assert passes == ["gradients", "gradients", "score", "score"]


def _given():
    generator = torch.Generator().manual_seed(1)
    params = supernet.initial(SPACE.operations, TASK, SKELETON, torch.tensor([3]))[0].double()
    images = torch.randn(2, 1, 8, *TASK.input_shape, generator=generator, dtype=FLOAT64)
    labels = torch.randint(3, (2, 1, 8), generator=generator)
    mixture = torch.rand(6, 5, generator=generator, dtype=FLOAT64) / 5
    return params, mixture, Batches(images[0], labels[0]), Batches(images[1], labels[1])


def _autograd():
    return AutogradSupernet(SupernetPrograms(SPACE.operations, TASK, SKELETON), torch.device("cpu"))


def test_it_is_the_derivative_of_the_loss_after_the_step_that_the_mixture_takes():
    params, mixture, train, valid = _given()
    net, rate = _autograd(), 0.1
    m, w = mixture.clone().requires_grad_(), params.clone().requires_grad_()
    loss = F.cross_entropy(net._logits(w, m, train.images[0]), train.labels[0])
    (gradient,) = torch.autograd.grad(loss, w, create_graph=True)
    after = F.cross_entropy(net._logits(w - rate * gradient, m, valid.images[0]), valid.labels[0])
    (exact,) = torch.autograd.grad(after, m)
    # Within the paper's length ReLUs bend, so that a shorter one is asked for.
    found = second_order(net, params, mixture, train, valid, rate, length=1e-4)
    first = net.score(
        Weights(params - rate * gradient.detach(), torch.zeros_like(params)), mixture, *valid, slope=True
    ).slope
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-6)
    assert float((exact - first).abs().max()) > 0.01 * float(first.abs().max()), "the second part counts"


def test_compiled_code_says_the_same():
    compiled = supernet.make(SPACE.operations, TASK, SKELETON, dtype=FLOAT64)
    if not isinstance(compiled, supernet.CompiledSupernet):
        pytest.skip("needs a C compiler")
    given = (*_given(), 0.1)
    torch.testing.assert_close(second_order(compiled, *given), second_order(_autograd(), *given), rtol=0, atol=1e-7)


def test_the_evaluator_says_it_while_weights_are_trained_and_no_more_after_that():
    seeds, mixture = torch.tensor([4]), torch.full((1, 1, 6, 5), 0.2)
    proposal = Proposal(torch.zeros(1, 1, 6, dtype=torch.long), weights=mixture)
    one, two = (Supernet.of("digits", **OPTIONS, slope_order=order) for order in ("1", "2"))
    memory = one.begin(seeds)
    for number in range(4):
        (ours, after), (theirs, same) = (e.load_with_memory(seeds)(proposal, memory) for e in (two, one))
        assert torch.equal(ours.score, theirs.score)
        assert torch.equal(after.weights, same.weights)
        assert torch.equal(ours.slope, theirs.slope) == (number == 3)
        memory = after
