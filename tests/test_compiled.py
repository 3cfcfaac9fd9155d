"""What compiled code trains is what PyTorch trains: the same logits for every cell, shape and batch, in company or alone."""

import os
import subprocess
import sys

import pytest
import torch

from nas import training
from nas.training import Images, Recipe, compiler
from nas.training.compiled import CompiledNetworks
from nas.training.network_batch import initialise
from search_spaces import Task, _cells, _ops
from search_spaces.nasbench201 import NasBench201
from tests.test_population import ALIVE, COMPANY, assert_taken_up_is_not_left_off, batches, trained

pytestmark = pytest.mark.skipif(compiler.library() is None, reason="there is no C compiler here")


def cells_of(operations, task, channels=4, cells=1, stem_stride=1, dtype=torch.float64):
    made = CompiledNetworks(operations, task, channels, cells, stem_stride, dtype)
    initialise(made, torch.arange(len(operations)) + 17)
    return made


def modules_of(cells, operations, task, channels=4, depth=1, stem_stride=1):
    """The same networks as PyTorch's modules, with the same weights."""
    modules = []
    for p, names in enumerate(operations):
        module = _cells.three_stages(names, task, channels, depth, stem_stride).to(cells.dtype)
        module.load_state_dict(cells.state_of(p))
        modules.append(module)
    return modules


def rates(data, rate=0.05):
    return [(x, y, rate) for x, y in data]


@pytest.mark.parametrize(
    ("shape", "stem_stride", "channels", "depth"),
    [((1, 8, 8), 1, 4, 1), ((3, 9, 7), 2, 4, 1), ((3, 9, 7), 1, 6, 2), ((2, 5, 4), 1, 3, 1), ((3, 16, 16), 2, 8, 0)],
)
def test_after_20_steps_every_cell_has_the_logits_of_its_own_module(shape, stem_stride, channels, depth):
    task = Task("toy", shape, 5)
    cells = cells_of(COMPANY, task, channels, depth, stem_stride)
    modules = modules_of(cells, COMPANY, task, channels, depth, stem_stride)
    data = list(batches(task, 20, torch.float64))
    cells.learn(rates(data), 0.9, 5e-4)
    x = data[0][0]
    for operations, module, logits in zip(COMPANY, modules, cells.logits(x)):
        difference = (trained(module, data).eval()(x) - logits).abs().max().item()
        assert difference < 1e-8, (operations, difference)


@pytest.mark.parametrize("images", [2, 15, 16, 33, 64, 70, 100])
def test_batches_of_every_size_train_alike(images):
    task = Task("toy", (1, 6, 6), 4)
    cells = cells_of(ALIVE, task)
    modules = modules_of(cells, ALIVE, task)
    noise = torch.Generator().manual_seed(1)
    data = [
        (torch.randn(images, 1, 6, 6, generator=noise).double(), torch.randint(4, (images,), generator=noise))
        for _ in range(3)
    ]
    cells.learn(rates(data), 0.9, 5e-4)
    for module, logits in zip(modules, cells.logits(data[0][0])):
        torch.testing.assert_close(trained(module, data).eval()(data[0][0]), logits, rtol=0, atol=1e-9)


def test_the_first_loss_is_the_cross_entropy_before_the_step():
    task = Task("toy", (1, 8, 8), 10)
    cells = cells_of(ALIVE, task)
    modules = modules_of(cells, ALIVE, task)
    (x, y), *_ = batches(task, 1, torch.float64)
    loss_P = cells.learn([(x, y, 0.1)], 0.9, 0.0)
    theirs = [torch.nn.functional.cross_entropy(module.train()(x), y).item() for module in modules]
    assert loss_P.tolist() == pytest.approx(theirs, rel=1e-6)


