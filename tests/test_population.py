"""A cell trained in company is the cell trained alone: the same weights, the same logits, whatever its operations."""

import pytest
import torch
import torch.nn.functional as F

from nas import training
from nas.training.network_batch import initialise
from nas.training.population import GroupedNetworks, SeparateNetworks
from search_spaces import Task, _cells, _ops
from search_spaces.nasbench201 import NasBench201

OPERATIONS = NasBench201.operations[0]
EVERY_OPERATION_ALONE = [[name] * 6 for name in OPERATIONS]
DEAD_PATHS = [
    ["none", "nor_conv_3x3", "nor_conv_1x1", "skip_connect", "none", "avg_pool_3x3"],
    ["nor_conv_3x3", "none", "none", "none", "none", "none"],
    ["nor_conv_3x3", "avg_pool_3x3", "skip_connect", "none", "none", "none"],
    ["avg_pool_3x3", "nor_conv_1x1", "none", "nor_conv_3x3", "none", "nor_conv_3x3"],
]
ALIVE = [
    ["nor_conv_3x3", "skip_connect", "nor_conv_3x3", "skip_connect", "avg_pool_3x3", "nor_conv_1x1"],
    ["skip_connect", "avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3", "skip_connect", "avg_pool_3x3"],
]
COMPANY = EVERY_OPERATION_ALONE + DEAD_PATHS + ALIVE
SHAPES = [(1, 8, 8, 1), (3, 9, 7, 2)]


def population_of(operations, task, stem_stride=1, cells=1):
    population = GroupedNetworks(operations, task, 4, cells, stem_stride)
    initialise(population, torch.arange(len(operations)) + 17)
    return population


def alone(population, p, operations, task, stem_stride=1, cells=1):
    network = _cells.three_stages(operations, task, 4, cells, stem_stride).to(population.weight.dtype)
    network.load_state_dict(population.state_of(p))
    return network


def batches(task, steps, dtype):
    noise = torch.Generator().manual_seed(3)
    for _ in range(steps):
        yield (
            torch.randn(12, *task.input_shape, generator=noise, dtype=dtype),
            torch.randint(task.num_classes, (12,), generator=noise),
        )


def trained(network, data):
    """`network` after a step on each of `data`; it may give logits `[N, K]` or `[P, N, K]`."""
    optimiser = torch.optim.SGD(network.parameters(), 0.05, 0.9, weight_decay=5e-4, nesterov=True)
    network.train()
    for x, y in data:
        logits = network(x)
        target = y.expand(logits.shape[:-1])
        loss = F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none").view(target.shape)
        optimiser.zero_grad()
        loss.mean(-1).sum().backward()
        optimiser.step()
    return network


@pytest.mark.parametrize("shape", SHAPES)
def test_after_20_steps_in_company_every_cell_has_the_logits_it_has_alone(shape):
    *input_shape, stride = shape
    task = Task("toy", tuple(input_shape), 5)
    population = population_of(COMPANY, task, stride).double()
    networks = [alone(population, p, operations, task, stride) for p, operations in enumerate(COMPANY)]
    data = list(batches(task, 20, torch.float64))
    trained(population, data)
    x, _ = next(batches(task, 1, torch.float64))
    for mode in (True, False):
        logits_PNK = population.train(mode)(x)
        for operations, network, logits in zip(COMPANY, networks, logits_PNK):
            if mode:
                trained(network, data)
            difference = (network.train(mode)(x) - logits).abs().max().item()
            assert difference < 1e-8, (operations, mode, difference)


@pytest.mark.parametrize("cells", [0, 2])
def test_networks_of_several_cells_a_stage_or_one_in_all_train_alike_in_company_and_alone(cells):
    task = Task("toy", (1, 8, 8), 3)
    population = population_of(COMPANY, task, cells=cells).double()
    networks = [alone(population, p, operations, task, cells=cells) for p, operations in enumerate(COMPANY)]
    data = list(batches(task, 4, torch.float64))
    trained(population, data)
    x, _ = next(batches(task, 1, torch.float64))
    logits_PNK = population.eval()(x)
    for operations, network, logits in zip(COMPANY, networks, logits_PNK):
        difference = (trained(network, data).eval()(x) - logits).abs().max().item()
        assert difference < 1e-8, (operations, difference)


