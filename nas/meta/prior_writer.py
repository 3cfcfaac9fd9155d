"""What a trained network knows of tasks, as the tensors and the header of a prior.

Shapes: `K` landscapes, `R` directions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from controller.models import transformer
from controller.models.prior_file import Contents, Families, Tasks
from nas.meta import task_distribution, task_sampler
from nas.meta.task_distribution import Landscape


def contents(net: transformer.Reader, own: Tensor, library: list[Landscape], features: bool) -> Contents:
    """The network; each family's mean, how tasks vary and how likely families are; with `features`, each task's part in these.

    Args:
        own: `[K, R]` the coefficients of the directions that each landscape has beside those that follow from what is told of it.
    """
    with torch.no_grad():
        told = torch.stack([task_sampler.told(x, features) for x in library])
        coefficients = own + net.cells.lean(told)
    kinds = [x.family for x in library]
    known = families(library)
    share = torch.tensor([kinds.count(f) ** -0.7 for f in kinds])
    share = share / share.sum()
    centre = torch.stack([coefficients[[i for i, k in enumerate(kinds) if k == f]].mean(0) for f in known])
    off = (coefficients - share @ coefficients) * share.sqrt()[:, None]
    mix = torch.linalg.cholesky((off.T @ off).double() + 1e-4 * torch.eye(off.shape[1])).float()
    weight = torch.tensor([task_distribution.family_weights().get(f, 0.05) for f in known])
    trained = {n: t.detach().clone() for n, t in net.state_dict().items()}
    return Contents(
        encoder={n.removeprefix("cells."): t for n, t in trained.items() if n.startswith("cells.")},
        policy={n: t for n, t in trained.items() if not n.startswith("cells.")},
        families=Families(centre, mix, weight / weight.sum()),
        tasks=Tasks(told, share, coefficients) if features else None,
    )


def families(library: list[Landscape]) -> list[str]:
    """The families of the library's tasks, in the order of `centre` and `weight`."""
    return task_distribution.order({x.family for x in library})
