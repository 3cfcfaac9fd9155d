"""The laws every controller and every space keeps, tried on each file found on disk."""

import inspect

import pytest
import torch
from safetensors.torch import load, save

from controller import HasPolicy
from nas import plugins
from search_spaces import (
    HasCost,
    HasLoads,
    HasMirror,
    HasOwnSize,
    Task,
    _network_costs,
    _ops,
    as_cell_space,
    representatives,
)
from tests import _toys

CONTROLLERS = plugins.names("controller")
SPACES = plugins.names("space")
EVERY_CONTROLLER = pytest.mark.parametrize("name", CONTROLLERS)
EVERY_SPACE = pytest.mark.parametrize("name", SPACES)
CELL_SPACES = [name for name in SPACES if as_cell_space(plugins.load("space", name)())]
EVERY_CELL_SPACE = pytest.mark.parametrize("name", CELL_SPACES)
SMALL = Task("small", (3, 12, 12), 7)
BATCHES = pytest.mark.parametrize("batch", [1, 3, 40])


def space_called(name):
    return plugins.load("space", name)()


def controller_called(name, space="nasbench201"):
    return plugins.load("controller", name)(space_called(space))


@BATCHES
@EVERY_CONTROLLER
def test_a_seed_searches_alike_alone_and_in_company(name, batch):
    controller = controller_called(name)
    run = _toys.evaluate(controller.space)
    seeds, steps = torch.arange(100, 119), 14 if batch < 40 else 3
    archs, _, state = _toys.walk(controller, run, seeds, batch, steps)
    for some in (slice(0, 1), slice(5, 12), slice(18, 19)):
        fewer, _, smaller = _toys.walk(controller, run, seeds[some], batch, steps)
        assert torch.equal(fewer, archs[some])
        for (path, ours), (_, theirs) in zip(_toys.leaves(smaller), _toys.leaves(state)):
            assert ours is None or torch.equal(ours.nan_to_num(-1), theirs[some].nan_to_num(-1)), path


@pytest.mark.parametrize("batch", [1, 8, 40])
@pytest.mark.parametrize(
    ("name", "fields"),
    [("reinforce", {}), ("reinforce", {"policy_net": "independent"}), ("reinforce", {"hidden": 13}), ("ppo", {})],
)
def test_company_of_any_size_changes_no_bit_of_a_policy(name, fields, batch):
    controller = plugins.load("controller", name)(space_called("nasbench201"), **fields)
    run, steps = _toys.evaluate(controller.space), 3 if batch < 40 else 2
    seeds = torch.arange(500 if batch < 40 else 60)
    archs, _, state = _toys.walk(controller, run, seeds, batch, steps)
    for company in (1, 2, 3, 7, 40):
        fewer, _, smaller = _toys.walk(controller, run, seeds[:company], batch, steps)
        assert torch.equal(fewer, archs[:company]), company
        for (path, ours), (_, theirs) in zip(_toys.leaves(smaller), _toys.leaves(state)):
            assert ours is None or torch.equal(ours, theirs[:company]), (company, path)


@EVERY_CONTROLLER
def test_a_seed_does_not_depend_on_its_place(name):
    controller = controller_called(name)
    run = _toys.evaluate(controller.space)
    seeds = torch.tensor([3, 1, 4, 15, 9, 2, 6])
    archs, *_ = _toys.walk(controller, run, seeds, 2, steps=12)
    turned, *_ = _toys.walk(controller, run, seeds.flip(0), 2, steps=12)
    assert torch.equal(turned.flip(0), archs)


@BATCHES
@EVERY_CONTROLLER
def test_a_search_goes_on_from_a_saved_state_as_if_never_stopped(name, batch):
    controller = controller_called(name)
    run = _toys.evaluate(controller.space, failing=0.1)
    seeds, before, after = torch.arange(3), *((9, 7) if batch < 40 else (2, 2))
    whole, _, last = _toys.walk(controller, run, seeds, batch, before + after)
    _, _, state = _toys.walk(controller, run, seeds, batch, before)
    file = save({path: leaf.contiguous() for path, leaf in _toys.leaves(state) if leaf is not None})
    kept = load(file)
    paths = iter([path for path, leaf in _toys.leaves(state) if leaf is not None])
    restored = _toys.rebuild(state, lambda _leaf: kept[next(paths)])
    rest, _, again = _toys.walk(controller, run, seeds, batch, after, state=restored)
    assert torch.equal(rest, whole[:, before:])
    for (path, ours), (_, theirs) in zip(_toys.leaves(again), _toys.leaves(last)):
        assert ours is None or torch.equal(ours.nan_to_num(-1), theirs.nan_to_num(-1)), path


@EVERY_CONTROLLER
def test_every_leaf_of_a_state_is_a_tensor_that_leads_with_the_seeds(name):
    controller = controller_called(name)
    _, _, state = _toys.walk(controller, _toys.evaluate(controller.space), torch.arange(5), 2, steps=3)
    for path, leaf in _toys.leaves(state):
        assert leaf is None or (torch.is_tensor(leaf) and len(leaf) == 5), path
    assert state.seeds.dtype == state.step.dtype == torch.int64
    assert state.seeds.shape == state.step.shape == (5,)


@EVERY_CONTROLLER
def test_a_proposal_is_a_function_of_the_state_alone(name):
    controller = controller_called(name)
    _, _, state = _toys.walk(controller, _toys.evaluate(controller.space), torch.arange(5), 2, steps=5)
    assert torch.equal(controller.propose(state, 3).archs, controller.propose(state, 3).archs)


