"""Few-shot learners: gradients against closed forms and finite differences, scores worked by hand, and laws of all of them."""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional as F

from nas.few_shot import classes, episodes, evaluate, inner_loop, load, named, run, training
from nas.few_shot import learner as shared
from nas.few_shot.backbone import Backbone
from nas.few_shot.episodes import Episodes, Size
from nas.few_shot.learner import Problem
from nas.few_shot.learners import (
    learned_optimizer,
    mann,
    matching,
    probabilistic_maml,
    prototypical,
    relation,
    siamese,
    snail,
)
from nas.few_shot.training import Plan
from nas.testing.sign_test import ERROR, p_value
from search_spaces import UserError
from search_spaces.conv4 import Conv4
from search_spaces.nasbench201 import NasBench201

EVERY = pytest.mark.parametrize("name", named.names())
QUICK = {"tasks": "2"}
"""Settings that make a step quick; the laws hold for any."""


@pytest.fixture(scope="module")
def source():
    data = load.load("digits")
    return episodes.Source(data, *classes.normalization(data))


def make(name, arch="16:16:0:0:stride", way=3, shot=1, shape=(1, 8, 8), space=None, **options):
    space = space or Conv4()
    backbone = Backbone(space, space.parse(arch), shape)
    return named.make(name, Problem(backbone, way, shot, 40), {k: str(v).lower() for k, v in options.items()})


@pytest.mark.parametrize(
    ("arch", "side", "expected"),
    [
        ("64:64:64:64:max_pool", 20, 5),
        ("16:32:16:0:stride", 28, 7),
        ("16:16:16:16:max_pool", 64, 4),
        ("16:16:0:0:stride", 8, 4),
    ],
)
def test_feature_maps_that_are_compared_keep_four_places_a_side(arch, side, expected):
    backbone = Backbone(Conv4(), Conv4().parse(arch), (1, side, side))
    maps = backbone.maps(4)
    assert backbone.size(4)[1:] == (expected, expected)
    shown = maps(maps.init(0), torch.zeros(2, 1, side, side))
    assert shown.shape[-2:] == (expected, expected)
    # The embedding of other learners is what it was, and the weights have the same names.
    assert maps.names == [name for name in backbone.embedding().names if name in set(maps.names)]


@pytest.mark.parametrize("side", [7, 12, 15, 28])
def test_feature_maps_that_may_be_single_numbers_keep_every_halving(side):
    backbone = Backbone(Conv4(), Conv4().parse("16:16:16:16:stride"), (1, side, side))
    flat = backbone.size()[0]
    assert torch.Size(backbone.size(1)).numel() == flat


def test_feature_maps_of_cells_are_as_the_space_has_them():
    space = NasBench201()
    assert Backbone(space, space.reference_arch, (3, 8, 8)).size(4)[1:] == (2, 2)


def double(params):
    return {name: p.double() for name, p in params.items()}


def drawn(tasks, way, shot, queries, shape=(1, 6, 6), seed=0):
    """Episodes of noise in float64."""
    g = torch.Generator().manual_seed(seed)

    def images(n):
        return torch.randn(tasks, way, n, *shape, dtype=torch.float64, generator=g)

    return Episodes(images(shot), images(queries), torch.arange(way).expand(tasks, way))


def quadratic(seed, size=4):
    """A positive definite matrix and a minimum, float64."""
    g = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, dtype=torch.float64, generator=g)
    return root @ root.mT / size + torch.eye(size), torch.randn(size, dtype=torch.float64, generator=g)


def value(matrix, minimum, theta):
    return 0.5 * (theta - minimum) @ matrix @ (theta - minimum)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_meta_gradient_of_maml_on_a_quadratic_is_the_closed_form(steps):
    (A, a), (B, b), alpha = quadratic(0), quadratic(1), 0.2
    theta = torch.linspace(-1, 1, 4, dtype=torch.float64, requires_grad=True)
    adapted = inner_loop.descend(lambda p: value(A, a, p["w"]), {"w": theta}, alpha, steps)["w"]
    shrink = torch.linalg.matrix_power(torch.eye(4, dtype=torch.float64) - alpha * A, steps)
    torch.testing.assert_close(adapted, a + shrink @ (theta - a), rtol=1e-12, atol=1e-12)
    (found,) = torch.autograd.grad(value(B, b, adapted), theta)
    torch.testing.assert_close(found, shrink.mT @ B @ (adapted - b).detach(), rtol=1e-9, atol=1e-9)


