"""The controller that has seen other tasks: it reads what was tried and proposes what its beliefs expect to improve most.

Its beliefs are a bank of Gaussian processes (`_bank`) over what cells compute, some around landscapes that a network learned on
other tasks (`_reader`), some that know nothing; each weighs as much as its evidence on the task at hand. In a space too large
to list, the network's policy and mutation of the best suggest what is then ranked in the same way.

Shapes: `S` seeds, `B` architectures, `E` evaluations so far, `M` candidates, `D` decisions, `H` the network's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from controller._base import Prior, Proposal, Results
from controller._settings_types import Amount, Count, Range
from controller.candidates import exploration, pool
from controller.models import constraints, gp_ensemble, pretrained, prior_file, transformer
from controller.models.gp_members import Members
from controller.policies import attention
from search_spaces import Space, Task, _noise

__all__ = ["InContext"]

_START, _POLICY, _LUCK = range(3)
_SURE = 4
"""Evaluations from which on expected improvements are taken with doubt."""


class State(NamedTuple):
    seeds: Tensor
    """int64 `[S]`."""
    step: Tensor
    """int64 `[S]` steps taken."""
    prior: Tensor
    """int64 `[S]` the fingerprint of the prior; 0 without one."""
    task: Tensor
    """float64 `[S, features]` what the network is told of the task."""
    archs: Tensor
    """int64 `[S, E, D]` all tried."""
    score: Tensor
    """float32 `[S, E]`; NaN where evaluation failed."""
    cost: Tensor
    """float32 `[S, E]` seconds."""
    over: Tensor
    """float32 `[S, E, L]` each limited quantity over its limit; L = 0 without limits."""
    limits: Tensor
    """float64 `[S, L]` points off at twice each limit."""
    credit: Tensor
    """float64 `[S]` log density of the scores under the network's own predictions, less that under the bank."""