@pytest.mark.parametrize("space", SPACES)
@EVERY_CONTROLLER
def test_every_proposed_architecture_is_valid(name, space):
    controller = controller_called(name, space)
    archs, *_ = _toys.walk(controller, _toys.evaluate(controller.space, failing=0.1), torch.arange(3), 4, steps=12)
    assert archs.dtype == torch.int64
    assert controller.space.valid(archs).all()


@EVERY_CONTROLLER
def test_failed_evaluations_are_survived(name):
    controller = controller_called(name)
    for failing in (0.5, 1.1):
        run = _toys.evaluate(controller.space, failing=failing)
        archs, *_ = _toys.walk(controller, run, torch.arange(3), 2, steps=15)
        assert controller.space.valid(archs).all()


@EVERY_CONTROLLER
def test_a_policy_is_a_distribution(name):
    controller = controller_called(name)
    if not isinstance(controller, HasPolicy):
        return
    _, _, state = _toys.walk(controller, _toys.evaluate(controller.space), torch.arange(3), 2, steps=5)
    probabilities = controller.policy(state)
    assert probabilities.shape == (3, len(controller.space.choices), max(controller.space.choices))
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(probabilities.shape[:2]))


@EVERY_CONTROLLER
def test_a_controllers_other_fields_have_defaults(name):
    first, *others = inspect.signature(plugins.load("controller", name)).parameters.values()
    assert first.name == "space"
    assert all(p.default is not p.empty for p in others)


@EVERY_SPACE
def test_a_space_says_of_every_option_what_it_does(name):
    space = space_called(name)
    assert tuple(map(len, space.operation_features)) == tuple(map(len, space.operations)) == space.choices
    for options in space.operation_features:
        assert all(any(features) for features in options)


@EVERY_CELL_SPACE
def test_a_cells_edges_lead_forward_from_the_input_to_the_output(name):
    space = as_cell_space(space_called(name))
    assert len(space.edges) == len(set(space.edges)) == len(space.choices)
    last = max(j for _, j in space.edges)
    assert all(i < j for i, j in space.edges)
    assert {j for _, j in space.edges} == set(range(1, last + 1))


@EVERY_CELL_SPACE
@pytest.mark.parametrize("deep", [False, True])
def test_an_equivalent_is_valid_has_no_more_convolutions_and_is_its_own_equivalent(name, deep):
    space = as_cell_space(space_called(name)).proxy(4, 1, 1)
    archs = _ops.enumerate_all(space.choices)
    found = space.equivalents(archs, deep=deep)
    assert space.valid(found).all()
    assert torch.equal(space.equivalents(found, deep=deep), found)
    assert torch.equal(space.equivalents(space.canonical(archs), deep=deep), found)
    area = torch.tensor([[f.convolution * f.kernel for f in options] for options in space.operation_features])
    ours, theirs = (area[torch.arange(len(area)), a].sum(-1) for a in (archs, found))
    assert (theirs <= ours + 1e-5).all()


@EVERY_CELL_SPACE
def test_a_proxy_has_the_same_cells_in_a_network_of_another_size(name):
    space = as_cell_space(space_called(name))
    small, wide, deep, coarse = (space.proxy(*size) for size in ((4, 1, 1), (8, 1, 1), (4, 2, 1), (4, 1, 2)))
    arch = space.reference_arch
    assert small.choices == space.choices
    assert small.describe(arch).split("-")[-1] == space.describe(arch).split("-")[-1]
    params, flops = small.cost(arch, SMALL)
    assert all(more.cost(arch, SMALL)[0] > params for more in (wide, deep))
    assert coarse.cost(arch, SMALL)[0] == params
    assert coarse.cost(arch, SMALL)[1] < flops
    assert small.build(arch, SMALL).eval()(torch.zeros(2, 3, 12, 12)).shape == (2, 7)


@EVERY_CELL_SPACE
def test_costs_are_those_of_built_networks(name):
    space = as_cell_space(space_called(name)).proxy(4, 2, 1)
    archs = _ops.enumerate_all(space.choices)[::397]
    params, flops = space.cost(archs, SMALL)
    for arch, weights, work in zip(archs, params, flops):
        assert (weights, work) == _network_costs.counts(space, arch, SMALL)


@EVERY_SPACE
def test_costs_and_loads_that_a_space_says_of_itself_are_those_of_its_networks(name):
    space = space_called(name)
    if name == "nasbench_graph":
        pytest.importorskip("torch_geometric", reason="needs PyTorch Geometric")
    archs = representatives(space, _ops.sample_unchecked(torch.tensor([0]), 0, 6, space.choices)[0])
    sized = [space.sized(arch, SMALL) if isinstance(space, HasOwnSize) else SMALL for arch in archs]
    if isinstance(space, HasCost):
        found = torch.stack(space.cost(archs, SMALL), -1).tolist()
        assert found == [[*_network_costs.counts(space, arch, task)] for arch, task in zip(archs, sized)]
    if isinstance(space, HasLoads):
        found = torch.stack(list(space.loads(archs, SMALL)), -1).tolist()
        twice = [1 + (isinstance(space, HasMirror) and space.mirrors(arch)) for arch in archs]
        built = [_network_costs.built_loads(space, tuple(arch.tolist()), SMALL) for arch in archs]
        assert found == [[n * value for value in values] for n, values in zip(twice, built)]


@EVERY_CELL_SPACE
def test_the_reference_is_two_3x3_convolutions_beside_a_skip(name):
    space = as_cell_space(space_called(name))
    features = [space.operation_features[d][c] for d, c in enumerate(space.reference_arch.tolist())]
    by_edge = {edge: f for edge, f in zip(space.edges, features) if not f.none}
    assert {edge for edge, f in by_edge.items() if f.convolution and f.kernel == 1} == {(0, 1), (1, 2)}
    assert {edge for edge, f in by_edge.items() if f.identity} == {(0, 3), (2, 3)}