def test_the_first_order_gradient_takes_the_inner_steps_as_constants():
    (A, a), (B, b) = quadratic(0), quadratic(1)
    theta = torch.ones(4, dtype=torch.float64, requires_grad=True)
    adapted = inner_loop.descend(lambda p: value(A, a, p["w"]), {"w": theta}, 0.2, 2, first_order=True)["w"]
    (found,) = torch.autograd.grad(value(B, b, adapted), theta)
    torch.testing.assert_close(found, B @ (adapted - b).detach(), rtol=1e-12, atol=1e-12)


def test_the_gradient_of_a_learned_step_size_on_a_quadratic_is_the_closed_form():
    (A, a), (B, b) = quadratic(0), quadratic(1)
    theta = torch.ones(4, dtype=torch.float64, requires_grad=True)
    rate = torch.full((4,), 0.1, dtype=torch.float64, requires_grad=True)
    adapted = inner_loop.descend(lambda p: value(A, a, p["w"]), {"w": theta}, {"w": rate}, 1)["w"]
    of_theta, of_rate = torch.autograd.grad(value(B, b, adapted), (theta, rate))
    outer = B @ (adapted - b).detach()
    torch.testing.assert_close(of_rate, -(A @ (theta - a)).detach() * outer, rtol=1e-12, atol=1e-12)
    shrink = torch.eye(4, dtype=torch.float64) - torch.diag(rate.detach()) @ A
    torch.testing.assert_close(of_theta, shrink.mT @ outer, rtol=1e-12, atol=1e-12)


def test_parameters_without_a_rate_stay():
    (A, a), theta = quadratic(0), torch.ones(4, dtype=torch.float64)
    moved = inner_loop.descend(
        lambda p: value(A, a, p["w"]) * p["c"], {"w": theta, "c": theta[0]}, {"w": theta * 0.1}, 1
    )
    assert moved["c"] is theta[0] or torch.equal(moved["c"], theta[0])
    torch.testing.assert_close(moved["w"], theta - 0.1 * A @ (theta - a))


DIFFERENTIATED = [
    ("maml", {}), ("maml", {"inner_steps": 2}), ("meta_sgd", {}), ("anil", {"inner_steps": 2}), ("prototypical", {}),
    ("matching", {}), ("matching", {"full_context": True}), ("relation", {}), ("siamese", {}),
    ("neural_process", {}), ("neural_process", {"joined": True}), ("snail", {"filters": 8}),
    ("mann", {"hidden": 8, "columns": 5}), ("leo", {"code": 4}),
    ("probabilistic_maml", {}), ("learned_optimizer", {"hidden": 3, "first_order": False, "inner_steps": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), DIFFERENTIATED)
def test_gradients_are_those_of_finite_differences(name, options):
    learner = make(name, "16:0:0:0:stride", shape=(1, 6, 6), **options)
    params, given = double(learner.init(0)), drawn(2, 3, 1, 2)
    found = learner.gradient(params, given, 0, 0)
    g = torch.Generator().manual_seed(1)
    towards = {n: torch.randn(p.shape, dtype=torch.float64, generator=g) for n, p in found.by_name.items()}
    step = 1e-6
    ahead, behind = (
        learner.gradient(params | {n: params[n] + sign * step * d for n, d in towards.items()}, given, 0, 0).loss
        for sign in (1, -1)
    )
    slope = sum((found.by_name[n] * d).sum() for n, d in towards.items())
    torch.testing.assert_close((ahead - behind) / (2 * step), slope, rtol=1e-6, atol=1e-6)


def test_the_first_order_maml_is_the_gradient_of_the_queries_at_the_adapted_weights():
    learner = make("maml", shape=(1, 6, 6), first_order=True, inner_steps=2)
    params, given = double(learner.init(0)), drawn(1, 3, 1, 2)
    weights = params
    for _ in range(2):
        leaves = {n: p.detach().requires_grad_() for n, p in weights.items()}
        loss = F.cross_entropy(learner.network(leaves, given.support[0].flatten(0, 1)), torch.arange(3))
        slopes = torch.autograd.grad(loss, list(leaves.values()))
        weights = {n: p - learner.inner_lr * s for (n, p), s in zip(leaves.items(), slopes)}
    leaves = {n: p.detach().requires_grad_() for n, p in weights.items()}
    target = torch.arange(3).repeat_interleave(2)
    loss = F.cross_entropy(learner.network(leaves, given.query[0].flatten(0, 1)), target)
    expected = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()))))
    found = learner.gradient(params, given, 0, 0)
    for name, slope in expected.items():
        torch.testing.assert_close(found.by_name[name], slope, rtol=1e-9, atol=1e-9)