@dataclass(frozen=True)
class InContext:
    """Expected improvement under a belief learned across tasks, which gives way as it fails."""

    space: Space
    prior: str = "none"
    """A prior's file for searches that are begun without one; `none` starts cold."""
    members: Count = 12
    """Of the bank, the weightiest that have a say in each search."""
    memory: Annotated[int, Range(2)] = 96
    """Evaluations the beliefs rest on at most: the latest and the best, half each."""
    patience: Count = 8
    """After so many evaluations without a better one, some are left to plain Bayesian optimisation until there is one."""
    plain: Count = 2
    """One in so many, then."""
    scout: Count = 4
    """Of the others, then, one in so many goes where the search has not been, if the prior has lost its say."""
    doubt: Amount = 0.3
    """Deviation of a factor on each expected improvement, in logarithms: a search that always takes what seems the very best is
    one trajectory, and beliefs that err send every seed astray together."""
    samples: Annotated[int, Range(0)] = 128
    """Of the policy among the candidates, in a space too large to list."""
    limits: bool = True
    """Learn what limits take off apart from the rest; False sees the score alone, for ablation."""
    trust: bool = True
    """Let beliefs give way to those that know no other task; False keeps to the prior, for ablation."""
    reader: bool = True
    """Let the network's own predictions take part where training found that they help."""
    policy_only: bool = False
    """Propose samples of the policy by themselves."""

    def begin(self, task: Task, seeds: Tensor, prior: Prior | None = None) -> State:
        if prior is None and self.prior != "none":
            prior = _cached(self.prior)
        S, D = len(seeds), len(self.space.choices)
        told_F = transformer.task_features(task)
        key_S = torch.full_like(seeds, pretrained.hold(prior, told_F))
        pretrained.prepare(int(key_S[0]), self.space)  # Once for a prior and a space; no proposal should wait for it.
        exploration.landmarks(int(key_S[0]), self.space)
        told_SF = told_F.double().expand(S, -1).clone()
        nothing_S = torch.zeros(S, dtype=torch.float64)
        limits_SL = torch.tensor(task.constraints if self.limits else (), dtype=torch.float64).expand(S, -1).clone()
        if limits_SL.shape[1]:
            constraints.prepare(int(key_S[0]), self.space)
        step_S, archs_SED = torch.zeros_like(seeds), seeds.new_zeros(S, 0, D)
        none_SE, over_SEL = torch.zeros(S, 0), torch.zeros(S, 0, limits_SL.shape[1])
        return State(seeds, step_S, key_S, told_SF, archs_SED, none_SE, none_SE, over_SEL, limits_SL, nothing_S)

    def propose(self, state: State, batch: int) -> Proposal:
        """The best of the candidates one after another, each away from those before it."""
        key = int(state.prior[0])
        if self.policy_only and key:
            return Proposal(attention.sample(self.space, key, state, batch, state.archs.shape[1], _POLICY))
        turns = exploration.due(key, self.space, state, batch, self.patience, self.plain, self.scout)
        ours_SMD, fresh_SM = pool.gather(self.space, key, state, *self._remembered(state), self.samples, batch)
        candidates_SMD = torch.cat([ours_SMD, exploration.suggested(key, self.space, state, turns)], 1)
        outlook = pretrained.look(key, self.space, candidates_SMD, hidden=self._reads(key))
        gain_SM, warm_S = self._gain(key, state, candidates_SMD, outlook)
        gain_SM = gain_SM.float() * pool.news(self.space, candidates_SMD, state)
        if state.archs.shape[1] >= _SURE:
            luck_SM = _noise.normal(state.seeds, state.step, gain_SM.shape[1], stream=_LUCK)
            gain_SM = gain_SM * (self.doubt * luck_SM).exp()
        turns_SB, ours = turns.taken(warm_S), ours_SMD.shape[1]
        free_ST = turns_SB[:, turns.columns()] & ~pool.tried(self.space, candidates_SMD[:, ours:], state)
        gain_SM = torch.where(torch.cat([fresh_SM, free_ST], 1), gain_SM, -1.0)
        return Proposal(pool.spread_out(self.space, candidates_SMD, outlook.sight.place, gain_SM, turns_SB, ours))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        L = state.over.shape[-1]
        over_SBL = (
            results.score.new_zeros(*results.score.shape, L)
            if results.constraint_ratio is None
            else results.constraint_ratio[..., :L]
        )
        after = state._replace(
            step=state.step + 1,
            archs=torch.cat([state.archs, proposal.archs], 1),
            score=torch.cat([state.score, results.score], 1),
            cost=torch.cat([state.cost, results.cost], 1),
            over=torch.cat([state.over, over_SBL.nan_to_num(1.0)], 1),
        )
        if self._reads(int(state.prior[0])) and state.archs.shape[1] > 2:
            after = after._replace(credit=state.credit + self._credit(state, after))
        return after

    def trusts(self, state: State) -> Tensor:
        """How much of the belief rests on the prior, `[S]` from 0 to 1: what is left when those without have explained all."""
        key = int(state.prior[0])
        if key == pretrained.NONE or not state.archs.shape[1]:
            return torch.full((len(state.seeds),), float(key != pretrained.NONE), dtype=torch.float64)
        archs_SED, standing_SE = self._remembered(state)
        seen = pretrained.look(key, self.space, archs_SED).sight
        return gp_ensemble.predict(self._members(key), seen, standing_SE, seen, self.members).warm

    def foretold(self, state: State) -> Tensor:
        """How the scores, without what limits took off, follow what the prior thinks of some family of tasks, `[S]` from -1 to 1.

        The highest correlation less one and a half of its standard errors (Fisher's z), as it is the highest of several: so
        that a few evaluations are not taken for more.
        """
        key = int(state.prior[0])
        mean_SEF = pretrained.look(key, self.space, state.archs).sight.mean[..., : pretrained.shared(key, self.space)]
        if not mean_SEF.shape[1] or not mean_SEF.shape[2]:
            return torch.zeros(len(state.seeds), dtype=torch.float64)
        stand_SE1 = gp_ensemble.standing(constraints.lifted(state))[..., None]
        off_SEF, stand_SE1 = mean_SEF - mean_SEF.mean(1, keepdim=True), stand_SE1 - stand_SE1.mean(1, keepdim=True)
        scale_SF = off_SEF.square().sum(1).sqrt() * stand_SE1.square().sum(1).sqrt()
        found_S = ((off_SEF * stand_SE1).sum(1) / scale_SF.clamp_min(1e-9)).amax(-1).clamp(-0.999, 0.999)
        return (found_S.atanh() - 1.5 * max(state.score.shape[1] - 3, 1) ** -0.5).tanh()

    def _reads(self, key: int) -> bool:
        known = pretrained.learned(key)
        return self.reader and known is not None and known.trusted

    def _members(self, key: int) -> Members:
        members = pretrained.members(key, self.space)
        if self.trust or key == pretrained.NONE:
            return members
        return members.take(((members.family >= 0) | (members.span > 0)).nonzero().squeeze(-1))

    def _remembered(self, state: State) -> tuple[Tensor, Tensor]:
        """What the beliefs rest on: architectures `[S, E, D]` and how they stand among all without limits, `[S, E]`."""
        kept_SE = self._kept(state)
        return pool.take(state.archs, kept_SE), gp_ensemble.standing(constraints.lifted(state)).gather(1, kept_SE)

    def _kept(self, state: State) -> Tensor:
        """Which evaluations the beliefs rest on, `[S, E]`."""
        every_SE = torch.arange(state.score.shape[1]).expand(len(state.score), -1)
        if state.score.shape[1] <= self.memory:
            return every_SE
        late = self.memory // 2
        early_SE = gp_ensemble.standing(state.score)[:, :-late]
        best_SK = early_SE.argsort(dim=-1, descending=True, stable=True)[:, : self.memory - late]
        return torch.cat([best_SK, every_SE[:, -late:]], 1)

    def _belief(self, key: int, state: State, outlook: pretrained.Outlook) -> gp_ensemble.Belief:
        """What is believed of architectures, without what limits take off."""
        archs_SED, standing_SE = self._remembered(state)
        seen = pretrained.look(key, self.space, archs_SED).sight
        return gp_ensemble.predict(self._members(key), seen, standing_SE, outlook.sight, self.members)

    def _gain(
        self, key: int, state: State, candidates_SMD: Tensor, outlook: pretrained.Outlook
    ) -> tuple[Tensor, Tensor]:
        """Expected improvement `[S, M]`; before anything is known, what the prior thinks of each. And the prior's say, `[S]`."""
        known = pretrained.learned(key)
        if not state.archs.shape[1]:
            sure_S = torch.ones(len(state.seeds), dtype=torch.float64)
            if known is None:
                luck_SM = _noise.uniform(state.seeds, 0, outlook.sight.whole.shape[1], stream=_START)
                return luck_SM.double() + 1.0, 1 - sure_S
            return (outlook.sight.mean @ pretrained.families(key, self.space)).exp(), sure_S
        belief, off = self._belief(key, state, outlook), constraints.NOTHING
        if state.over.shape[-1]:
            off = constraints.off(self.space, state, candidates_SMD, outlook.sight, key)
        return self._improvement(key, state, off, outlook, belief), belief.warm

    def _improvement(
        self, key: int, state: State, off: constraints.Off, outlook: pretrained.Outlook, belief: gp_ensemble.Belief
    ) -> Tensor:
        """Expected improvement `[S, M]` for scores from which something is taken off."""
        best_S11 = (gp_ensemble.standing(constraints.lifted(state)) - off.seen).amax(-1)[:, None, None]
        gain_SM = off.expected(lambda off_SM: belief.improvement(best_S11 + off_SM[:, None]))
        if not self._reads(key):
            return gain_SM
        weight, mean, deviation = attention.predict(self.space, key, constraints.without(state), outlook.hidden)
        own_SM = off.expected(
            lambda off_SM: (weight.exp() * gp_ensemble.improvement(mean, deviation, best_S11 + off_SM[..., None])).sum(
                -1
            )
        )
        # The sigmoid of the credit: torch.sigmoid's bits depend on where in a tensor an element lies.
        share_S1 = (0.5 + 0.5 * (0.5 * state.credit).tanh())[:, None]
        return (1 - share_S1) * gain_SM + share_S1 * own_SM

    def _credit(self, state: State, after: State) -> Tensor:
        """How much better the network foretold new scores than the bank did, in nats, `[S]`, to three binary digits."""
        key, E = int(state.prior[0]), state.archs.shape[1]
        outlook, score_SE = pretrained.look(key, self.space, after.archs[:, E:]), constraints.lifted(after)
        place_SB = attention.place_among(score_SE[:, :E], score_SE[:, E:])
        b = self._belief(key, state, outlook)
        z = (place_SB[:, None] - b.mean) / b.deviation.clamp_min(0.05)
        bank_SB = (
            b.weight.log()[..., None] - z.square() / 2 - b.deviation.clamp_min(0.05).log() - 0.9189385
        ).logsumexp(1)
        own_SB = transformer.log_density(
            attention.predict(self.space, key, constraints.without(state), outlook.hidden), place_SB
        )
        worth_SB = torch.where(score_SE[:, E:].isnan(), 0.0, (own_SB - bank_SB).clamp(-4, 4))
        return (worth_SB.sum(-1) * 8).round() / 8


@lru_cache
def _cached(path: str) -> Prior:
    return prior_file.read(path)