def test_trained_weights_load_into_the_network_of_the_space_and_give_the_same_outputs():
    task = Task("toy", (3, 16, 16), 7)
    population = trained(population_of(COMPANY, task), batches(task, 5, torch.float32)).eval()
    x = torch.randn(6, *task.input_shape, generator=torch.Generator().manual_seed(0))
    for p, operations in enumerate(COMPANY):
        network = alone(population, p, operations, task).eval()
        torch.testing.assert_close(network(x), population(x)[p], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (3, 16, 16)])
def test_company_changes_no_bit_of_a_cell(input_shape):
    task = Task("toy", input_shape, 10)
    archs = _ops.from_index(torch.arange(7, 15_000, 997), (5,) * 6).tolist()
    operations = [[OPERATIONS[c] for c in arch] for arch in archs]
    keys = torch.arange(len(archs)) + 5
    data = list(batches(task, 3, torch.float32))
    x, _ = data[0]

    def logits_of(some):
        population = GroupedNetworks([operations[p] for p in some], task, 4, 1)
        initialise(population, keys[some])
        return trained(population, data).eval()(x)

    whole = logits_of(list(range(len(archs))))
    for some in ([0], [3, 11], [15, 2, 8, 9, 4]):
        assert torch.equal(logits_of(some), whole[some]), some


def test_a_cell_that_diverges_disturbs_no_other():
    task = Task("toy", (1, 8, 8), 10)
    data = list(batches(task, 6, torch.float32))
    x, _ = data[0]
    healthy = trained(population_of(COMPANY, task), data).eval()(x)
    population = population_of(COMPANY, task)
    sick = COMPANY.index(ALIVE[0])
    with torch.no_grad():
        population.weight[sick] = torch.inf
    logits_PNK = trained(population, data).eval()(x)
    assert logits_PNK[sick].isnan().all()
    others = [p for p in range(len(COMPANY)) if p != sick]
    assert torch.equal(logits_PNK[others], healthy[others])


def test_networks_side_by_side_and_as_one_start_from_the_same_weights():
    task = Task("toy", (1, 8, 8), 10)
    population = population_of(COMPANY, task)
    singles = SeparateNetworks([_cells.three_stages(operations, task, 4, 1) for operations in COMPANY])
    initialise(singles, torch.arange(len(COMPANY)) + 17)
    for p in range(len(COMPANY)):
        alone, together = singles.state_of(p), population.state_of(p)
        assert alone.keys() == together.keys()
        assert all(torch.equal(alone[name], together[name]) for name in alone)


@pytest.mark.parametrize(("channels", "kind"), [(8, GroupedNetworks), (16, SeparateNetworks)])
def test_without_a_compiler_the_module_that_is_faster_holds_the_cells_and_company_does_not_show(
    channels, kind, monkeypatch
):
    monkeypatch.setattr("nas.training.compiler.library", lambda: None)
    task = Task("toy", (1, 8, 8), 10)
    space = NasBench201(channels, cells=1)
    archs = _ops.from_index(torch.arange(7, 15_000, 1997), space.choices)
    data = list(batches(task, 2, torch.float32))
    whole = training.networks(space, archs, task, seed=1)
    assert isinstance(whole, kind)
    logits_PNK = trained(whole, data).eval()(data[0][0])
    some = trained(training.networks(space, archs[[5, 2]], task, seed=1), data).eval()(data[0][0])
    assert torch.equal(some, logits_PNK[[5, 2]])


@pytest.mark.parametrize("kind", [GroupedNetworks, SeparateNetworks])
def test_a_training_taken_up_is_the_training_that_was_not_left_off(kind):
    task = Task("toy", (1, 8, 8), 10)

    def fresh():
        singles = SeparateNetworks([_cells.three_stages(operations, task, 4, 1) for operations in ALIVE])
        cells = GroupedNetworks(ALIVE, task, 4, 1) if kind is GroupedNetworks else singles
        initialise(cells, torch.arange(len(ALIVE)))
        return cells

    assert_taken_up_is_not_left_off(fresh, [(x, y, 0.05) for x, y in batches(task, 4, torch.float32)])


def assert_taken_up_is_not_left_off(fresh, data):
    whole, first, second = fresh(), fresh(), fresh()
    whole.learn(data, 0.9, 5e-4)
    first.learn(data[:2], 0.9, 5e-4)
    for p in range(len(ALIVE)):
        training.restore(second, p, training.checkpoint(first, p, 1))
    second.learn(data[2:], 0.9, 5e-4)
    assert torch.equal(second.logits(data[0][0]), whole.logits(data[0][0]))