def test_second_order_differs_from_first_order():
    params, given = double(make("maml", shape=(1, 6, 6)).init(0)), drawn(1, 3, 1, 2)
    one, two = (make("maml", shape=(1, 6, 6), first_order=f).gradient(params, given, 0, 0) for f in (False, True))
    assert torch.equal(one.loss, two.loss)
    assert any((one.by_name[n] - two.by_name[n]).abs().max() > 1e-4 for n in one.by_name)


@pytest.mark.parametrize("carry", [False, True])
def test_reptile_moves_by_the_mean_of_what_adam_without_momentum_did_on_each_task(carry):
    learner = make("reptile", shape=(1, 6, 6), inner_batch=6, inner_steps=3, carry_squares=carry)
    params, given = double(learner.init(0)), drawn(2, 3, 2, 0)
    target, names = torch.arange(3).repeat_interleave(2), learner.network.names
    squares, steps = {n: torch.zeros_like(params[n]) for n in names}, 0.0
    for _ in range(2):  # The second begins with the squares of the first, or with fresh ones.
        found, ends, ended = learner.gradient(params, given, 0, 0), [], []
        for task in range(2):
            leaves = {n: params[n].clone().requires_grad_() for n in names}
            optimizer = torch.optim.Adam(leaves.values(), lr=learner.inner_lr, betas=(0.0, 0.999))
            for n, p in leaves.items():
                state = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": squares[n].clone(), "step": torch.tensor(steps)}
                optimizer.state[p] = state
            for _ in range(3):  # A batch is the whole support, in another order: its loss is the same.
                optimizer.zero_grad()
                F.cross_entropy(learner.network(leaves, given.support[task].flatten(0, 1)), target).backward()
                optimizer.step()
            ends.append({n: p.detach() for n, p in leaves.items()})
            ended.append({n: optimizer.state[p]["exp_avg_sq"] for n, p in leaves.items()})
        for name in names:
            mean = (2 * params[name] - ends[0][name] - ends[1][name]) / 2
            # Where a slope is 0 but for rounding, as before a batch norm, Adam makes a step of its sign.
            if not name.endswith(".0.bias"):
                torch.testing.assert_close(found.by_name[name], mean, rtol=1e-6, atol=1e-9)
        if carry:
            squares, steps = {n: (ended[0][n] + ended[1][n]) / 2 for n in names}, steps + 3
        params = params | {n: params[n] - g for n, g in found.by_name.items()} | found.statistics


def test_probabilistic_maml_without_spread_and_divergence_is_maml_from_where_the_prior_stands():
    options = {"inner_steps": 2, "test_steps": 2}
    sure = make("probabilistic_maml", shape=(1, 6, 6), spread=1e-30, prior_lr=0, divergence=0, inner_steps=2)
    plain = make("maml", shape=(1, 6, 6), **options)
    params, given = double(sure.init(0)), drawn(2, 3, 1, 2)
    weights = double(plain.init(0))
    one, two = sure.gradient(params, given, 0, 0), plain.gradient(weights, given, 0, 0)
    torch.testing.assert_close(one.loss, two.loss)
    for name, slope in two.by_name.items():
        torch.testing.assert_close(one.by_name[name], slope, rtol=1e-9, atol=1e-9)
    query = shared.flat(given.query)
    torch.testing.assert_close(
        sure.logits(params, sure.adapt(params, given.support), query),
        plain.logits(weights, plain.adapt(weights, given.support), query).log_softmax(-1),
    )


def test_the_divergence_is_that_of_normal_distributions():
    mean, log_spread, other, log_other = torch.randn(4, 7, dtype=torch.float64, generator=torch.manual_seed(0))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, log_spread.exp()), normal(other, log_other.exp())).sum()
    torch.testing.assert_close(probabilistic_maml.divergence(mean, log_spread, other, log_other), expected)


