"""Zero-cost proxies by hand: a network of two weights, whose every proxy is worked out on paper."""

import math
import threading

import pytest
import torch
from torch import nn

from nas.evaluators.zero_cost import ZeroCost
from nas.training import zero_cost
from nas.training.zero_cost import PROXIES
from search_spaces import UserError
from search_spaces.nasbench201 import NasBench201

W1, W2 = 2.0, -3.0
X = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
Y = torch.tensor([0, 1])


class Tiny(nn.Module):
    """One pixel, one channel: h = relu(w1 x), logits (w2 h, 0)."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.pool = nn.Conv2d(1, 1, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.fill_(W1)
            self.linear.weight.fill_(W2)

    def forward(self, x):
        z = self.linear(self.pool(self.relu(self.conv(x))).flatten(1))
        return torch.cat([z, torch.zeros_like(z)], 1)


def loss(w1, w2):
    """Mean cross-entropy of labels 0 and 1 for x = 1 and 2, while w1 > 0: log(1 + e^-z) and log(1 + e^z)."""
    return (torch.log1p(torch.exp(-w1 * w2)) + torch.log1p(torch.exp(2 * w1 * w2))) / 2


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


# dL/dz of both images, for z = w1 w2 x = -6 and -12; with dz/dw1 = w2 x and dz/dw2 = w1 x.
D1, D2 = (sigmoid(-6.0) - 1) / 2, sigmoid(-12.0) / 2
G1, G2 = W2 * (D1 + 2 * D2), W1 * (D1 + 2 * D2)


def hessian():
    weights = torch.tensor([W1, W2], dtype=torch.float64)
    return torch.autograd.functional.hessian(lambda w: loss(w[0], w[1]), weights)


def by_hand():
    g = torch.tensor([G1, G2], dtype=torch.float64)
    w = torch.tensor([W1, W2], dtype=torch.float64)
    # Activations 2 and 4 of the convolution with gradients w2 D, and -6 and -12 of the linear layer with gradients D.
    fisher = ((2 * W2 * D1) ** 2 + (4 * W2 * D2) ** 2) / 4 + ((-6 * D1) ** 2 + (-12 * D2) ** 2) / 4
    return {
        "params": 2.0,
        "flops": 2.0,
        "l2norm": 5.0,
        "grad_norm": abs(G1) + abs(G2),
        "snip": abs(W1 * G1) + abs(W2 * G2),
        "plain": W1 * G1 + W2 * G2,
        "grasp": float(-(w * (hessian() @ g)).sum()),
        # R = |w1| |w2| for an image of ones: each weight adds |w1 w2|.
        "synflow": 12.0,
        "fisher": fisher,
    }


@pytest.mark.parametrize(("name", "value"), by_hand().items())
def test_a_proxy_is_what_its_formula_gives_by_hand(name, value):
    assert PROXIES[name](Tiny(), X, Y) == pytest.approx(value, rel=1e-4)


def test_synflow_takes_weights_as_positive():
    """A negative weight before the ReLU would let nothing through."""
    network = Tiny()
    with torch.no_grad():
        network.conv.weight.neg_()
    assert PROXIES["synflow"](network, X, Y) == pytest.approx(12)


def test_naswot_counts_the_relus_that_agree():
    """Three units, two images: both have the first on and the second off, they differ in the third. K = [[3, 2], [2, 3]]."""
    network = nn.Sequential(nn.Flatten(), nn.ReLU())
    images = torch.tensor([[1.0, -1.0, 1.0], [2.0, -3.0, -1.0]]).view(2, 3, 1, 1)
    assert PROXIES["naswot"](network, images, Y) == pytest.approx(math.log(5))


def test_jacob_cov_of_gradients_that_are_uncorrelated_and_of_equal_ones():
    """Eigenvalues 1 and 1 of the first, 2 and 0 of the second; k = 1e-5 is added to each."""
    k = 1e-5

    class Square(nn.Module):
        """The gradient by an image is twice the image."""

        def forward(self, x):
            return (x**2).flatten(1)

    apart = torch.tensor([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]]).view(2, 1, 2, 2)
    assert PROXIES["jacob_cov"](Square(), apart, Y) == pytest.approx(-2 * (math.log(1 + k) + 1 / (1 + k)))
    alike = apart[[0, 0]] * torch.tensor([1.0, 3.0]).view(2, 1, 1, 1)
    expected = -(math.log(2 + k) + 1 / (2 + k) + math.log(k) + 1 / k)
    assert PROXIES["jacob_cov"](Square(), alike, Y) == pytest.approx(expected, rel=1e-3)
    assert math.isnan(PROXIES["jacob_cov"](Square(), torch.zeros(2, 1, 2, 2), Y))


def test_zen_measures_the_step_of_the_features_and_the_variance_that_batch_norms_divide_by():
    """Without batch norm the logarithm of the mean step; a batch norm takes the step's scale away and adds it back."""
    images = torch.zeros(4, 1, 3, 3)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)]

    def value(*layers):
        torch.manual_seed(0)
        return PROXIES["zen"](nn.Sequential(*layers, *head), images, Y)

    class Times(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, x):
            return self.factor * x

    assert value(Times(8.0)) - value(Times(1.0)) == pytest.approx(math.log(8), abs=1e-5)
    norms = [value(Times(factor), nn.BatchNorm2d(1, eps=1e-12)) for factor in (1.0, 8.0)]
    assert norms[1] - norms[0] == pytest.approx(math.log(8), abs=1e-3)


