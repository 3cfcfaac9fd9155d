"""Partial channels of PC-DARTS: compiled code, PyTorch and a loop over channels agree."""

import pytest
import torch
import torch.nn.functional as F

from nas.evaluators.supernet import Supernet
from nas.training import supernet
from nas.training.supernet_autograd import AutogradSupernet, _operation
from nas.training.supernet_program import SupernetPrograms, Weights
from search_spaces import Skeleton, Task, UserError, _cells
from search_spaces.nasbench201 import NasBench201

SPACE, TASK, SKELETON = NasBench201(), Task("small", (3, 7, 5), 4), Skeleton(8, 1, 1)
FLOAT64 = torch.float64


def _one_hot(arch):
    return F.one_hot(torch.tensor(arch), 5).to(FLOAT64)


MIXTURES = {
    "mixture": torch.rand(6, 5, generator=torch.Generator().manual_seed(0), dtype=FLOAT64),
    "path": _one_hot([3, 2, 4, 1, 0, 3]),
    "dead edges": _one_hot([0, 1, 4, 3, 0, 0]),
    "nothing": _one_hot([0] * 6),
}
K = pytest.mark.parametrize("partial", [2, 4])


def _given(partial):
    generator = torch.Generator().manual_seed(1)
    params = supernet.initial(SPACE.operations, TASK, SKELETON, torch.tensor([3]), partial)[0].double()
    noise = torch.randn(2, len(params), generator=generator, dtype=FLOAT64)
    x = torch.randn(2, 9, *TASK.input_shape, generator=generator, dtype=FLOAT64)
    return Weights(params + 0.05 * noise[0], 0.1 * noise[1]), x, torch.randint(4, (2, 9), generator=generator)


def _autograd(partial):
    return AutogradSupernet(SupernetPrograms(SPACE.operations, TASK, SKELETON, partial), torch.device("cpu"))


@K
@pytest.mark.parametrize("name", MIXTURES)
def test_compiled_code_and_pytorch_agree(name, partial):
    compiled = supernet.make(SPACE.operations, TASK, SKELETON, dtype=FLOAT64, partial=partial)
    if not isinstance(compiled, supernet.CompiledSupernet):
        pytest.skip("needs a C compiler")
    (weights, x, y), nets = _given(partial), (compiled, _autograd(partial))
    for one, other in zip(*(net.score(weights, MIXTURES[name], x, y, slope=True) for net in nets)):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)
    (ours, loss), (theirs, other) = (net.learn(weights, MIXTURES[name], x, y, [0.1, 0.05], 0.9, 5e-4) for net in nets)
    torch.testing.assert_close((*ours, loss), (*theirs, other), rtol=0, atol=1e-9)


@K
def test_a_cell_is_what_a_loop_over_its_channels_makes(partial):
    """Section 3.2: the first channels mixed, each other one passed, channel g C/K + r put at r K + g."""
    net, weights = _autograd(partial), _given(partial)[0]
    views, mixture = net.programs.whole.program.views(weights.params), MIXTURES["mixture"]
    given = torch.randn(9, 8, 7, 5, generator=torch.Generator().manual_seed(2), dtype=FLOAT64)
    part, nodes = 8 // partial, [given, *[torch.zeros_like(given) for _ in range(3)]]
    for e, (i, j) in enumerate(_cells.EDGES):
        mixed = sum(
            mixture[e, c] * _operation(views, f"body.0.edges.{e}.{name}", name, nodes[i][:, :part])
            for c, name in enumerate(SPACE.operations[e])
            if name != "none"
        )
        nodes[j] = nodes[j].clone()
        for channel in range(8):
            group, rest = divmod(channel, part)
            value = mixed[:, channel] if group == 0 else mixture[e].sum() * nodes[i][:, channel]
            nodes[j][:, rest * partial + group] += value
    torch.testing.assert_close(net._cell(views, "body.0", mixture, given), nodes[-1], rtol=0, atol=1e-12)


@K
def test_the_slope_is_the_derivative_of_the_loss_by_each_weight(partial):
    (weights, x, y), step = _given(partial), 1e-5
    net, mixture = supernet.make(SPACE.operations, TASK, SKELETON, dtype=FLOAT64, partial=partial), MIXTURES["mixture"]
    slope = net.score(weights, mixture, x, y, slope=True).slope
    for d, c in ((0, 0), (1, 3), (2, 1), (4, 4), (5, 2)):
        moved = torch.zeros_like(mixture)
        moved[d, c] = step
        high, low = (net.score(weights, mixture + s * moved, x, y, slope=False).loss.mean() for s in (1, -1))
        assert (high - low) / (2 * step) == pytest.approx(slope[d, c].item(), abs=1e-7)
    assert (slope[:, 0] != 0).all(), "the other channels pass with the weight of `none` too"


def test_it_is_a_setting_of_the_evaluator():
    four, one = (Supernet.of("digits", epochs="1", partial_channels=k) for k in ("4", "1"))
    convs = [
        four.net.programs.whole.program.weights["body.0.edges.0.nor_conv_3x3.1.weight"].shape,
        one.net.programs.whole.program.weights["body.0.edges.0.nor_conv_3x3.1.weight"].shape,
    ]
    assert convs == [(3, 3, 2, 2), (3, 3, 8, 8)]
    assert four.begin(torch.arange(2)).weights.shape[1] < one.begin(torch.arange(2)).weights.shape[1]
    with pytest.raises(UserError, match="partial_channels is 3; it takes a divisor of the 8 channels"):
        Supernet.of("digits", partial_channels="3")