def test_a_learned_optimizer_whose_gates_are_constant_is_gradient_descent():
    learner = make("learned_optimizer", shape=(1, 6, 6), hidden=3, inner_steps=2, inner_lr=0.4)
    plain = make("maml", shape=(1, 6, 6), test_steps=2)
    params, support = double(learner.init(0)), drawn(2, 3, 1, 2).support
    for gate, bias in (("step_size", None), ("keep", 60.0)):
        params[f"lstm.{gate}.weight"] = torch.zeros_like(params[f"lstm.{gate}.weight"])
        params[f"lstm.{gate}.bias"] += 0 if bias is None else bias
    weights = {name: params[name] for name in learner.network.names}
    expected = plain.adapt(weights, support)
    for name, found in learner.adapt(params, support).items():
        torch.testing.assert_close(found, expected[name], rtol=1e-6, atol=1e-7)


def test_numbers_enter_the_learned_optimizer_as_the_paper_scales_them():
    found = learned_optimizer.scaled(torch.tensor([1.0, -math.e, math.exp(-11), 0.0]))
    torch.testing.assert_close(found, torch.tensor([[0.0, 1.0], [0.1, -1.0], [-1.0, math.exp(-1)], [-1.0, 0.0]]))


def test_prototypes_and_distances_by_hand():
    query = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    found = prototypical.minus_distance(query, torch.tensor([[[1.0, 0.0], [4.0, 6.0]]]))
    torch.testing.assert_close(found, torch.tensor([[[-4.0, -25.0], [-1.0, -52.0]]]))
    learner = make("prototypical", shot=2)
    params, support = learner.init(0), drawn(1, 3, 2, 0, (1, 8, 8)).support.float()
    embedded = learner.embedding(params, support[0].flatten(0, 1)).view(3, 2, -1)
    torch.testing.assert_close(learner.adapt(params, support)[0], (embedded[:, 0] + embedded[:, 1]) / 2)


def test_a_scale_of_zero_divides_distances_by_the_root_of_the_length_of_the_embedding():
    learner, plain = make("prototypical", scale=0.0), make("prototypical")
    params, support = learner.init(0), drawn(1, 3, 1, 0, (1, 8, 8)).support.float()
    query, prototypes = support.flatten(1, 2), learner.adapt(params, support)
    length = prototypes.shape[-1]
    expected = plain.logits(params, prototypes, query)
    torch.testing.assert_close(learner.logits(params, prototypes, query), expected / length**0.5)
    torch.testing.assert_close(expected[0, 0, 0], torch.tensor(0.0), atol=1e-3, rtol=0)


def test_distances_of_large_embeddings_are_exact_in_bfloat16():
    embedded = torch.randn(1, 6, 256, generator=torch.Generator().manual_seed(0)) + 1
    query, prototypes = embedded[:, :3].bfloat16(), embedded[:, 3:].bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = prototypical.minus_distance(query, prototypes)
    torch.testing.assert_close(
        found, -torch.cdist(query.double(), prototypes.double()).square().float(), rtol=1e-4, atol=0
    )


def test_attention_of_snail_begins_by_reading_what_is_alike():
    """Before training a place reads the place before it that holds the same more than others."""
    torch.manual_seed(0)
    attention = snail.Attention(32, 64, 16).requires_grad_(False)
    rows = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))
    rows[:, 4] = rows[:, 1]
    score = attention.query(rows) @ attention.key(rows).mT / 8
    weights = score[0, 4].softmax(-1)
    assert float(weights[1] + weights[4]) > 0.9
    torch.testing.assert_close(weights[1], weights[4])


def test_attention_by_hand():
    # Cosines of the query with the four support images: 1, 0, -1 and 0.6.
    support = torch.tensor([[[[2.0, 0.0], [0.0, 3.0]], [[-1.0, 0.0], [3.0, 4.0]]]])
    found = matching.attention(torch.tensor([[[5.0, 0.0]]]), support, 1.0).exp()
    weights = torch.tensor([1.0, 0.0, -1.0, 0.6]).exp()
    expected = torch.stack([weights[0] + weights[1], weights[2] + weights[3]]) / weights.sum()
    torch.testing.assert_close(found[0, 0], expected)


def test_full_context_does_not_depend_on_where_an_image_stands_once_the_order_is_the_same():
    context = matching.FullContext(3, 2)
    support, query = torch.randn(1, 4, 3), torch.randn(1, 2, 3)
    turn = torch.tensor([2, 0, 3, 1])
    known, answers = context(support, query, torch.arange(4)[None])
    # The image that was read first stands elsewhere now, and is still read first.
    again, same = context(support[:, turn], query, turn.argsort()[None])
    torch.testing.assert_close(again, known[:, turn])
    torch.testing.assert_close(same, answers)


