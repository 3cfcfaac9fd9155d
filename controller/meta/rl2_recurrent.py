"""RL^2 with a recurrent network (Duan et al. 2016, arXiv:1611.02779): the weights learn across searches, the state within one.

The network reads each architecture and its score, and its state gives the logits of the next. It is trained by the policy
gradient over whole searches (Williams 1992) with the reward and the advantage of `rl2`: the regret that an evaluation removes.
An LSTM takes the place of the paper's GRU, as in Wang et al. 2016, arXiv:1611.05763. `rl2` trains the attention policy, which
knows any space; this one knows one space by its choices, and trains in seconds.

Shapes: `K` tasks, `R` searches, `T` evaluations of each, `D` decisions, `C` choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from controller._base import Prior, Stage, TaskBatch, TaskRequest, TaskSet
from controller._settings_types import Amount, Count, Positive
from controller.meta import _params, _start
from controller.meta._params import State
from controller.policies import nets, optim
from controller.policies.rollouts import Rollouts
from search_spaces import Space, _noise

__all__ = ["Rl2Recurrent"]

_INIT = 104
"""Stream of random numbers."""


@dataclass(frozen=True)
class Rl2Recurrent:
    """Learns an LSTM that reads a search and proposes what comes next."""

    tasks: TaskSet
    space: str = "nasbench201"
    """The one space whose policy is learned."""
    steps: Count = 150
    lr: Positive = 0.01
    num_tasks: Count = 16
    """Drawn for each step."""
    searches: Count = 8
    """Of each task: their mean is what each is measured by."""
    evals: Count = 25
    """Of a training search."""
    entropy: Amount = 0.02
    """Weight of the policy's entropy; advantages have standard deviation 1."""
    hidden: Count = 48
    quick_options: ClassVar[Mapping[str, Any]] = {
        "space": "transnas-micro",
        "steps": 40,
        "evals": 12,
        "hidden": 16,
        "lr": 0.03,
    }

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("policy", self.steps, (TaskRequest(num_tasks=None),)),)

    def init(self, seeds: Tensor) -> State:
        """A network that prefers nothing yet."""
        logits, H = _start.begin(_start.space_of(self.tasks, self.space), seeds).logits, self.hidden
        inputs, span = logits[0].numel() + 1, H**-0.5
        drawn = _noise.uniform(seeds, 0, inputs + H, 4 * H, stream=_INIT) * 2 * span - span
        params = {
            "logits": logits,
            "input": drawn[:, :inputs].contiguous(),
            "hidden": drawn[:, inputs:].contiguous(),
            "bias": torch.zeros(1, 1, 4 * H),
            "head": torch.zeros(1, H, inputs - 1),
        }
        return _params.begin(params, seeds)

    def update(self, meta_state: State, batch: TaskBatch) -> tuple[State, dict[str, float]]:
        space = _start.space_of(self.tasks, self.space)
        known = _start.tables(self.tasks, space, batch)
        tasks = _params.draw_tasks(meta_state, known.weight, self.num_tasks).repeat_interleave(self.searches)
        leaves = optim.leaves(meta_state.params)
        seeds = _params.search_seeds(meta_state, len(tasks))
        turns = list(_params.play(space, leaves, known.scores, tasks, seeds, self.evals, 1))
        archs_RTD = torch.cat([turn.archs for turn in turns], 1)
        log_probs_RTDC = torch.stack([_log_probs(space, turn) for turn in turns], 1)
        played = _rollouts(space, turns, archs_RTD, self.searches)
        gain = (played.advantage() * nets.log_prob(log_probs_RTDC, archs_RTD)).mean()
        entropy = nets.entropy(log_probs_RTDC).mean()
        after = _params.raised(meta_state, leaves, gain + self.entropy * entropy, self.lr)
        return after, {"best": float(played.best()[:, -1].mean()), "entropy": float(entropy.detach())}

    def prior(self, meta_state: State) -> Prior:
        space = _start.space_of(self.tasks, self.space)
        return _start.prior(self.tasks, space, meta_state.params, "learned_policy")


def _log_probs(space: Space, turn: _params.Turn) -> Tensor:
    """Of each choice, `[R, D, C]`, when it was drawn."""
    return nets.Independent(space).log_probs({"logits": turn.before}, turn.archs).squeeze(1)


def _rollouts(space: Space, turns: list[_params.Turn], archs_RTD: Tensor, searches: int) -> Rollouts:
    """The searches as `rl2` has them; what its network reads is left empty."""
    score_RT, none = torch.cat([turn.score for turn in turns], 1), archs_RTD.new_zeros(0)
    return Rollouts(space, none, none, archs_RTD, score_RT, none, none, searches)
