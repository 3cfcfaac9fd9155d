"""Training a prior for `in_context` in three stages, each step a pure function of (state, seed, step): it resumes to the bit.

1. describe: the cells' network learns a mean landscape and directions of variation, so that every training column is one
   combination of them (a factorisation with a network for one factor).
2. read: the transformer learns to predict the standing of new architectures from an evaluated few, by maximum likelihood (Müller
   et al. 2022, equation 2), on mixtures of columns, made-up landscapes and noise; the policy learns to name the best of them.
3. reinforce: the policy is trained over whole searches of random length (RL^2, Duan et al. 2016; PPO, Schulman et al. 2017,
   equation 7); the reward is the regret that an evaluation removes.

Shapes: `S` searches, `N` architectures, `K` landscapes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from controller import Prior
from controller.models import prior_file, transformer
from controller.policies import attention
from nas.meta import prior_writer, rollouts, task_distribution, task_pca, task_sampler
from nas.meta.task_distribution import Landscape, Property
from search_spaces import UserError
from search_spaces._files import atomic_write

STAGES = ("describe", "read", "reinforce")
FORMAT = "nas-meta-checkpoint/1"
_RATE = {"describe": 3e-3, "read": 1.5e-3, "reinforce": 3e-4}
_EPOCHS = 2
"""Of reinforcement over the same searches."""
_ALONGSIDE = 0.3
"""What foretelling counts while the policy is reinforced: both rest on the same layers."""


@dataclass(frozen=True)
class Plan:
    """How long and on what a prior is trained."""

    split: str = "everything"
    describe: int = 1200
    """Steps of the first stage."""
    read: int = 8000
    reinforce: int = 1200
    seed: int = 0
    synthetic: bool = True
    """Made-up landscapes among the tasks."""
    task_features: bool = True
    share: float = 1.0
    """Of the training tasks, the part that is used."""
    atlas: bool = True
    """Keep what tables say of each architecture of their space."""
    properties: bool = True
    """There, let what tables say beside scores turn the directions in which tasks may differ."""
    trusted: bool = False
    """Let the network's own predictions take part in searches."""

    def steps(self, stage: str) -> int:
        return {"describe": self.describe, "read": self.read, "reinforce": self.reinforce}[stage]


class Progress(NamedTuple):
    """Where training stands after a step."""

    stage: str
    step: int
    """Steps done of this stage."""
    steps: int
    values: dict[str, float]


