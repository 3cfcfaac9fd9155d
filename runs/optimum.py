"""How far the very best cell of a data set can be told: its place in orders that a search can and cannot know.

Called by optimum.sh. For each accuracy data set: the place of its best cell (by the mean validation accuracy over seeds) by the
mean rank in the other two data sets; by the combination of the prior's directions that fits *all* 15,625 scores best, which no
search has; by what the ensemble's likeliest hypothesis predicts for each cell from the scores of all others, which
no search has either;
and its lead over the second, in points.

Shapes: `N` architectures, `F` mean functions, `R` directions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from controller.models import features, gp_ensemble, gp_members, kernels, prior_file, transfer_model
from nas import tables, tasks
from runs import split_priors

SPLITS = {"cifar10": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "imagenet"}
LIKELIEST = 5000
"""The cells that the prior puts first are foretold from each other; a process on all takes too much memory."""


def place(order_N: Tensor, best: int) -> int:
    """The place of `best` by `order_N`, from 1."""
    return int((order_N > order_N[best]).sum()) + 1


def fitted(along_NR: Tensor, stand_N: Tensor) -> Tensor:
    """Standings `[N]` as the directions `[N, R]`, of which some may follow from others, fit them best."""
    along_NR = torch.cat([along_NR, torch.ones(len(along_NR), 1)], 1)
    found = torch.linalg.lstsq(along_NR, stand_N[:, None], rcond=1e-9, driver="gelsd")
    return along_NR @ found.solution.squeeze(1)


def by_all_others(sight: kernels.KernelInputs, stand_N: Tensor) -> Tensor:
    """What is foretold of each standing by all others, `[N]`.

    Rasmussen & Williams 2006, equation 5.12; by the member of the highest evidence among those around a mean, which is here the
    best fit of all mean functions.
    """
    off_N = stand_N - fitted(sight.mean, stand_N)
    among = kernels.kernel_matrices(*[kernels.KernelInputs(*(x[None] for x in sight))] * 2)
    likeliest, foretold_N = -torch.inf, stand_N
    around = gp_members.hypotheses(torch.ones(1))
    for e in (around.mean_index == 0).nonzero():
        member = gp_members.Hypotheses(*(x[None, e] for x in around))
        covariance = gp_ensemble.covariance(among, member)[0, 0]
        covariance.diagonal().add_(member.signal_var.item() * member.noise_ratio.item())
        lower = torch.linalg.cholesky(covariance)
        inverse = torch.cholesky_inverse(lower)
        weight_N = inverse @ off_N
        evidence = float(-off_N @ weight_N / 2 - lower.diagonal().log().sum())
        if evidence > likeliest:
            likeliest, foretold_N = evidence, stand_N - weight_N / inverse.diagonal()
    return foretold_N


def main() -> None:
    table = tables.find("nasbench201")
    space = tasks.find("nasbench201/cifar10@200").space
    listed = features.enumerate_valid(space)
    assert listed is not None
    rank_N = features.index_of(space, listed.archs)
    mean = {d: table.by_index(f"{d}/valid_accuracy@200", space.choices)[rank_N] for d in SPLITS}
    mean = {d: x.nanmean(1) if x.dim() > 1 else x for d, x in mean.items()}
    order = {d: x.argsort().argsort().double() for d, x in mean.items()}
    print(
        "| data set | place by the other two | by the best fit of the directions | by the scores of all others | lead |"
    )
    print("|---|---:|---:|---:|---:|")
    for d, split in SPLITS.items():
        model = transfer_model.make(space, prior_file.read(str(split_priors.prior(split))))
        sight, best = model.all_features, int(mean[d].argmax())
        assert sight is not None
        stand_N = torch.special.ndtri((order[d] + 0.5) / len(order[d]))
        first = model.prior_ranking[:LIKELIEST]
        foretold_N = torch.full_like(stand_N, -torch.inf)
        foretold_N[first] = by_all_others(sight.rows(first), stand_N[first])
        assert best in first, f"The best cell of {d} is none of the {LIKELIEST} that the prior puts first."
        others_N = sum((order[o] for o in SPLITS if o != d), torch.zeros_like(stand_N))
        places = [
            place(x, best)
            for x in (others_N, fitted(torch.cat([sight.components, sight.mean], 1), stand_N), foretold_N)
        ]
        lead = mean[d].topk(2).values.diff().abs().item()
        print(f"| {d} | {' | '.join(str(x) for x in places)} | {lead:.3f} |", flush=True)


if __name__ == "__main__":
    main()
