"""How often a score lies within the intervals that `transfer_bo` and `attention_policy` predict, on tasks left out.

Called by coverage.sh. Histories are drawn, half of them among the best tenth of the cells; so are the cells asked about. The
score is placed among those of the history, as the beliefs see it. A well-calibrated 80% interval holds 80%.

Shapes: `S` histories, `n` evaluations, `M` cells asked about, `K` parts of a mixture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from controller import Prior, Proposal
from controller.models import features, prior_file, scores, transfer_model
from controller.policies import attention
from controller.transfer_bo import TransferBO
from nas import tasks
from nas.meta import splits
from nas.paths import DATA
from nas.run import priors
from nas.tasks import families, full_columns
from runs import split_priors

HISTORIES, ASKED, LENGTHS, SHARES = 24, 100, (8, 16, 40), (0.5, 0.8, 0.95)
SPLITS = ("shipped", "cifar10", "imagenet", "ninapro", "transnas-micro")
"""The shipped prior, and those that `transfer.sh` has trained."""
POLICY = DATA / "attention_policy.safetensors"
"""The network's intervals are blank: its prediction head serves training alone and does not ship."""


def inside(weight: Tensor, mean: Tensor, deviation: Tensor, place: Tensor) -> list[float]:
    """The share of `place` `[S, M]` within each central interval of mixtures `[S, M, K]`."""
    below = (weight * torch.special.ndtr((place[..., None] - mean) / deviation)).sum(-1)
    return [((below - 0.5).abs() <= share / 2).double().mean().item() for share in SHARES]


def measured(task: str, prior: Prior, policy: Prior | None, length: int) -> tuple[list[float], list[float] | None]:
    """Of the ensemble, and of the predictions of the network of `policy`, the prior of `attention_policy`."""
    evaluator = tasks.find(task)
    score_N, described = full_columns.everything(task), features.enumerate_valid(evaluator.space)
    assert score_N is not None
    assert described is not None
    generator = torch.Generator().manual_seed(length)
    best = score_N.nan_to_num(-torch.inf).argsort(descending=True)[: len(score_N) // 10]
    rows = torch.stack([_drawn(best, len(score_N), length + ASKED, generator) for _ in range(HISTORIES)])
    controller = TransferBO(evaluator.space)
    state = controller.begin(evaluator.task, torch.arange(HISTORIES), prior)
    tried = described.archs[rows[:, :length]]
    cost = evaluator.load(torch.arange(HISTORIES))(Proposal(tried)).cost
    state = state._replace(archs=tried, score=score_N[rows[:, :length]].float(), cost=cost)
    model = transfer_model.find(evaluator.space, state.prior)
    place = scores.normal_scores_relative_to(state.score, score_N[rows[:, length:]].float())
    archs = described.archs[rows[:, length:]]
    history = transfer_model.History(state.archs, scores.normal_scores(state.score))
    belief = model.posterior(history, model.features(archs))
    ensemble = inside(belief.weight[:, None], belief.mean.mT, belief.std.mT, place)
    if policy is None or "policy/prediction_head.0.weight" not in policy.params:
        return ensemble, None
    network = transfer_model.make(evaluator.space, policy, evaluator.task)
    weight, mean, deviation = attention.predict(network, state, archs)
    return ensemble, inside(weight.exp(), mean, deviation, place)


def _drawn(best: Tensor, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Rows without a repeat, every second of them among the best."""
    every, good = torch.randperm(count, generator=generator), best[torch.randperm(len(best), generator=generator)]
    mixed = torch.stack([every[:size], good[:size]], 1).flatten().tolist()
    return torch.tensor(list(dict.fromkeys(mixed))[:size])


def main() -> None:
    print("| task | evaluations | ensemble: 50% | 80% | 95% | network: 50% | 80% | 95% |\n|---|---:|" + "---:|" * 6)
    for split in SPLITS:
        policy = prior_file.read(str(POLICY)) if split == "shipped" and POLICY.is_file() else None
        path = str(priors.SHIPPED) if split == "shipped" else str(split_priors.prior(split))
        for task in families.select(",".join(splits.split(split).test)):
            for length in LENGTHS:
                ensemble, network = measured(task, prior_file.read(path), policy, length)
                shown = [f"{x:.0%}" for x in ensemble] + ([f"{x:.0%}" for x in network] if network else [""] * 3)
                print(f"| {task} | {length} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main()