def test_company_and_threads_change_no_bit():
    task = Task("toy", (3, 8, 8), 10)
    space = NasBench201(8, cells=1)
    archs = _ops.from_index(torch.arange(7, 15_000, 1997), space.choices)
    data = rates(batches(task, 3, torch.float32))
    threads = torch.get_num_threads()

    def logits_of(some, cores):
        torch.set_num_threads(cores)
        cells = training.networks(space, archs[some], task, seed=1)
        assert isinstance(cells, CompiledNetworks)
        cells.learn(data, 0.9, 5e-4)
        return cells.logits(data[0][0])

    try:
        whole = logits_of(list(range(len(archs))), 2)
        for some in ([0], [5, 2], [7, 1, 3]):
            assert torch.equal(logits_of(some, 1), whole[some]), some
    finally:
        torch.set_num_threads(threads)


def test_in_float32_weights_load_into_the_network_of_the_space_and_give_the_same_outputs():
    task = Task("toy", (3, 16, 16), 7)
    cells = cells_of(COMPANY, task, dtype=torch.float32)
    data = rates(batches(task, 5, torch.float32))
    cells.learn(data, 0.9, 5e-4)
    for p, module in enumerate(modules_of(cells, COMPANY, task)):
        torch.testing.assert_close(module.eval()(data[0][0]), cells.logits(data[0][0])[p], rtol=1e-4, atol=1e-4)


def test_a_cell_that_diverges_disturbs_no_other_and_says_nan():
    task = Task("toy", (1, 8, 8), 10)
    data = rates(batches(task, 4, torch.float32))
    healthy, cells = cells_of(COMPANY, task, dtype=torch.float32), cells_of(COMPANY, task, dtype=torch.float32)
    sick = COMPANY.index(ALIVE[0])
    cells.state_of(sick)["body.0.edges.0.1.weight"].fill_(torch.inf)
    healthy.learn(data, 0.9, 5e-4)
    loss_P = cells.learn(data, 0.9, 5e-4)
    assert loss_P[sick].isnan()
    others = [p for p in range(len(COMPANY)) if p != sick]
    assert torch.equal(cells.logits(data[0][0])[others], healthy.logits(data[0][0])[others])


def test_a_training_taken_up_is_the_training_that_was_not_left_off():
    task = Task("toy", (1, 8, 8), 10)
    data = rates(batches(task, 4, torch.float32))
    assert_taken_up_is_not_left_off(lambda: cells_of(ALIVE, task, dtype=torch.float32), data)


def test_few_images_and_many_cells_learn_what_there_is_to_learn():
    space, task = NasBench201(8, cells=1), Task("toy", (1, 8, 8), 2)
    noise = torch.Generator().manual_seed(0)
    y = torch.arange(128) % 2
    x = (torch.randint(100, (128, 1, 8, 8), generator=noise) + 100 * y.view(-1, 1, 1, 1)).byte()
    images = Images(x, y, torch.tensor([0.4]), torch.tensor([0.3]))
    archs = space.parse("|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|")[None]
    cells = training.networks(space, archs, task, 0)
    losses = [loss.item() for loss in training.train(cells, images, Recipe(6, batch=32))]
    assert losses[-1] < losses[0] / 2
    assert training.accuracy(cells, images)[0] > 95


def test_without_a_compiler_pytorch_trains():
    code = (
        "import torch; from nas import training; from search_spaces import Task;"
        "from search_spaces.nasbench201 import NasBench201;"
        "cells = training.networks(NasBench201(4, 1), torch.zeros(2, 6).long(), Task('t', (1, 8, 8), 2), 0);"
        "print(type(cells).__name__)"
    )
    for changed in ({"NAS_COMPILE": "0"}, {"CC": "no-such-compiler"}):
        environment = {**os.environ, **changed}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "GroupedNetworks"


@pytest.mark.parametrize("side", [64])
def test_larger_images_train_alike(side):
    task = Task("toy", (3, side, side), 4)
    cells, noise = cells_of(ALIVE, task), torch.Generator().manual_seed(1)
    modules = modules_of(cells, ALIVE, task)
    data = [
        (torch.randn(5, 3, side, side, generator=noise).double(), torch.randint(4, (5,), generator=noise))
        for _ in range(2)
    ]
    cells.learn(rates(data), 0.9, 5e-4)
    for module, logits in zip(modules, cells.logits(data[0][0])):
        torch.testing.assert_close(trained(module, data).eval()(data[0][0]), logits, rtol=0, atol=1e-9)