def test_a_proxy_leaves_the_network_as_it_was():
    task = ZeroCost.of("digits").task
    network = NasBench201(4, 1).build(NasBench201().reference_arch, task)
    before = {name: value.clone() for name, value in network.named_parameters()}
    images, labels = torch.randn(4, *task.input_shape), torch.tensor([0, 1, 2, 3])
    for name, proxy in PROXIES.items():
        proxy(network, images, labels)
        for parameter, value in network.named_parameters():
            assert torch.equal(value, before[parameter]), f"{name} changed {parameter}"
        assert all(not module._forward_hooks for module in network.modules()), f"{name} left a hook behind"


def test_layers_behind_which_nothing_follows_count_nothing():
    """A convolution that leads nowhere has no gradient, and one that zeros lead to has no variance: all is still a number."""
    space = NasBench201()
    evaluator = ZeroCost.of("digits", batch="8")
    texts = (
        "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",
        "|none~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|none~2|",
        "|none~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|",
    )
    for found in evaluator.proxies([space.parse(text) for text in texts], tuple(PROXIES)):
        assert all(map(math.isfinite, found.values.values())), found


PLAIN = "|{}~0|+|{}~0|{}~1|+|skip_connect~0|none~1|{}~2|"
CONV = "nor_conv_3x3"
SCORED = [
    (CONV, CONV, "none", CONV),
    ("nor_conv_1x1", "none", CONV, "avg_pool_3x3"),
    (CONV, "skip_connect", "none", CONV),
    ("none", CONV, CONV, "nor_conv_1x1"),
]


def test_scores_do_not_depend_on_what_is_scored_before():
    evaluator = ZeroCost.of("digits", proxy="zen", batch="8")
    arch = evaluator.space.reference_arch
    ((alone, _),) = evaluator.proxies([arch], ("zen",))
    ((among, _),) = evaluator.proxies([arch], tuple(PROXIES))
    assert among["zen"] == alone["zen"]
    torch.manual_seed(7)
    ((again, _),) = ZeroCost.of("digits", proxy="zen", batch="8").proxies([arch], ("zen",))
    assert again == alone


def test_networks_are_scored_at_once_and_as_each_alone(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    evaluator = ZeroCost.of("digits", batch="8")
    archs = [evaluator.space.parse(PLAIN.format(*operations)) for operations in SCORED]
    alone = [next(evaluator.proxies([arch], tuple(PROXIES))).values for arch in archs]
    both, real = threading.Barrier(2, timeout=60), zero_cost.PROXIES["naswot"]

    def together(*given):
        both.wait()  # Broken, and so an error, unless two networks are here at once.
        return real(*given)

    before = torch.random.get_rng_state()
    assert [found.values for found in evaluator.proxies(archs, tuple(PROXIES))] == alone
    assert torch.equal(torch.random.get_rng_state(), before)
    monkeypatch.setitem(zero_cost.PROXIES, "naswot", together)
    assert [found.values["naswot"] for found in evaluator.proxies(archs, ("naswot",))] == [x["naswot"] for x in alone]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"proxy": "naswt"}, "Did you mean 'naswot'"),
        ({"proxy": "snip", "space": "pipeline"}, "Say another space"),
        ({"proxy": "snip", "batch": "0"}, "batch"),
    ],
)
def test_what_cannot_be_scored_is_told_in_a_line(settings, says):
    with pytest.raises(UserError, match=says):
        ZeroCost.of("digits", **settings)


def test_a_network_that_raises_has_no_proxy_and_says_why(monkeypatch):
    evaluator = ZeroCost.of("digits", proxy="params")
    real, first = type(evaluator.space).build, torch.zeros(6, dtype=torch.long)

    def build(self, arch, task):
        if bool((arch == first).all()):
            raise RuntimeError("no\npath")
        return real(self, arch, task)

    monkeypatch.setattr(type(evaluator.space), "build", build)
    assert evaluator.failures() == []
    found = [one.values["params"] for one in evaluator.proxies([first, first + 3], ("params",))]
    assert [math.isnan(value) for value in found] == [True, False]
    assert evaluator.failures() == ["RuntimeError: no path"]


def test_there_is_no_default_that_does_not_exist():
    from nas.evaluators.zero_cost import PROXY

    assert PROXY in zero_cost.PROXIES
