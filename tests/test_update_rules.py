"""Rules of learned policies by hand, and the meta-gradients of those that learn them."""

import math

import pytest
import torch

from controller import Prior, Results
from controller.learned_policy import LearnedPolicy
from controller.meta import _adapt
from controller.policies import update_rules
from nas.testing.synthetic_tasks import SPACE, TASKS
from search_spaces import UserError
from search_spaces.natsbench_size import NatsBenchSize

D, C = len(SPACE.choices), max(SPACE.choices)
ARCHS = torch.tensor([[[0] * D, [1] * D], [[2] * D, [0] * D]])
SIGNAL = torch.tensor([[1.0, -0.5], [0.25, 2.0]])


def lstm_numbers(inputs, outputs, seed=0, hidden=3, seeds=2):
    g = torch.Generator().manual_seed(seed)
    shapes = {
        "input": (inputs, 4 * hidden),
        "hidden": (hidden, 4 * hidden),
        "bias": (1, 4 * hidden),
        "head": (hidden, outputs),
    }
    return {n: torch.randn(1, *s, generator=g).repeat(seeds, 1, 1) for n, s in shapes.items()}


def reference_cell(params):
    """The same numbers in torch's LSTM, whose gates are in the order i, f, g, o; ours adds 1 to the forget gate."""
    H = params["hidden"].shape[1]
    cell = torch.nn.LSTMCell(params["input"].shape[1], H)
    order = torch.cat([torch.arange(2 * H), torch.arange(3 * H, 4 * H), torch.arange(2 * H, 3 * H)])
    bias = params["bias"][0, 0].clone()
    bias[H : 2 * H] += 1
    state = {
        "weight_ih": params["input"][0].T[order], "weight_hh": params["hidden"][0].T[order],
        "bias_ih": bias[order], "bias_hh": torch.zeros(4 * H),
    }  # fmt: skip
    cell.load_state_dict(state)
    return cell


def test_a_signal_is_the_normal_score_among_all_that_was_evaluated():
    score = torch.tensor([[5.0, 1.0, math.nan, 3.0]])
    found = update_rules.signals(score, 2)
    quantile = torch.special.ndtri(torch.tensor([7, 3, 1, 5]).double() / 8)
    expected = quantile / quantile.square().mean().sqrt()
    torch.testing.assert_close(found[0].double(), expected[2:], rtol=1e-6, atol=1e-6)


def test_the_gradient_is_the_signal_times_choice_minus_probability():
    logits = torch.randn(2, D, C, generator=torch.Generator().manual_seed(1))
    chosen = torch.nn.functional.one_hot(ARCHS, C).float()
    expected = (SIGNAL[..., None, None] * (chosen - logits.softmax(-1)[:, None])).sum(1)
    torch.testing.assert_close(update_rules.gradient(SPACE, logits, ARCHS, SIGNAL), expected, rtol=1e-5, atol=1e-6)


def test_rates_wait_for_a_window_and_step_along_its_mean():
    rates = torch.randn(2, D, C, generator=torch.Generator().manual_seed(2))
    params = {"logits": torch.zeros(2, D, C), "rates": rates, "window": torch.tensor([4.0, 2.0])}
    rule = update_rules.rule(SPACE, params)
    once = rule.learn(params, rule.begin(params), ARCHS, SIGNAL)
    slope = update_rules.gradient(SPACE, params["logits"], ARCHS, SIGNAL)
    assert torch.equal(once["logits"][0], torch.zeros(D, C))  # Its window is half full.
    torch.testing.assert_close(once["logits"][1], rates[1] * slope[1] / 2)
    twice = rule.learn(params, once, ARCHS, SIGNAL)
    torch.testing.assert_close(twice["logits"][0], rates[0] * slope[0] * 2 / 4)
    assert twice["count"].tolist() == [0.0, 0.0]


def test_the_written_update_is_that_of_a_plain_lstm():
    params = lstm_numbers(2, 1) | {"logits": torch.zeros(2, D, C), "window": torch.full((2,), 2.0)}
    rule = update_rules.rule(SPACE, params)
    memory, cell, state = rule.begin(params), reference_cell(params), None
    for _ in range(2):
        slope = update_rules.gradient(SPACE, memory["logits"], ARCHS, SIGNAL) / 2
        read = torch.stack([slope, memory["logits"].log_softmax(-1)], -1).reshape(-1, 2)
        state = cell(read, state)
        expected = memory["logits"] + (state[0] @ params["head"][0]).view(2, D, C)
        memory = rule.learn(params, memory, ARCHS, SIGNAL)
        torch.testing.assert_close(memory["logits"], expected, rtol=1e-4, atol=1e-5)


def test_the_written_update_of_a_decision_is_that_of_its_own_options():
    """Of decisions of two and five options, the first's are written as if there were no others."""
    params = lstm_numbers(2, 1) | {"window": torch.ones(2)}
    archs, signal = torch.tensor([[[1, 4]], [[0, 2]]]), torch.tensor([[1.0], [-0.5]])
    logits = torch.randn(2, 2, 5, generator=torch.Generator().manual_seed(4))

    def written(choices, logits, archs):
        own = params | {"logits": logits}
        rule = update_rules.Written(type("Uneven", (NatsBenchSize,), {"choices": choices})())
        return rule.learn(own, rule.begin(own), archs, signal)["logits"]

    both, alone = written((2, 5), logits, archs), written((2,), logits[:, :1, :2], archs[..., :1])
    torch.testing.assert_close(both[:, :1, :2], alone)
    assert both.isfinite().all()


