"""What reinforces the attention policy: the entropy term by hand on a tiny space, returns, and searches of tasks."""

import torch

from controller.meta import _descent
from controller.models import cell_encoder, task_features, transformer
from controller.policies import attention, nets, rollouts
from search_spaces import _ops
from search_spaces.transnas_micro import TransNasMicro

CHOICES = (2, 3)
"""Two decisions: the second has logits of its own after each choice of the first."""


def _log_probs(logits, archs):
    """`[1, B, 2, 3]` for `logits` `[9]`: two of the first decision, a row of three after each; closed options are -inf."""
    first = torch.cat([logits[:2], torch.tensor([-torch.inf], dtype=logits.dtype)]).log_softmax(-1)
    second = logits[2:8].view(2, 3).log_softmax(-1)
    return torch.stack([first.expand(len(archs), -1), second[archs[:, 0]]], 1)[None]


def _exact_entropy(logits):
    first, second = logits[:2].softmax(-1), logits[2:8].view(2, 3).softmax(-1)
    joint = first[:, None] * second
    return -(joint * joint.log()).sum()


def _setting(seed=0):
    logits = torch.randn(8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    archs = _ops.enumerate_all(CHOICES)
    return logits, archs


def test_the_mean_gradient_of_the_entropy_term_is_that_of_the_exact_entropy():
    logits, archs = _setting()
    leaf = logits.clone().requires_grad_()
    log_probs = _log_probs(leaf, archs)
    weight = nets.log_prob(log_probs, archs[None]).exp().detach()
    (weight * rollouts.entropy_bonus(log_probs, archs[None])).sum().backward()
    step = 1e-6 * torch.eye(8, dtype=torch.float64)
    numeric = torch.stack([(_exact_entropy(logits + e) - _exact_entropy(logits - e)) / 2e-6 for e in step])
    assert numeric.abs().max() > 0.05
    torch.testing.assert_close(leaf.grad, numeric, atol=1e-7, rtol=1e-5)
    torch.testing.assert_close((weight * nets.entropy(log_probs)).sum().detach(), _exact_entropy(logits))


def test_descending_the_loss_of_the_entropy_alone_raises_the_entropy_from_samples():
    logits, _ = _setting(1)
    generator, leaf = torch.Generator().manual_seed(0), (3 * logits).requires_grad_()
    before = float(_exact_entropy(leaf.detach()))
    optimizer = torch.optim.SGD([leaf], lr=0.3)
    for _ in range(200):
        every = _ops.enumerate_all(CHOICES)
        chance = nets.log_prob(_log_probs(leaf, every), every[None]).exp().detach().squeeze(0)
        archs = every[torch.multinomial(chance, 32, replacement=True, generator=generator)]
        optimizer.zero_grad()
        (-rollouts.entropy_bonus(_log_probs(leaf, archs), archs[None]).mean()).backward()
        optimizer.step()
    after = float(_exact_entropy(leaf.detach()))
    assert before < 1.2
    assert after > 1.5  # Of log 6 = 1.79; what has no gradient in expectation wanders.


def _entropies(weight, steps):
    """Of a policy that has all but made up its mind, over steps down its loss on searches of its own, nothing to be gained."""
    space, S, T = TransNasMicro(), 16, 3
    net = _descent.untrained(transformer.TaskTransformer, 0)
    with torch.no_grad():
        net.policy_head[-1].weight.mul_(300)
    sketch, generator = cell_encoder.encode_space(space), torch.Generator().manual_seed(0)
    flat = torch.zeros(S, T)
    x = rollouts.Rollouts(
        space,
        torch.zeros(S, task_features.NUM_TASK_FEATURES),
        torch.zeros(S, T, cell_encoder.WIDTH),
        flat,
        flat,
        flat + 1,
        flat,
        4,
    )
    found, optimizer = [], torch.optim.Adam(net.policy_head.parameters(), lr=3e-3)
    for _ in range(steps):
        with torch.no_grad():
            noise = -torch.log(-torch.log(torch.rand(T, S, 1, 6, 4, generator=generator)))
            seen = [(x.hidden[:, :t], flat[:, :t], flat[:, :t]) for t in range(T)]
            moods = [net.policy_query(net.context(x.task_features, *parts))[:, None] for parts in seen]
            archs = [attention.draw(net, space, sketch, mood, noise[t]) for t, mood in enumerate(moods)]
            log_prob = [attention.log_prob(net, space, sketch, *parts) for parts in zip(moods, archs)]
        played = x._replace(archs=torch.cat(archs, 1), log_prob=torch.cat(log_prob, 1))
        loss, entropy = rollouts.policy_loss(net, played, flat, weight)
        found.append(entropy)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found


def test_the_policy_loss_raises_the_entropy_of_the_network():
    found = _entropies(1.0, steps=30)
    assert found[0] < 2
    assert found[-1] > found[0] + 1


def test_without_weight_and_advantage_nothing_is_learned():
    found = _entropies(0.0, steps=4)
    assert max(found) - min(found) < 0.5


def test_the_advantage_is_the_regret_removed_from_then_on_against_the_same_tasks_searches():
    # Two searches of each of two tasks; the scores of the second task are those of the first and ten more.
    score = torch.tensor([[0.0, 2.0, 1.0], [1.0, 1.0, 1.0], [10.0, 12.0, 11.0], [11.0, 11.0, 11.0]])
    blank = torch.zeros(4, 3)
    x = rollouts.Rollouts(TransNasMicro(), blank, blank, blank.long(), score, blank, blank, 2)
    # Rewards: [0, 2, 0] and [1, 0, 0]; to go: [2, 2, 0] and [1, 0, 0].
    s = 2**0.5
    expected = torch.tensor([[1 / s, 1 / s, 0.0], [-1 / s, -1 / s, 0.0]])
    torch.testing.assert_close(x.advantage(), expected.repeat(2, 1), atol=1e-5, rtol=1e-5)
