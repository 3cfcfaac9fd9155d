"""Gradients against finite differences, optimisers against torch's, and a small case by hand."""

import pytest
import torch

from controller.policies import nets, optim
from controller.reinforce import Reinforce
from search_spaces import _ops
from search_spaces.nasbench201 import NasBench201
from search_spaces.natsbench_size import NatsBenchSize

NETS = pytest.mark.parametrize("net", ["autoregressive", "independent"])
SEEDS = torch.arange(3)


def doubles(params):
    return {n: p.double().requires_grad_() for n, p in params.items()}


@NETS
@pytest.mark.parametrize("space", [NasBench201(), NatsBenchSize()], ids=str)
def test_the_policy_loss_has_the_gradient_of_finite_differences(net, space):
    controller = Reinforce(space, policy_net=net, hidden=3, entropy=0.3)
    params = doubles(controller.init(SEEDS))
    archs = _ops.sample_unchecked(SEEDS, 0, 2, space.choices)
    advantage = torch.randn(3, 2, dtype=torch.double, generator=torch.Generator().manual_seed(0))

    def loss(*values):
        return controller.loss(dict(zip(params, values)), archs, advantage)

    assert torch.autograd.gradcheck(loss, tuple(params.values()))


@NETS
def test_the_probabilities_of_all_architectures_sum_to_one(net):
    space = NasBench201()
    controller = Reinforce(space, policy_net=net)
    everything = _ops.enumerate_all(space.choices)[None]
    params = {n: 2 * p for n, p in controller.init(SEEDS[:1]).items()}
    log_probs = controller.net.log_probs(params, everything)
    assert nets.log_prob(log_probs, everything).exp().sum().item() == pytest.approx(1, abs=1e-4)


@NETS
def test_samples_come_as_often_as_their_probability_says(net):
    space = NasBench201()
    controller = Reinforce(space, policy_net=net)
    params = {n: 3 * p for n, p in controller.init(SEEDS[:1]).items()}
    archs = controller.net.sample(params, SEEDS[:1], torch.tensor([0]), 20_000)
    often = torch.stack([(archs[0, :, 0] == c).float().mean() for c in range(5)])
    expected = controller.net.log_probs(params, archs[:, :1])[0, 0, 0].exp()
    torch.testing.assert_close(often, expected, atol=0.015, rtol=0)


def test_the_gradient_at_even_odds_is_what_one_works_out_by_hand():
    """Of -A log p with p even over five: -A (1[chosen] - 1/5) on each decision's logits."""
    space = NasBench201()
    controller = Reinforce(space, policy_net="independent")
    params = {"logits": torch.zeros(1, 6, 5, requires_grad=True)}
    arch = torch.tensor([[[0, 1, 2, 3, 4, 0]]])
    found = optim.grads(controller.loss(params, arch, torch.tensor([[2.0]])), params)["logits"]
    by_hand = -2 * (torch.nn.functional.one_hot(arch[0, 0], 5) - 0.2)
    torch.testing.assert_close(found[0], by_hand)


def test_adam_is_torchs_adam():
    ours = {"a": torch.randn(1, 4, generator=torch.Generator().manual_seed(1))}
    theirs = ours["a"][0].clone().requires_grad_()
    optimiser, state = torch.optim.Adam([theirs], lr=0.1), optim.adam_begin(ours)
    for k in range(5):
        grad = torch.cos(torch.arange(4.0) + k)
        theirs.grad = grad.clone()
        optimiser.step()
        ours, state = optim.adam(ours, {"a": grad[None]}, state, lr=0.1)
    torch.testing.assert_close(ours["a"][0], theirs.detach())


def test_gradients_flow_through_two_steps_of_adam():
    start = torch.randn(2, 3, dtype=torch.double, generator=torch.Generator().manual_seed(2)).requires_grad_()

    def after_two_steps(p):
        params = {"p": p}
        state = optim.adam_begin(params)
        for _ in range(2):
            grads = optim.grads((params["p"] ** 3).sum(-1), params, create_graph=True)
            params, state = optim.adam(params, grads, state, lr=torch.tensor([0.1, 0.2]))
        return params["p"]

    assert torch.autograd.gradcheck(after_two_steps, (start,))


def test_gradients_through_adam_are_finite_where_a_gradient_is_zero():
    p = torch.zeros(1, 2, requires_grad=True)
    moved, _ = optim.adam({"p": p}, {"p": 2 * p}, optim.adam_begin({"p": p}), lr=0.1)
    (grad,) = torch.autograd.grad(moved["p"].sum(), [p])
    assert grad.isfinite().all()
