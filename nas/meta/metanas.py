"""A start of gradient search, learned across image sets: shared weights and architecture parameters together.

MetaNAS (Elsken et al. 2020, arXiv:1911.11090): the inner loop on a set is a search by `darts` over a supernet, whose mixture
hardens as its temperature falls; the outer loop moves the start of weights and of alpha alike. By Reptile (Nichol et al. 2018,
arXiv:1803.02999, algorithm 1) the start goes towards where each search ends; by MAML of first order (Finn et al. 2017,
arXiv:1703.03400; T-NAS, Lian et al. 2020, has it on architectures) it goes down the gradient of the validation loss at that end.
The head is of one set's classes: every search begins with a fresh one.
Shapes: `D` decisions, `C` choices, `P` parameters.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from controller import Count, Positive, Prior, Stage, TaskBatch, TaskSet
from controller.darts import Darts
from controller.policies import optim, relaxed
from nas import loop, plugins
from nas.evaluators.supernet import Memory, Supernet
from nas.training import supernet_start
from search_spaces import UserError, _noise

NAME = "metanas"
"""As `nas meta-train --learner` has it; it is the learner that learns from images."""
_ROUND, _SEARCH = 1, 2
"""Streams of random numbers: the order of the sets in a round, the seed of a search."""


class State(NamedTuple):
    step: Tensor
    """int64 `[]` searches done."""
    seeds: Tensor
    """int64 `[1]` of all that is drawn."""
    alpha: Tensor
    """float32 `[D, C]` where each search's architecture parameters begin."""
    weights: dict[str, Tensor]
    """Where its shared weights begin, by name."""


class End(NamedTuple):
    """Where a search ended, and what the start gains by it."""

    alpha: Tensor
    weights: dict[str, Tensor]
    accuracy: float
    """Of the mixture on all validation images, in percent."""


