"""A policy that changes by a rule which was learned on other tasks: `meta_sgd`, `learned_optimizer`, `rl2_recurrent`.

The rules are in `policies/update_rules.py`; here they meet a search.

Shapes: `S` seeds, `B` architectures, `M` samples, `E` evaluations so far, `D` decisions, `C` choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller.candidates.batch import DRAWS, first_new, with_evaluated
from controller.models import prior_file
from controller.policies import nets, update_rules
from controller.policies.optim import Params
from search_spaces import Space, Task, UserError, _sampling

__all__ = ["LearnedPolicy"]


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    params: Params
    """The learned numbers; empty without a prior."""
    memory: update_rules.Memory
    score: Tensor
    """float32 `[S, E]`; NaN where evaluation failed."""
    archs: Tensor | None = None
    """int64 `[S, E, D]` all evaluated, none of which comes again; None without a prior and in states of earlier versions."""


@dataclass(frozen=True)
class LearnedPolicy:
    """Samples from a policy whose changes other tasks have taught; random without a prior."""

    space: Space
    prior: str = "none"
    """A prior's file for searches that are begun without one."""

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        """Raises `UserError` for a prior of another space."""
        if prior is None and self.prior != "none":
            prior = _read(self.prior)
        zero_S, none_SE = torch.zeros_like(seeds), torch.zeros(len(seeds), 0)
        if prior is None:
            return State(seeds, zero_S, {}, {}, none_SE)
        shape = len(self.space.choices), max(self.space.choices)
        if "logits" not in prior.params or prior.params["logits"].shape[1:] != shape:
            about = prior.about.get("space", "another space")
            raise UserError(
                f"The prior's policy is for '{about}', and the search is in '{self.space.name}'; train one by nas meta-train "
                f"--learner meta_sgd --learner-option space={self.space.name}."
            )
        params = {n: p.expand(len(seeds), *p.shape[1:]).clone() for n, p in prior.params.items()}
        none_SED = seeds.new_zeros(len(seeds), 0, len(self.space.choices))
        return State(seeds, zero_S, params, update_rules.rule(self.space, params).begin(params), none_SE, none_SED)

    def propose(self, state: State, batch: int) -> Proposal:
        if not state.params:
            return Proposal(_sampling.sample(self.space, state.seeds, state.step, batch))
        net, policy = nets.Independent(self.space), {"logits": state.memory["logits"]}
        if state.archs is None:
            return Proposal(net.sample(policy, state.seeds, state.step, batch))
        sampled_SMD = net.sample(policy, state.seeds, state.step, DRAWS * batch)
        return Proposal(first_new(self.space, sampled_SMD, state.archs, batch))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        score_SE = torch.cat([state.score, results.score], 1)
        memory = state.memory
        if state.params:
            signal_SB = update_rules.signals(score_SE, results.score.shape[1])
            with torch.no_grad():
                rule = update_rules.rule(self.space, state.params)
                memory = rule.learn(state.params, memory, proposal.archs, signal_SB)
        archs = None if state.archs is None else with_evaluated(state.archs, proposal, results)
        return state._replace(step=state.step + 1, memory=memory, score=score_SE, archs=archs)


@lru_cache(maxsize=4)
def _read(path: str) -> Prior:
    return prior_file.read(path)
