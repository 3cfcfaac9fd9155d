"""How far the very best cell of a data set can be told: its place in orders that a search can and cannot know.

Called by optimum.sh. For each accuracy data set: the place of its best cell (by the mean validation accuracy over seeds) by the
mean rank in the other two data sets; by the combination of the prior's directions that fits *all* 15,625 scores best, which no
search has; and its lead over the second, in points.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from controller import _prior
from nas import tables, tasks

SPLITS = {"cifar10": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "imagenet"}


def place(order_N: Tensor, best: int) -> int:
    """The place of `best` by `order_N`, from 1."""
    return int((order_N > order_N[best]).sum()) + 1


def main() -> None:
    table = tables.find("nasbench201")
    choices = tasks.find("nasbench201/cifar10@200").space.choices
    mean = {d: table.by_rank(f"{d}/valid_accuracy@200", choices) for d in SPLITS}
    mean = {d: x.nanmean(1) if x.dim() > 1 else x for d, x in mean.items()}
    rank = {d: x.argsort().argsort().double() for d, x in mean.items()}
    print(
        "| data set | place by the other two | place by the best fit of the directions | lead |\n|---|---:|---:|---:|"
    )
    for d, split in SPLITS.items():
        best = int(mean[d].argmax())
        prior = _prior.read(str(Path("runs/transfer") / f"prior-{split}" / "prior.safetensors"))
        along = prior.params["atlas.nasbench201.directions"].double()
        along = torch.cat(
            [along, prior.params["atlas.nasbench201.usual"].double()[:, None], torch.ones(len(along), 1)], 1
        )
        stand = torch.special.ndtri((rank[d] + 0.5) / len(rank[d]))
        fit = along @ torch.linalg.lstsq(along, stand[:, None]).solution
        others = sum((rank[o] for o in SPLITS if o != d), torch.zeros(len(fit)))
        lead = mean[d].topk(2).values
        shown = place(others, best), place(fit.squeeze(1), best), f"{lead[0] - lead[1]:.3f}"
        print(f"| {d} | {' | '.join(str(x) for x in shown)} |")


if __name__ == "__main__":
    main()
