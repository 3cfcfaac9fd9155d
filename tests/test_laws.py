"""The laws every controller and every space keeps, tried on each file found on disk."""

import inspect

import pytest
import torch
from safetensors.torch import load, save

from controller import HasPolicy
from nas import plugins
from tests import _toys

CONTROLLERS = plugins.names("controller")
SPACES = plugins.names("space")
EVERY_CONTROLLER = pytest.mark.parametrize("name", CONTROLLERS)
EVERY_SPACE = pytest.mark.parametrize("name", SPACES)
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
            assert torch.equal(ours, theirs[:company]), (company, path)


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