class Trainer:
    """The network under training with its optimiser; the one thing here with a changing inside, as torch's modules have."""

    def __init__(self, plan: Plan, library: list[Landscape], properties: Sequence[Property] = ()):
        torch.manual_seed(plan.seed)
        self.plan, self.library, self.properties = plan, _part(library, plan.share, plan.seed), properties
        self.net = transformer.Reader()
        self.coefficients = torch.nn.Parameter(0.1 * torch.randn(len(self.library), transformer.DIRECTIONS))
        self.grounds = task_sampler.lay(self.library, plan.task_features)
        self.stage, self.step = 0, 0
        self._enter()

    def _enter(self) -> None:
        """The optimiser of the stage at hand, over what the stage trains."""
        if self.stage == len(STAGES):
            return
        cells = list(self.net.cells.parameters())
        layers = [p for n, p in self.net.named_parameters() if not n.startswith("cells.")]
        stage = STAGES[self.stage]
        self.trained = [*cells, self.coefficients] if stage == "describe" else layers
        self.optimiser = torch.optim.Adam(self.trained, lr=_RATE[stage])
        self._hidden = None if stage == "describe" else [self._read_cells(g) for g in self.grounds]

    def run(self) -> Iterator[Progress]:
        """Train to the end of the plan, from wherever it stands."""
        while self.stage < len(STAGES):
            stage = STAGES[self.stage]
            steps = self.plan.steps(stage)
            while self.step < steps:
                generator = torch.Generator().manual_seed(
                    self.plan.seed * 1_000_003 + self.stage * 100_000_007 + self.step
                )
                values = getattr(self, f"_{stage}")(generator)
                self.step += 1
                yield Progress(stage, self.step, steps, values)
            self.stage, self.step = self.stage + 1, 0
            self._enter()

    def _descend(self, loss: Tensor, *, warm: int = 50) -> None:
        done, rate = self.step / max(self.plan.steps(STAGES[self.stage]), 1), _RATE[STAGES[self.stage]]
        for group in self.optimiser.param_groups:
            group["lr"] = rate * min(1, (self.step + 1) / warm) * (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-5
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimiser.step()

    def _describe(self, generator: torch.Generator) -> dict[str, float]:
        loss = torch.zeros(())
        for g in self.grounds:
            if not g.columns:
                continue
            N = len(g.described.archs)
            at = task_sampler.rows(g, min(1024, max(256, N // 16)), generator)
            hidden = self.net.cells(g.sketch, g.described.archs[at], g.described.whole[at])
            mean, span = self.net.cells.prior(hidden)
            coefficients = self.coefficients[g.columns] + self.net.cells.lean(g.told)
            error = (mean[:, None] + span @ coefficients.T - g.standing[at]).square() * (0.7 * g.standing[at]).exp()
            loss = loss + (error * g.weight).mean() * (1.0 if N > 10_000 else 0.25)
        loss = loss + 1e-3 * self.coefficients.square().mean()
        self._descend(loss)
        return {"loss": loss.item()}

    def _read(self, generator: torch.Generator) -> dict[str, float]:
        told_well, named = self._foretold(generator)
        log_policy = named()
        self._descend(-told_well - 0.1 * log_policy, warm=100)
        return {"log_density": told_well.item(), "log_policy": log_policy.item()}

    def _foretold(self, generator: torch.Generator) -> tuple[Tensor, Callable[[], Tensor]]:
        """Mean log density of what some searches find next; and, to be asked for, of the policy for one of the best of all."""
        g, ground = task_sampler.draw(self.grounds, generator)
        S, asked = 24, 32
        value, told, slow = task_sampler.draw_tasks(ground, S, generator, synthetic=self.plan.synthetic)
        n = int(torch.randint(1, 49, (1,), generator=generator))
        greed = torch.tensor([0.0, 0.7, 1.5, 3.0])[torch.randint(4, (S, 1), generator=generator)]
        lot = greed * value[1] - torch.log(-torch.log(torch.rand(value[1].shape, generator=generator) + 1e-9))
        pick = lot.topk(n + asked // 2, 1).indices
        pick = pick.gather(1, torch.rand(pick.shape, generator=generator).argsort(1))
        pick = torch.cat([pick, torch.randint(value[1].shape[1], (S, asked // 2), generator=generator)], 1)
        score, hidden = value[1].gather(1, pick), self._hidden[g][value[0]][pick]  # type: ignore[index]
        stand = rollouts.stand(score[:, :n])
        memory = self.net.remember(told, hidden[:, :n], stand, rollouts.pace(slow.gather(1, pick[:, :n])))
        aim = attention.place_among(score[:, :n], score[:, n:]).float()
        told_well = transformer.log_density(self.net.predict(memory, hidden[:, n:]), aim).mean()
        best = value[1].topk(8, 1).indices.gather(1, torch.randint(8, (S, 1), generator=generator))
        archs = ground.described.archs[value[0]][best]

        def named() -> Tensor:
            mood = self.net.mood(memory)[:, None]
            return attention.log_prob(self.net, ground.space, ground.sketch, mood, archs).mean()

        return told_well, named

    def _reinforce(self, generator: torch.Generator) -> dict[str, float]:
        g, ground = task_sampler.draw(self.grounds, generator)
        hidden = self._hidden[g]  # type: ignore[index]
        searches = rollouts.play(self.net, ground, hidden, generator, synthetic=self.plan.synthetic)
        advantage, entropy = searches.advantage(), 0.0
        for _ in range(_EPOCHS):
            loss, entropy = rollouts.loss(self.net, searches, advantage)
            told_well, _ = self._foretold(generator)
            self._descend(loss - _ALONGSIDE * told_well, warm=1)
        return {"best": searches.best()[:, -1].mean().item(), "entropy": entropy}

    def _read_cells(self, g: task_sampler.Ground) -> Tensor:
        with torch.no_grad():
            return self.net.cells(g.sketch, g.described.archs, g.described.whole)

    def prior(self, command: str = "") -> Prior:
        """What the network knows now, as a prior."""
        contents = prior_writer.contents(self.net, self.coefficients, self.library, self.plan.task_features)
        drawn = {
            g.space.name: task_pca.draw_up(g.space, self.library, self.properties)
            for g in (self.grounds if self.plan.atlas else ())
        }
        contents = contents._replace(spaces={name: memory for name, memory in drawn.items() if memory is not None})
        about = {
            "format": prior_file.FORMAT,
            "controller": "transfer_bo",
            "command": command,
            "split": self.plan.split,
            "held_out": json.dumps(task_distribution.split(self.plan.split).leave),
            "tasks": json.dumps([x.name for x in self.library]),
            "auxiliary_columns": json.dumps([x.name for x in self.properties if self.plan.atlas]),
            "families": json.dumps(prior_writer.families(self.library)),
            "trusted": json.dumps(self.plan.trusted),
            "seed": str(self.plan.seed),
        }
        return Prior(prior_file.pack(contents), about)

    def save(self, path: Path) -> None:
        """A checkpoint, all or nothing."""
        tensors = {f"net.{n}": t for n, t in self.net.state_dict().items()} | {
            "coefficients": self.coefficients.detach()
        }
        if self.stage < len(STAGES):
            for i, p in enumerate(self.trained):
                tensors |= {f"adam.{i}.{n}": torch.as_tensor(t) for n, t in self.optimiser.state.get(p, {}).items()}
        about = {
            "format": FORMAT,
            "stage": str(self.stage),
            "step": str(self.step),
            "plan": json.dumps(vars(self.plan)),
        }
        with atomic_write(path) as partial:
            save_file({n: t.contiguous() for n, t in tensors.items()}, partial, about)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint. Raises `UserError` for one of another plan."""
        with safe_open(path, framework="pt") as file:
            about = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if vars(Plan()) | json.loads(about["plan"]) != vars(self.plan):
            raise UserError(
                f"'{path}' was begun with {about['plan']}; go on with the same settings or name another --out."
            )
        weights = {n.removeprefix("net."): t for n, t in tensors.items() if n.startswith("net.")}
        if not self.net.fits(weights):
            raise UserError(
                f"'{path}' was begun by another version, whose network has other shapes; name another --out."
            )
        self.net.load_state_dict(weights)
        with torch.no_grad():
            self.coefficients.copy_(tensors["coefficients"])
        self.stage, self.step = int(about["stage"]), int(about["step"])
        self._enter()
        if self.stage < len(STAGES):
            for i, p in enumerate(self.trained):
                kept = {n.split(".", 2)[2]: t for n, t in tensors.items() if n.startswith(f"adam.{i}.")}
                if kept:
                    self.optimiser.state[p] = kept


def _part(library: list[Landscape], share: float, seed: int) -> list[Landscape]:
    if not library:
        raise UserError("There is no table to train a prior on; set NAS_TABLES to a folder of tables.")
    if share >= 1:
        return library
    order = torch.randperm(len(library), generator=torch.Generator().manual_seed(seed)).tolist()
    return [library[i] for i in sorted(order[: max(1, round(share * len(library)))])]
