"""The controller that has seen other tasks: it reads what was tried and proposes what its beliefs expect to improve most.

Its beliefs are a bank of Gaussian processes (`_bank`) over what cells compute, some around landscapes that a network learned on
other tasks (`_reader`), some that know nothing; each weighs as much as its evidence on the task at hand. In a space too large
to list, the network's policy and mutation of the best suggest what is then ranked in the same way.

Shapes: `S` seeds, `B` architectures, `E` evaluations so far, `M` candidates, `D` decisions, `H` the network's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from controller import _bank, _landscape, _moves, _policy, _prior, _reader
from controller._base import Prior, Proposal, Results
from search_spaces import _noise, _ops
from search_spaces._base import Space, Task

__all__ = ["InContext"]

_START, _RANDOM, _POLICY, _MUTATE = range(4)


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
    credit: Tensor
    """float64 `[S]` log density of the scores under the network's own predictions, less that under the bank."""


@dataclass(frozen=True)
class InContext:
    """Expected improvement under a belief learned across tasks, which gives way as it fails."""

    space: Space
    prior: str = "none"
    """A prior's file for searches that are begun without one; `none` starts cold."""
    members: int = 12
    """Of the bank, the weightiest that have a say in each search."""
    memory: int = 128
    """Evaluations the beliefs rest on at most: the latest and the best, half each."""
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
        key_S = torch.full_like(seeds, _prior.hold(prior))
        told_SF = _reader.task_features(task).double().expand(S, -1).clone()
        nothing_S = torch.zeros(S, dtype=torch.float64)
        return State(
            seeds, torch.zeros_like(seeds), key_S, told_SF, seeds.new_zeros(S, 0, D), torch.zeros(S, 0), nothing_S
        )

    def propose(self, state: State, batch: int) -> Proposal:
        """The best of the candidates one after another, each away from those before it."""
        key = int(state.prior[0])
        if self.policy_only and key:
            return Proposal(_policy.sample(self.space, key, state, batch, state.archs.shape[1], _POLICY))
        candidates_SMD = self._candidates(key, state)
        outlook = _prior.look(key, self.space, candidates_SMD, hidden=self._reads(key))
        gain_SM = self._gain(key, state, outlook)
        old_SM = _among(self.space, candidates_SMD, state.archs)
        gain_SM = torch.where(old_SM, -1.0, gain_SM.float() * _surprise(self.space, candidates_SMD, state))
        return Proposal(self._spread_out(candidates_SMD, outlook, gain_SM, batch))

    def learn(self, state: State, proposal: Proposal, results: Results) -> State:
        credit_S = state.credit
        if self._reads(int(state.prior[0])) and state.archs.shape[1] > 2:
            credit_S = credit_S + self._credit(state, proposal, results)
        archs_SED = torch.cat([state.archs, proposal.archs], 1)
        score_SE = torch.cat([state.score, results.score], 1)
        return state._replace(step=state.step + 1, archs=archs_SED, score=score_SE, credit=credit_S)

    def trusts(self, state: State) -> Tensor:
        """How much of the belief rests on the prior, `[S]` from 0 to 1."""
        key = int(state.prior[0])
        if key == _prior.NONE or not state.archs.shape[1]:
            return torch.full((len(state.seeds),), float(key != _prior.NONE), dtype=torch.float64)
        archs_SED, standing_SE = self._remembered(state)
        seen = _prior.look(key, self.space, archs_SED).sight
        return _bank.predict(self._members(key), seen, standing_SE, seen, self.members).warm

    def expects(self, state: State, archs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation `[S, M]` of the standing of `archs` `[S, M, D]` among what was tried."""
        key = int(state.prior[0])
        b = self._belief(key, state, _prior.look(key, self.space, archs))
        mean_SM = (b.weight[..., None] * b.mean).sum(1)
        square_SM = (b.weight[..., None] * (b.deviation.square() + b.mean.square())).sum(1)
        return mean_SM, (square_SM - mean_SM.square()).clamp_min(1e-9).sqrt()

    def _reads(self, key: int) -> bool:
        known = _prior.learned(key)
        return self.reader and known is not None and known.trusted

    def _members(self, key: int) -> _bank.Members:
        members = _prior.members(key)
        if self.trust or key == _prior.NONE:
            return members
        return members.take(((members.family >= 0) | (members.span > 0)).nonzero().squeeze(-1))

    def _remembered(self, state: State) -> tuple[Tensor, Tensor]:
        """What the beliefs rest on: architectures `[S, E, D]` and how they stand among all, `[S, E]`."""
        standing_SE = _bank.standing(state.score)
        excess = state.score.shape[1] - self.memory
        if excess <= 0:
            return state.archs, standing_SE
        late = self.memory // 2
        best_SK = standing_SE[:, :-late].argsort(dim=-1, descending=True, stable=True)[:, : self.memory - late]
        late_SK = torch.arange(state.score.shape[1])[-late:].expand(len(best_SK), -1)
        kept_SE = torch.cat([best_SK, late_SK], 1)
        return _take(state.archs, kept_SE), standing_SE.gather(1, kept_SE)

    def _belief(self, key: int, state: State, outlook: _prior.Outlook) -> _bank.Belief:
        archs_SED, standing_SE = self._remembered(state)
        seen = _prior.look(key, self.space, archs_SED).sight
        return _bank.predict(self._members(key), seen, standing_SE, outlook.sight, self.members)

    def _gain(self, key: int, state: State, outlook: _prior.Outlook) -> Tensor:
        """Expected improvement `[S, M]`; before anything is known, what the prior thinks of each."""
        known = _prior.learned(key)
        if not state.archs.shape[1]:
            if known is None:
                return _noise.uniform(state.seeds, 0, outlook.sight.whole.shape[1], stream=_START).double() + 1.0
            return (outlook.sight.mean @ known.weight).exp()
        best_S = _bank.standing(state.score).amax(-1)
        b = self._belief(key, state, outlook)
        gain_SM = (b.weight[..., None] * _bank.improvement(b.mean, b.deviation, best_S[:, None, None])).sum(1)
        if not self._reads(key):
            return gain_SM
        weight, mean, deviation = _policy.predict(self.space, key, state, outlook.hidden)
        own_SM = (weight.exp() * _bank.improvement(mean, deviation, best_S[:, None, None])).sum(-1)
        share_S1 = torch.sigmoid(state.credit)[:, None]
        return (1 - share_S1) * gain_SM + share_S1 * own_SM

    def _credit(self, state: State, proposal: Proposal, results: Results) -> Tensor:
        """How much better the network foretold new scores than the bank did, in nats, `[S]`, to three binary digits."""
        key = int(state.prior[0])
        outlook = _prior.look(key, self.space, proposal.archs)
        place_SB = _policy.place_among(state.score, results.score)
        b = self._belief(key, state, outlook)
        z = (place_SB[:, None] - b.mean) / b.deviation.clamp_min(0.05)
        bank_SB = (
            b.weight.log()[..., None] - z.square() / 2 - b.deviation.clamp_min(0.05).log() - 0.9189385
        ).logsumexp(1)
        own_SB = _reader.log_density(_policy.predict(self.space, key, state, outlook.hidden), place_SB)
        worth_SB = torch.where(results.score.isnan(), 0.0, (own_SB - bank_SB).clamp(-4, 4))
        return (worth_SB.sum(-1) * 8).round() / 8

    def _candidates(self, key: int, state: State) -> Tensor:
        """Architectures worth ranking, `[S, M, D]`."""
        near_SMD = self._near(state)
        listed = _prior.everything(key, self.space)
        if listed is None:
            random_SMD = _moves.sample(self.space, state.seeds, state.step, 512, stream=_RANDOM)
            parts = [near_SMD, random_SMD]
            if state.archs.shape[1]:
                words = _noise.bits(state.seeds, state.step, near_SMD.shape[1], 2, stream=_MUTATE)
                parts.append(_moves.mutate_by_words(near_SMD, words, self.space))
            if key:
                parts.append(_policy.sample(self.space, key, state, 256, state.archs.shape[1], _POLICY))
            return torch.cat(parts, 1)
        described = _landscape.listed(self.space)
        assert described is not None
        N = len(described.archs)
        share = min(256, N)
        rows = [self._promising(listed, key, state, share)]
        rows.append(_noise.integers(state.seeds, state.step, share, high=N, stream=_RANDOM))
        if key:
            rows.append(_favourites(key, self.space)[:share].expand(len(state.seeds), -1))
        return torch.cat([near_SMD, described.archs[torch.cat(rows, 1)]], 1)

    def _near(self, state: State) -> Tensor:
        """The neighbours of the best eight, `[S, M, D]`; M = 0 before there is a best."""
        best_SP = _moves.better(state.score).argsort(dim=-1, descending=True, stable=True)[:, :8]
        parents_SPD = _take(state.archs, best_SP)
        if not parents_SPD.shape[1]:
            return parents_SPD
        around_SMD = _ops.neighbours(parents_SPD, self.space.choices).flatten(1, 2)
        return torch.where(self.space.valid(around_SMD)[..., None], around_SMD, parents_SPD[:, :1])

    def _promising(self, listed: _prior.Outlook, key: int, state: State, share: int) -> Tensor:
        """The rows `[S, share]` that a ridge regression on all features puts first."""
        features_NF = _features(key, self.space)
        if not state.archs.shape[1]:
            return _noise.integers(state.seeds, state.step, share, high=len(features_NF), stream=_START)
        archs_SED, standing_SE = self._remembered(state)
        seen_SEF = features_NF[_prior.rows(self.space)[_landscape.ranks(self.space, archs_SED)]]
        gram_SFF = seen_SEF.mT @ seen_SEF + 2.0 * torch.eye(seen_SEF.shape[-1], dtype=torch.float64)
        weight_SF1 = torch.linalg.solve(gram_SFF, seen_SEF.mT @ standing_SE[..., None])
        return (features_NF @ weight_SF1).squeeze(-1).float().topk(share, -1).indices

    def _spread_out(self, candidates_SMD: Tensor, outlook: _prior.Outlook, gain_SM: Tensor, batch: int) -> Tensor:
        """The best candidates one by one; each makes those like it less wanted, and its twins unwanted."""
        place_SMP = outlook.sight.place
        size_SM = place_SMP.square().sum(-1)
        twin_SM = _landscape.ranks(self.space, self.space.canonical(candidates_SMD))
        chosen = []
        for _ in range(batch):
            at_S1 = gain_SM.argmax(-1, keepdim=True)
            chosen.append(at_S1)
            if len(chosen) == batch:
                break
            here_S1P = place_SMP.gather(1, at_S1[..., None].expand(-1, -1, place_SMP.shape[-1]))
            shared_SM = (place_SMP @ here_S1P.mT).squeeze(-1)
            like_SM = torch.exp(-(size_SM + size_SM.gather(1, at_S1) - 2 * shared_SM).clamp_min(0)).float()
            twins_SM = twin_SM == twin_SM.gather(1, at_S1)
            gain_SM = torch.where(twins_SM, -2.0, torch.where(gain_SM > 0, gain_SM * (1 - like_SM), gain_SM))
        return _take(candidates_SMD, torch.cat(chosen, 1))


def _take(archs_SMD: Tensor, index_SB: Tensor) -> Tensor:
    return archs_SMD.gather(1, index_SB[..., None].expand(-1, -1, archs_SMD.shape[-1]))


def _among(space: Space, archs_SMD: Tensor, tried_SED: Tensor) -> Tensor:
    """Which of `archs_SMD` were tried, bool `[S, M]`."""
    tried_SE = _landscape.ranks(space, tried_SED)
    return (_landscape.ranks(space, archs_SMD)[:, :, None] == tried_SE[:, None]).any(-1)


def _surprise(space: Space, archs_SMD: Tensor, state: State) -> Tensor:
    """How likely each of `archs_SMD` scores unlike what was tried, float32 `[S, M]`: 1, but less for twins of the tried.

    Cells that compute the same are scored alike by some tasks and not by others; the twins tried so far tell.
    """
    kin_SE = _landscape.ranks(space, space.canonical(state.archs))
    order_SE = kin_SE.argsort(dim=-1, stable=True)
    again_SE = kin_SE.gather(1, order_SE).diff(dim=-1) == 0
    unlike_SE = state.score.gather(1, order_SE).nan_to_num(-torch.inf).diff(dim=-1) != 0
    doubt_S = ((again_SE & unlike_SE).sum(-1) + 0.5) / (again_SE.sum(-1) + 1)
    twin_SM = (_landscape.ranks(space, space.canonical(archs_SMD))[:, :, None] == kin_SE[:, None]).any(-1)
    return torch.where(twin_SM, doubt_S[:, None], 1.0)


@lru_cache
def _cached(path: str) -> Prior:
    return _prior.read(path)


@lru_cache
def _favourites(key: int, space: Space) -> Tensor:
    """The rows of a listed space in the order of the prior's mean landscape, the best first."""
    listed, known = _prior.everything(key, space), _prior.learned(key)
    assert listed is not None
    assert known is not None
    return (listed.sight.mean @ known.weight).argsort(descending=True, stable=True)


@lru_cache
def _features(key: int, space: Space) -> Tensor:
    """All features of a listed space, float64 `[N, F]`."""
    listed = _prior.everything(key, space)
    assert listed is not None
    return torch.cat([*listed.sight, torch.ones(len(listed.hidden), 1, dtype=torch.float64)], 1)