def test_pairs_of_relation_networks_by_hand():
    found = relation.pairs(
        torch.tensor([1.0, 2.0]).view(1, 2, 1, 1, 1), torch.tensor([5.0, 6.0, 7.0]).view(1, 3, 1, 1, 1)
    )
    expected = [[[1, 5], [2, 5]], [[1, 6], [2, 6]], [[1, 7], [2, 7]]]
    assert found.flatten(3).tolist() == [expected]


@pytest.mark.parametrize(("trained_on", "factor"), [(0, 2), (3, 3)])
def test_a_class_of_relation_networks_is_as_large_with_any_number_of_images(trained_on, factor):
    learner = make("relation", shot=2, shape=(1, 6, 6), train_shot=trained_on)
    params, support = learner.init(0), torch.rand(1, 3, 1, 1, 6, 6)
    one, four = (learner.adapt(params, support.expand(1, 3, shot, 1, 6, 6)) for shot in (1, 4))
    torch.testing.assert_close(one, four)
    alone = learner.embedding(learner._split(params)[0], support[0, :, 0])
    torch.testing.assert_close(one[0], factor * alone)


def test_the_loss_of_relation_networks_is_the_squared_error_of_scores():
    learner = make("relation", shape=(1, 6, 6))
    params, given = learner.init(0), Episodes(*(x.float() for x in drawn(1, 3, 1, 1)[:2]), torch.arange(3)[None])
    last = "relation.11"  # A last layer of zeros: every score is 1/2.
    assert params[f"{last}.weight"].shape[0] == 1
    params |= {f"{last}.weight": torch.zeros_like(params[f"{last}.weight"]), f"{last}.bias": torch.zeros(1)}
    torch.testing.assert_close(learner.gradient(params, given, 0, 0).loss, torch.tensor(0.25))


def test_logits_of_siamese_networks_by_hand():
    query, support = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[[1.0, 5.0]], [[0.0, 0.0]]]])
    found = siamese.pair_logits(torch.tensor([-2.0, -1.0]), torch.tensor([0.5]), query, support)
    assert found.flatten().tolist() == [-2.5, -3.5]


@EVERY
def test_tasks_are_adapted_to_as_each_alone(name):
    learner = make(name, shape=(1, 6, 6))
    params, given = double(learner.init(0)), drawn(3, 3, 2, 2)
    with torch.no_grad():
        together = learner.logits(params, learner.adapt(params, given.support), shared.flat(given.query))
        for task in range(3):
            alone = learner.adapt(params, given.support[task : task + 1])
            logits = learner.logits(params, alone, shared.flat(given.query[task : task + 1]))
            # These draw an order of the support for each task; that of the first is drawn alike.
            if task == 0 or name not in ("reptile", "snail", "mann"):
                torch.testing.assert_close(together[task], logits[0], rtol=1e-8, atol=1e-8)
    assert together.shape == (3, 6, 3)


@EVERY
def test_a_training_goes_on_from_a_saved_state_as_if_never_stopped(name, source, tmp_path):
    config = run.Config("digits", name, 3, steps=4, options=QUICK, arch="16:16:0:0:stride")
    learner = run.make_learner(config, (1, 8, 8), 40)
    whole = stopped = training.begin(learner, 0)
    for step in range(4):
        whole, loss = training.advance(learner, source, config.plan, whole)
        if step == 2:
            run.save(tmp_path, config, stopped)
            _, stopped = run.read(tmp_path)
        stopped, again = training.advance(learner, source, config.plan, stopped)
        assert loss == again
    assert any(not torch.equal(whole.params[n], p) for n, p in learner.init(0).items()), "training moves weights"
    for name, p in whole.params.items():
        assert torch.equal(p, stopped.params[name])