def test_the_recurrent_policy_is_read_off_a_plain_lstm_one_evaluation_after_the_other():
    params = lstm_numbers(D * C + 1, D * C) | {
        "logits": torch.randn(2, D, C, generator=torch.Generator().manual_seed(3))
    }
    rule = update_rules.rule(SPACE, params)
    memory, cell, state = rule.learn(params, rule.begin(params), ARCHS, SIGNAL), reference_cell(params), None
    for b in range(2):
        one_hot = torch.nn.functional.one_hot(ARCHS[:, b], C).flatten(1).float()
        state = cell(torch.cat([one_hot, SIGNAL[:, b : b + 1]], 1), state)
    expected = params["logits"] + (state[0] @ params["head"][0]).view(2, D, C)
    torch.testing.assert_close(memory["logits"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("numbers", [(2, 1), (D * C + 1, D * C)], ids=["written", "recurrent"])
def test_searches_that_share_their_numbers_change_as_those_with_a_copy_each(numbers):
    own = lstm_numbers(*numbers) | {"logits": torch.zeros(2, D, C)}
    own |= {"window": torch.full((2,), 2.0)} if numbers[1] == 1 else {}
    shared = {n: p if n == "logits" else p[:1] for n, p in own.items()}
    ours, theirs = (
        update_rules.rule(SPACE, p).learn(p, update_rules.rule(SPACE, p).begin(p), ARCHS, SIGNAL) for p in (own, shared)
    )
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)


PRIORS = {
    "rates": {"rates": torch.ones(1, D, C), "window": torch.tensor([3.0])},
    "written": {n: p[:1] for n, p in lstm_numbers(2, 1).items()} | {"window": torch.tensor([2.0])},
    "recurrent": {n: p[:1] for n, p in lstm_numbers(D * C + 1, D * C).items()},
}


@pytest.mark.parametrize("rule", PRIORS)
def test_with_a_prior_a_seed_searches_alike_alone_and_in_company(rule):
    prior = Prior(
        PRIORS[rule] | {"logits": torch.zeros(1, D, C)}, {"controller": "learned_policy", "space": SPACE.name}
    )
    seeds, controller = torch.tensor([4, 9, 2]), LearnedPolicy(SPACE)

    def searched(some):
        state, found = controller.begin(TASKS["wide"], some, prior), []
        for _ in range(6):
            proposal = controller.propose(state, 2)
            score = (proposal.archs * torch.arange(D)).sum(-1).float() % 7
            state = controller.learn(state, proposal, Results(score, torch.ones_like(score)))
            found.append(proposal.archs)
        return torch.cat(found, 1), state

    (every, state), (one, alone) = searched(seeds), searched(seeds[1:2])
    assert torch.equal(every[1:2], one)
    assert all(torch.equal(state.memory[n][1], alone.memory[n][0]) for n in state.memory)


def test_a_policy_of_another_space_is_refused():
    prior = Prior({"logits": torch.zeros(1, 2, 2)}, {"controller": "learned_policy", "space": "mine"})
    with pytest.raises(UserError, match="for 'mine', and the search is in"):
        LearnedPolicy(SPACE).begin(TASKS["wide"], torch.arange(1), prior)


def closed_form(logits, rates, gap):
    """One decision of two options, one inner step: what the score after it is, and its gradients, by the chain rule on paper."""
    p = torch.sigmoid(logits[0] - logits[1])
    slope = p * (1 - p) * gap
    q = torch.sigmoid(logits[0] - logits[1] + (rates[0] + rates[1]) * slope)
    outer = q * (1 - q) * gap
    by_start = outer * (1 + (rates[0] + rates[1]) * gap * p * (1 - p) * (1 - 2 * p))
    return q * gap, torch.stack([by_start, -by_start]), torch.stack([outer * slope, outer * slope])


def test_the_meta_gradient_of_meta_sgd_is_the_closed_form_and_that_of_finite_differences():
    logits = torch.tensor([0.3, -0.4], dtype=torch.double, requires_grad=True)
    rates = torch.tensor([0.7, -0.2], dtype=torch.double, requires_grad=True)
    table = torch.tensor([[1.3, 0.0]], dtype=torch.double)
    score = _adapt.exact(logits[None], table, rates[None], 1)[0]
    value, by_start, by_rate = closed_form(logits.detach(), rates.detach(), torch.tensor(1.3, dtype=torch.double))
    torch.testing.assert_close(score.detach(), value, rtol=1e-12, atol=0)
    found = torch.autograd.grad(score, (logits, rates))
    torch.testing.assert_close(found, (by_start, by_rate), rtol=1e-10, atol=1e-12)
    g = torch.Generator().manual_seed(0)
    start, rate = (torch.randn(2, 3, dtype=torch.double, generator=g).requires_grad_() for _ in range(2))
    tables = torch.randn(2, 3, 2, dtype=torch.double, generator=g)
    assert torch.autograd.gradcheck(
        lambda a, b: _adapt.exact(a, tables, b, 2), (start, rate), eps=1e-6, rtol=1e-6, atol=1e-8
    )