@dataclass(frozen=True)
class MetaNas:
    """Learns the start of a gradient search across image sets."""

    sets: tuple[str, ...]
    """Names of datasets, as `--task` has them."""
    rule: Literal["reptile", "maml"] = "reptile"
    """`maml` is of first order; it takes an `lr` of about `shared_lr`."""
    rounds: Count = 6
    """Searches of each set."""
    lr: Positive = 1.0
    """Of the outer loop at first; it falls to 0 along a line, as Reptile's on mini-ImageNet. 1: the start is the first end."""
    steps: Count = 40
    """Of an inner search: each moves alpha once and the weights `shared_steps` times."""
    alpha_lr: Positive = 0.05
    """Of the inner search's Adam."""
    temperature: Positive = 0.2
    """Of the softmax at the end of an inner search. Not ablated."""
    channels: Count = 8
    cells: Count = 1
    """Of the network, a stage; a prior serves searches with the same."""
    image_size: Count = 16
    examples: Count = 2000
    """Training images of a set at most."""
    shared_steps: Count = 4
    shared_lr: Positive = 0.05
    quick_options: ClassVar[Mapping[str, Any]] = {"rounds": 1, "steps": 2}

    @property
    def tasks(self) -> TaskSet:
        """No tables: it learns from images."""
        return TaskSet((), ())

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("searches", self.rounds * len(self.sets), ()),)

    @cached_property
    def evaluators(self) -> tuple[Supernet, ...]:
        """One of each set. Raises `UserError` where their networks cannot share weights."""
        given = ("channels", "cells", "image_size", "examples", "shared_steps", "shared_lr")
        settings = {name: str(getattr(self, name)) for name in given} | {
            "shared_evals": str(self.steps),
            "device": "cpu",
        }
        made = tuple(plugins.load("evaluator", "supernet").of(name, **settings) for name in self.sets)
        colors = {one.task.input_shape[0] for one in made}
        if len(colors) > 1:
            gray, colored = (
                next(o.task.name for o in made if o.task.input_shape[0] == c) for c in (min(colors), max(colors))
            )
            raise UserError(
                f"'{gray}' has {min(colors)} channel{'s' * (min(colors) > 1)} and '{colored}' {max(colors)}; "
                "--images takes sets of one number of channels."
            )
        return made

    def init(self, seeds: Tensor) -> State:
        """A start that is a fresh search's."""
        one = self.evaluators[0]
        weights = supernet_start.named(one.net.programs, one.begin(seeds).weights[0])
        alpha = torch.zeros(len(one.space.choices), max(one.space.choices))
        return State(torch.tensor(0), seeds, alpha, {name: value.clone() for name, value in weights.items()})

    def update(self, meta_state: State, batch: TaskBatch) -> tuple[State, dict[str, float]]:
        """The start after a search on the next set of a round, each of which has its own order."""
        step, sets = int(meta_state.step), len(self.sets)
        order = _noise.bits(meta_state.seeds, step // sets, sets, stream=_ROUND)[0].argsort(stable=True)
        end = self._searched(self.evaluators[int(order[step % sets])], meta_state)
        rate = self.lr * (1 - step / (self.rounds * sets))

        def moved(start: Tensor, found: Tensor) -> Tensor:
            return start.lerp(found, rate) if self.rule == "reptile" else start - rate * found

        weights = {name: moved(start, end.weights[name]) for name, start in meta_state.weights.items()}
        after = State(meta_state.step + 1, meta_state.seeds, moved(meta_state.alpha, end.alpha), weights)
        log_p = after.alpha.log_softmax(-1)
        return after, {"adapted": end.accuracy, "entropy": float(-(log_p.exp() * log_p).sum(-1).mean())}

    def prior(self, meta_state: State) -> Prior:
        """Weights for evaluator `supernet`, and alpha for `darts`."""
        one = self.evaluators[0]
        about = {
            "controller": "darts",
            "space": one.space.name,
            "geometry": supernet_start.geometry(one.task, one.net.programs.skeleton),
            "images": json.dumps(self.sets),
        }
        return Prior({"alpha": meta_state.alpha, **meta_state.weights}, about)

    def search_seeds(self, start: State) -> Tensor:
        """The seed of the search at hand, int64 `[1]`."""
        return _noise.bits(start.seeds, start.step, 1, stream=_SEARCH)[0]

    def _searched(self, evaluator: Supernet, start: State) -> End:
        """A search on a set from the start; for `maml`, gradients in the place of weights and alpha."""
        prior = Prior({"alpha": start.alpha, **start.weights}, {})
        one, seeds = evaluator.from_prior(prior), _noise.bits(start.seeds, start.step, 1, stream=_SEARCH)[0]
        controller = Darts(one.space, lr=self.alpha_lr, steps=self.steps, temperature=self.temperature)
        evaluate, memory = loop.load(one, seeds)  # pyright: ignore[reportArgumentType]
        state = controller.begin(one.task, seeds, prior)
        for number, step in enumerate(loop.search(controller, evaluate, state, memory=memory), 1):
            state, memory = step.state, step.memory
            if number == self.steps:
                break
        mixture = controller.mix(state.params, state, 1)[0, 0]
        accuracy = one.accuracy(memory, mixture)
        if self.rule == "maml":
            return self._gradients(one, memory, state, controller, accuracy)
        return End(state.params["alpha"][0], supernet_start.named(one.net.programs, memory.weights[0]), accuracy)

    def _gradients(
        self, one: Supernet, memory: Memory, state: relaxed.State, controller: Darts, accuracy: float
    ) -> End:
        """Of the loss of one validation batch at the end of a search."""
        params = optim.leaves(state.params)
        mixed = controller.mix(params, state, 1)[0, 0]
        x, y, _ = one.images.validation(int(memory.evaluations))
        gradient, slope = one.net.gradients(memory.weights[0], mixed.detach(), x, y)
        alpha = optim.grads((mixed * slope.float()).sum()[None], params)["alpha"][0]
        return End(alpha, supernet_start.named(one.net.programs, gradient), accuracy)