SHORT = {
    "reptile": (25, {"tasks": 4, "test_steps": 10}),
    "neural_process": (50, {}),
    "snail": (100, {"lr": 3e-3, "filters": 32}),
    "learned_optimizer": (12, {"tasks": 2, "hidden": 4}),
    "probabilistic_maml": (20, {"tasks": 3, "samples": 2}),
    "mann": (240, {"lr": 5e-3, "hidden": 64}),
}
"""Steps and settings of those that need others: what learns to read a sequence first learns nothing for a while."""
SLOW = {"snail", "mann"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in named.names()])
def test_every_learner_beats_chance_on_classes_that_it_has_not_seen(name, source):
    steps, options = SHORT.get(name, (25, {"tasks": min(4, named.component(name)(None).tasks)}))
    learner = make(name, way=3, **options)
    plan, state = Plan(3, 1, 3, 0, steps), training.begin(learner, 0)
    for _ in range(plan.steps):
        state, _ = training.advance(learner, source, plan, state)
    right = evaluate.correct(learner, state.params, source, "test", Size(60, 3, 1, 3))
    better, worse = int((right > 1 / 3 + 1e-6).sum()), int((right < 1 / 3 - 1e-6).sum())
    assert p_value(better, worse) < ERROR, f"better in {better} of {better + worse} episodes"


def test_what_comes_later_changes_nothing_that_snail_has_read():
    x, changed = torch.randn(1, 5, 6), torch.tensor([0.0, 0, 0, 1, 1])[:, None]
    for layer in (snail.Dense(6, 4, 2), snail.Attention(6, 4, 3)):
        one, two = layer(x, 5), layer(x + changed, 5)
        assert torch.equal(one[:, :3], two[:, :3])
        assert not torch.equal(one[:, 3], two[:, 3])


def test_a_block_of_snail_is_a_causal_convolution_with_a_gate():
    block, x = snail.Dense(6, 4, 2), torch.randn(3, 5, 6)
    past = torch.nn.functional.pad(x.mT, (2, 0))
    torch.testing.assert_close(
        block(x, 5), torch.cat([x, (block.value(past).tanh() * block.gate(past).sigmoid()).mT], -1)
    )


def test_snail_reads_an_image_as_so_many_numbers_and_its_label_as_it_is():
    reader, known, query = snail.Reader(8, 2, 3, 5, 4), torch.randn(2, 4, 11), torch.randn(2, 1, 11)
    expected = snail.Reader(2, 0, 3, 5, 4)
    expected.load_state_dict({n: p for n, p in reader.state_dict().items() if not n.startswith("features")})
    told = [torch.cat([reader.features(x[..., :8]), x[..., 8:]], -1) for x in (known, query)]
    torch.testing.assert_close(reader(known, query), expected(*told))


@pytest.mark.parametrize("count", [1, 2, 9])
def test_each_query_of_snail_is_the_last_place_of_a_sequence_of_its_own(count):
    reader, known, query = snail.Reader(3, 0, 3, count + 1, 4), torch.randn(2, count, 6), torch.randn(2, 4, 6)
    rows = torch.cat([known[:, None].expand(-1, 4, -1, -1), query[:, :, None]], 2).flatten(0, 1)
    for layer in reader.layers:
        rows = layer(rows, count + 1)
    torch.testing.assert_close(reader(known, query), reader.last(rows[:, -1]).unflatten(0, (2, 4)))


def test_mann_writes_into_the_row_that_was_used_least_or_where_it_has_read_by_hand():
    controller = mann.Controller(4, 3, 5, 3, 2, writes_queries=False)
    rows = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]])
    use, read = torch.tensor([[0.5, 0.1, 0.9]]), torch.tensor([[0.0, 0.0, 1.0]])
    memory = mann.Memory(rows, use, read, torch.zeros(1, 5), torch.zeros(1, 5))
    for bias, written in ((-1e4, 1), (1e4, 2)):  # The gate is 0, then 1.
        torch.nn.init.constant_(controller.gate.bias, bias)
        after, _ = controller.step(memory, torch.ones(1, 4))
        key = controller.key(after.hidden).tanh()
        torch.testing.assert_close(after.rows[:, 0], rows[:, 0])
        torch.testing.assert_close(after.rows[:, written], key if written == 1 else rows[:, 2] + key)
        assert written == 1 or after.rows[0, 1].tolist() == [0, 0], "the least used row is cleared"
        one_hot = torch.nn.functional.one_hot(torch.tensor([written]), 3)
        torch.testing.assert_close(after.use, 0.95 * use + after.read + one_hot)


@pytest.mark.parametrize("joined", [False, True])
def test_a_neural_process_does_not_ask_in_which_order_a_class_was_seen(joined):
    learner = make("neural_process", shot=3, joined=joined)
    params, support = learner.init(0), drawn(2, 3, 3, 0, (1, 8, 8)).support.float()
    torch.testing.assert_close(learner.adapt(params, support.flip(2)), learner.adapt(params, support))


