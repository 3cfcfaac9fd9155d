"""RL^2: a policy over architectures that is trained over whole searches (Duan et al. 2016, arXiv:1611.02779).

1. predict: the transformer learns to predict the normal scores of new architectures from an evaluated few, by maximum likelihood
   (Müller et al. 2022, arXiv:2112.10510, equation 2); the policy learns to name one of the best of the whole task.
2. policy: the policy is trained over searches of random length (PPO, Schulman et al. 2017, equation 7); the reward is the regret
   that an evaluation removes.

It reads architectures by the cell encoder of a prior of `transfer_gp`.

Shapes: `K` tasks, `N` architectures of a space, `c` of a context, `q` to predict, `H` the network's width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Stage, TaskBatch, TaskRequest, TaskSample, TaskSet, stage_at
from controller._settings_types import Amount, Range
from controller.meta import _descent
from controller.models import cell_encoder, features, prior_file, scores, transformer
from controller.policies import attention, rollouts
from search_spaces import UserError

__all__ = ["Rl2"]

_PREDICT_RATE, _PREDICT_WARM = 1.5e-3, 100
_POLICY_RATE, _POLICY_WARM = 3e-4, 1
_PREDICT_TASKS, _PREDICT_ROWS, _QUERY = 24, 1500, 32
_POLICY_TASKS, _SEARCHES = 8, 8
"""Searches of a task: their mean is what each is measured by."""
_LENGTHS = (4, 17)
_EPOCHS = 2
"""Steps on the same searches."""
_NAMING = 0.1
"""What naming one of the best counts beside prediction."""
_ALONGSIDE = 0.3
"""What prediction counts while the policy is reinforced: both rest on the same layers."""
_ENCODER = "encoder."


class State(NamedTuple):
    step: Tensor
    """int64 `[]`."""
    params: dict[str, Tensor]
    """Weights of the network, the encoder's among them, which stay as they are."""
    moments: _descent.Moments
    hidden: dict[str, Tensor]
    """By the name of a space: float32 `[N, H]` what the encoder makes of its architectures."""


