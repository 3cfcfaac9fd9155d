"""A learned start of a supernet: what is kept of its weights, the outer loop's rules, a search that begins with it."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from controller.darts import Darts
from controller.models import prior_file
from nas import loop
from nas.evaluators.supernet import Supernet
from nas.meta import outer_loop
from nas.meta.metanas import MetaNas
from nas.run import session, state_tree
from nas.run.config import RunConfig
from nas.training import supernet_start
from nas.training.supernet_autograd import AutogradSupernet
from search_spaces import UserError

SIZES = {"channels": 4, "cells": 1, "image_size": 8, "examples": 128}
QUICK = {**SIZES, "rounds": 2, "steps": 2, "shared_steps": 1}
OPTIONS = {name: str(value) for name, value in SIZES.items()} | {"epochs": "1"}


@pytest.fixture
def three_classes(tmp_path):
    """A small gray set."""
    generator = np.random.default_rng(0)
    labels = np.arange(120) % 3
    images = (generator.integers(0, 100, (120, 8, 8, 1)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    np.savez(tmp_path / "three.npz", x_train=images, y_train=labels)
    return f"npz:{tmp_path / 'three.npz'}"


def _same(one, other):
    ours, theirs = state_tree.flatten(one), state_tree.flatten(other)
    return ours.keys() == theirs.keys() and all(torch.equal(t, theirs[n]) for n, t in ours.items())


def test_weights_are_kept_by_name_without_the_head_and_fit_where_their_shapes_do(three_classes):
    ten, three = (Supernet.of(name, **OPTIONS) for name in ("digits", three_classes))
    weights = supernet_start.named(ten.net.programs, ten.begin(torch.tensor([5])).weights[0])
    assert not any("head.4." in name for name in weights)
    fresh = three.begin(torch.arange(2)).weights
    started, fitted = supernet_start.placed(three.net.programs, fresh, weights)
    shared = fresh.shape[1] - 3 * 16 - 3
    assert fitted == shared
    assert torch.equal(started[0, :shared], started[1, :shared]), "every search begins with them"
    assert torch.equal(started[:, shared:], fresh[:, shared:]), "the head of each search is its own"
    kept = supernet_start.named(three.net.programs, started[0])
    assert all(torch.equal(kept[name], value) for name, value in weights.items())
    wide = Supernet.of("digits", **OPTIONS | {"channels": "8"})
    assert supernet_start.placed(wide.net.programs, wide.begin(torch.tensor([0])).weights, weights)[1] == 0


def _by_hand(learner, start):
    """The inner search from a start, by what a user has."""
    one, prior = learner.evaluators[0], learner.prior(start)
    one, seeds = one.from_prior(prior), learner.search_seeds(start)
    controller = Darts(one.space, lr=learner.alpha_lr, steps=learner.steps, temperature=learner.temperature)
    evaluate, memory = loop.load(one, seeds)
    for number, step in enumerate(
        loop.search(controller, evaluate, controller.begin(one.task, seeds, prior), memory=memory), 1
    ):
        if number == learner.steps:
            return one, controller, step
    return None


def test_by_reptile_the_start_moves_to_where_the_search_ends():
    learner = MetaNas(("digits",), **QUICK)
    start = outer_loop.untrained(learner, 3)
    one, _, step = _by_hand(learner, start)
    after, metrics = learner.update(start, ())
    assert torch.equal(after.alpha, step.state.params["alpha"][0])
    ends = supernet_start.named(one.net.programs, step.memory.weights[0])
    assert all(torch.equal(after.weights[name], value) for name, value in ends.items())
    assert 0 <= metrics["adapted"] <= 100
    again, _ = learner.update(after, ())
    _, _, step = _by_hand(learner, after)
    # The second of two rounds: half of the way.
    torch.testing.assert_close(again.alpha, after.alpha + 0.5 * (step.state.params["alpha"][0] - after.alpha))


def test_by_maml_it_goes_down_the_gradient_at_that_end():
    learner = MetaNas(("digits",), rule="maml", lr=0.1, **QUICK)
    start = outer_loop.untrained(learner, 3)
    one, controller, step = _by_hand(learner, start)
    net = AutogradSupernet(one.net.programs, torch.device("cpu"))
    weights, alpha = (t[0].clone().requires_grad_() for t in (step.memory.weights, step.state.params["alpha"]))
    mixture = controller.mix({"alpha": alpha[None]}, step.state, 1)[0, 0]
    x, y, _ = one.images.validation(learner.steps)
    F.cross_entropy(net._logits(weights, mixture, x[0]), y[0]).backward()
    after, _ = learner.update(start, ())
    torch.testing.assert_close(start.alpha - after.alpha, 0.1 * alpha.grad, rtol=0, atol=1e-5)
    for name, by_weight in supernet_start.named(one.net.programs, weights.grad).items():
        torch.testing.assert_close(start.weights[name] - after.weights[name], 0.1 * by_weight, rtol=1e-3, atol=3e-5)


def test_a_round_has_every_set_once_and_a_training_that_was_stopped_ends_with_the_same_bits(three_classes, tmp_path):
    learner = MetaNas(("digits", three_classes), **QUICK | {"rounds": 5})
    names, evaluators = [], learner.evaluators
    for one in evaluators:
        # Which sets are searched, in which order.
        object.__setattr__(
            one, "from_prior", lambda prior, one=one: names.append(one.task.name) or Supernet.from_prior(one, prior)
        )
    states = [progress.state for progress in outer_loop.train(learner, outer_loop.untrained(learner, 1), 1)]
    assert [sorted(names[at : at + 2]) for at in range(0, 10, 2)] == [sorted(learner.sets)] * 5
    outer_loop.save(tmp_path / "checkpoint", states[0], {})
    begun = outer_loop.load(tmp_path / "checkpoint", outer_loop.untrained(learner, 1), {})
    assert _same(states[-1], [p.state for p in outer_loop.train(learner, begun, 1)][-1])
    other = [p.state for p in outer_loop.train(learner, outer_loop.untrained(learner, 2), 2)][-1]
    assert not torch.equal(other.alpha, states[-1].alpha)


def _learned(nas, tmp_path, *words):
    options = [f"--learner-option={name}={value}" for name, value in (QUICK | {"rounds": 1}).items()]
    return nas("meta-train", "--out", str(tmp_path / "learned"), *words, *options)


def test_a_search_begins_with_the_prior_that_the_command_makes(nas, three_classes, tmp_path):
    done = _learned(nas, tmp_path, "--images", "digits")
    assert done.returncode == 0, done.stderr
    file = tmp_path / "learned/prior.safetensors"
    prior = prior_file.read(str(file))
    assert prior.about["controller"] == "darts"
    assert prior.about["geometry"] == "4 channels and 1 cells a stage, for 8x8x1 images"
    config = RunConfig(
        task=three_classes, evaluator="supernet", controller="darts", evals=3, prior=str(file), training_options=OPTIONS
    )
    setup = session.load(config)
    assert setup.has_prior
    assert "of shared weights (99." in setup.evaluator.description
    kept = supernet_start.named(setup.evaluator.net.programs, setup.evaluator.begin(setup.seeds).weights[0])
    assert all(torch.equal(kept[name], prior.params[name]) for name in kept)
    alpha = session.initial_state(setup).params["alpha"][0]
    torch.testing.assert_close(alpha, prior.params["alpha"], rtol=0, atol=0.01)
    # Whatever the controller is, the weights are of use.
    other = session.load(RunConfig(**vars(config) | {"controller": "random_search"}))
    assert other.prior is None
    assert other.has_prior
    assert torch.equal(other.evaluator.begin(setup.seeds).weights, setup.evaluator.begin(setup.seeds).weights)
    with pytest.raises(UserError, match="is for controller 'darts'"):
        session.load(RunConfig(task="own201/digits", controller="random_search", prior=str(file)))
    with pytest.raises(UserError, match="here they would be of 8 channels and 1 cells a stage"):
        session.load(RunConfig(**vars(config) | {"training_options": OPTIONS | {"channels": "8"}}))
    run = session.start(tmp_path / "run", config, setup)
    save_file(load_file(file) | {"alpha": prior.params["alpha"] + 1}, file, prior.about | {"format": prior_file.FORMAT})
    with pytest.raises(UserError, match="began with another prior"):
        session.go_on(run, session.load(config), config)
    run.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--learner", "metanas"), "metanas learns from images: name sets by --images"),
        (("--images", "digits", "--learner", "maml"), "--learner is maml, which learns from tables"),
        (("--images", "digits", "--images", "digits"), "--images names 'digits' twice"),
        (("--images", "nothing.npz"), "nothing.npz"),
        (("--images", "digits", "--learner-option", "rule=adam"), "Setting rule is 'adam'; it takes reptile or maml"),
    ],
)
def test_what_no_start_can_be_learned_from_is_said_in_a_line(words, said, nas, tmp_path):
    done = _learned(nas, tmp_path, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "learned").exists()


def test_sets_of_different_channels_share_no_weights(tmp_path):
    labels = np.arange(40) % 2
    np.savez(
        tmp_path / "colored.npz",
        x_train=np.random.default_rng(0).integers(0, 255, (40, 8, 8, 3), np.uint8),
        y_train=labels,
    )
    with pytest.raises(UserError, match=r"'digits' has 1 channel and 'npz:.*colored.npz' 3; --images takes"):
        MetaNas(("digits", f"npz:{tmp_path / 'colored.npz'}"), **QUICK).evaluators  # noqa: B018


def test_a_temperature_hardens_the_mixture_of_darts_along_a_line():
    plain, hard = (Darts(Supernet.of("digits", **OPTIONS).space, steps=5, temperature=t) for t in (1.0, 0.25))
    state = plain.begin(None, torch.arange(2))
    params = {"alpha": torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))}
    for step, temperature in ((0, 1.0), (2, 0.625), (4, 0.25)):
        now = state._replace(step=torch.full((2,), step))
        expected = (params["alpha"] / temperature).softmax(-1)[:, None]
        torch.testing.assert_close(hard.mix(params, now, 1), expected)
        torch.testing.assert_close(plain.mix(params, now, 1), params["alpha"].softmax(-1)[:, None])


def test_it_is_listed_among_the_meta_learners_with_its_settings(nas):
    rows = json.loads(nas("components", "--kind", "meta-learner", "--json").stdout)
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    (listed,) = [row for row in rows if row["name"] == "metanas"]
    assert listed["settings"]["rounds"] == 6
    assert "sets" not in listed["settings"]
    assert "--images" in nas("meta-train", "--learner", "metanas", "-l", "rounds=1").stderr