def test_a_neural_process_answers_for_each_class_by_the_same_network_whatever_their_number():
    learner = make("neural_process", hidden=4)
    assert not learner.fixed_way
    params = learner.init(0)
    for way in (3, 5):
        given = drawn(1, way, 2, 1, (1, 8, 8))
        support, query = given.support.float(), shared.flat(given.query.float())
        inner = {n: params[n] for n in learner.embedding.names}
        read, asked = (
            learner.networks[0](shared.part(params, "h."), learner.embedding(inner, images[0]))
            for images in (shared.flat(support), query)
        )
        r = read.view(way, 2, 4).mean(1)
        rows = torch.stack([torch.cat([x, r[k], r.mean(0)]) for x in asked for k in range(way)])
        expected = learner.networks[1](shared.part(params, "g."), rows).view(-1, way)
        torch.testing.assert_close(learner.logits(params, learner.adapt(params, support), query)[0], expected)


def test_a_neural_process_that_joins_its_classes_reads_the_weights_of_earlier_exports():
    """Their names and shapes: h and g of two layers, g over the places of all classes."""
    learner = make("neural_process", way=3, **named.former("neural_process"))
    shapes = {n: tuple(p.shape) for n, p in learner.init(0).items() if n.startswith(("h.", "g."))}
    size = learner.problem.backbone.size()[0]
    assert learner.fixed_way
    assert shapes == {
        "h.0.weight": (64, size), "h.0.bias": (64,), "h.2.weight": (64, 64), "h.2.bias": (64,),
        "g.0.weight": (128, size + 3 * 64), "g.0.bias": (128,), "g.2.weight": (3, 128), "g.2.bias": (3,),
    }  # fmt: skip


def test_leo_without_steps_answers_by_what_it_decodes_from_the_mean_code():
    learner = make("leo", code=4, code_steps=0, finetuning_steps=0)
    params, support = learner.init(0), drawn(1, 3, 1, 0, (1, 8, 8)).support.float()
    inner = {n: params[n] for n in learner.embedding.names}
    embedded = F.normalize(learner.embedding(inner, support[0, :, 0]), dim=-1)
    each = embedded @ params["coder.encoder.weight"].mT
    pairs = torch.stack([torch.stack([torch.cat([one, other]) for other in each]) for one in each])
    hidden = (pairs @ params["coder.relation.0.weight"].mT).relu() @ params["coder.relation.2.weight"].mT
    expected = (hidden.mean(1)[:, :4] @ params["coder.decoder.weight"].mT)[:, : embedded.shape[1]]
    torch.testing.assert_close(learner.adapt(params, support)[0], expected, rtol=1e-4, atol=1e-6)


def test_a_cell_without_its_head_is_a_backbone():
    learner = make("prototypical", "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|", shape=(3, 8, 8),
                   space=NasBench201(channels=4, cells=1))  # fmt: skip
    assert learner.embedding(learner.init(0), torch.zeros(2, 3, 8, 8)).shape == (2, 16)
    assert relation.Relation(learner.problem).embedding.module(torch.zeros(2, 3, 8, 8)).shape == (2, 16, 2, 2)


def test_statistics_of_training_are_averaged_and_not_learned():
    learner = make("prototypical")
    params, given = learner.init(0), drawn(1, 3, 1, 2, (1, 8, 8))
    before = {n: p.clone() for n, p in params.items()}
    found = learner.gradient(params, Episodes(given.support.float(), given.query.float(), given.classes), 0, 0)
    assert all(torch.equal(p, before[n]) for n, p in params.items()), "what is given is left as it is"
    assert set(found.statistics) == {n for n in params if "running" in n}
    assert not set(found.statistics) & set(found.by_name)
    assert all(not torch.equal(s, params[n]) for n, s in found.statistics.items())


def test_a_setting_that_a_learner_has_not_is_told_with_those_it_has():
    with pytest.raises(UserError, match="Did you mean 'inner_lr'"):
        make("maml", inner_rate=0.1)
    with pytest.raises(UserError, match="Did you mean 'prototypical'"):
        make("prototypicel")


def test_learners_are_frozen_dataclasses_whose_settings_have_defaults():
    for name in named.names():
        component = named.component(name)
        assert dataclasses.fields(component)[0].name == "problem"
        assert all(f.default is not dataclasses.MISSING for f in dataclasses.fields(component)[1:])
        assert component.__hash__ is not None