@dataclass(frozen=True)
class Rl2:
    """The attention policy, by prediction in context and then by reinforcement over whole searches."""

    tasks: TaskSet
    encoder: str = "none"
    """The file of a prior of `transfer_gp`, whose cell encoder is used; `none`: an encoder with random weights."""
    predict_steps: Annotated[int, Range(0)] = 8000
    policy_steps: Annotated[int, Range(0)] = 1200
    entropy: Amount = 0.01
    """Weight of the policy's entropy; advantages have standard deviation 1."""
    task_features: bool = True
    """Let tasks be distinguished by what is known of their data."""
    synthetic: bool = True
    """Synthetic tasks among those it is trained on."""
    quick_options: ClassVar[Mapping[str, Any]] = {"predict_steps": 60, "policy_steps": 12, "synthetic": False}
    """The least tried that shortens searches by half; with 40 and 8 steps they take 0.86 of the untrained evaluations."""

    keeps_prior: ClassVar[Mapping[str, Any]] = {"patience": 0}
    """Settings of its controller by which that keeps to the prior."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        predict = TaskRequest(_PREDICT_TASKS, _PREDICT_ROWS, self.synthetic, num_query=_QUERY)
        search = TaskRequest(_POLICY_TASKS, None, self.synthetic, search_lengths=_LENGTHS, searches=_SEARCHES)
        return (
            Stage("predict", self.predict_steps, (predict,), stream=1),
            Stage("policy", self.policy_steps, (search, *[predict] * _EPOCHS), stream=2),
        )

    def init(self, seeds: Tensor) -> State:
        """A network with random weights but for the encoder's. Raises `UserError` for more than one seed."""
        if len(seeds) != 1:
            raise UserError(f"rl2 trains one prior at a time; it got {len(seeds)} seeds.")
        net = _descent.untrained(transformer.TaskTransformer, int(seeds[0]))
        if self.encoder != "none":
            weights = prior_file.complete(net.encoder, prior_file.unpack(prior_file.read(self.encoder).params).encoder)
            if weights is None:
                raise UserError(
                    f"The encoder of '{self.encoder}' has other shapes; train it again by --learner transfer_gp."
                )
            net.encoder.load_state_dict(weights)
        params = {n: t.detach().clone() for n, t in net.state_dict().items()}
        hidden = {}
        for space in self.tasks.spaces:
            described = features.enumerate_valid(space)
            assert described is not None
            with torch.no_grad():
                hidden[space.name] = net.encoder(
                    cell_encoder.encode_space(space), described.archs, described.path_stats
                )
        return State(torch.tensor(0), params, _descent.begin(params, _layers(params)), hidden)

    def update(self, meta_state: State, batch: TaskBatch) -> tuple[State, dict[str, float]]:
        stage, step = stage_at(self.stages, int(meta_state.step))
        net = _descent.network(transformer.TaskTransformer, meta_state.params)
        named = dict(net.named_parameters())
        trained = {n: named[n] for n in _layers(named)}
        # A new stage has another loss; moments of the old one would push its first steps the wrong way.
        moments = meta_state.moments if step else _descent.begin(meta_state.params, trained)
        if stage.name == "predict":
            lr = _descent.rate(_PREDICT_RATE, step, stage.steps, _PREDICT_WARM)
            density, memory = self._log_density(net, meta_state, batch[0])
            naming = self._log_naming(net, batch[0], memory)
            moments = _descent.descend(trained, moments, -density - _NAMING * naming, lr)
            metrics = {"log_density": density.item(), "log_naming": naming.item()}
        else:
            lr = _descent.rate(_POLICY_RATE, step, stage.steps, _POLICY_WARM)
            searches, *predicted = batch
            searches = searches._replace(task_features=self._known(searches))
            played, entropy = rollouts.rollout(net, searches, meta_state.hidden[searches.space.name]), 0.0
            for sample in predicted:
                loss, entropy = rollouts.policy_loss(net, played, played.advantage(), self.entropy)
                density, _ = self._log_density(net, meta_state, sample)
                moments = _descent.descend(trained, moments, loss - _ALONGSIDE * density, lr)
            metrics = {"best": played.best()[:, -1].mean().item(), "entropy": entropy}
        params = {n: t.detach() for n, t in net.state_dict().items()}
        return meta_state._replace(step=meta_state.step + 1, params=params, moments=moments), metrics

    def prior(self, meta_state: State) -> Prior:
        """The whole network."""
        encoder = {n.removeprefix(_ENCODER): t for n, t in meta_state.params.items() if n.startswith(_ENCODER)}
        policy = {n: meta_state.params[n] for n in _layers(meta_state.params)}
        about = {
            "controller": "attention_policy",
            "tasks": json.dumps([x.name for x in self.tasks.tasks]),
            "families": json.dumps(self.tasks.families),
        }
        return Prior(prior_file.pack(prior_file.Contents(encoder=encoder, policy=policy)), about)

    def _known(self, sample: TaskSample) -> Tensor:
        return sample.task_features if self.task_features else torch.zeros_like(sample.task_features)

    def _log_density(
        self, net: transformer.TaskTransformer, state: State, sample: TaskSample
    ) -> tuple[Tensor, list[Tensor]]:
        """The mean log density of the scores to predict, and what the network remembers of the context."""
        assert sample.context is not None
        assert sample.query is not None
        c = sample.context.shape[1]
        pick_K_ = torch.cat([sample.context, sample.query], 1)
        score_K_, hidden_K_H = sample.scores.gather(1, pick_K_), state.hidden[sample.space.name][sample.rows][pick_K_]
        cost_Kc = rollouts.log_cost(sample.cost.gather(1, pick_K_[:, :c]))
        memory = net.context(self._known(sample), hidden_K_H[:, :c], rollouts.normal_scores(score_K_[:, :c]), cost_Kc)
        target_Kq = scores.normal_scores_relative_to(score_K_[:, :c], score_K_[:, c:]).float()
        return transformer.log_density(net.predict(memory, hidden_K_H[:, c:]), target_Kq).mean(), memory

    def _log_naming(self, net: transformer.TaskTransformer, sample: TaskSample, memory: list[Tensor]) -> Tensor:
        """The mean log probability that the policy names one of each task's best architectures."""
        assert sample.top is not None
        archs_K1D = sample.archs[sample.top[:, None]]
        query_K1H = net.policy_query(memory)[:, None]
        return attention.log_prob(
            net, sample.space, cell_encoder.encode_space(sample.space), query_K1H, archs_K1D
        ).mean()


def _layers(params: Mapping[str, Tensor]) -> list[str]:
    """The names of all parameters but the encoder's."""
    return [n for n in params if not n.startswith(_ENCODER)]
