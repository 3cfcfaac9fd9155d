"""Gradient descent on the support of one task, differentiable from end to end: the inner loop of MAML and its successors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from nas.few_shot.backbone import Params


def descend(
    loss: Callable[[Params], Tensor],
    params: Params,
    rate: float | Mapping[str, Tensor],
    steps: int,
    *,
    first_order: bool = False,
) -> Params:
    """The parameters after `steps` of theta <- theta - rate * grad loss(theta), of one task.

    Args:
        rate: one for all, or a tensor for each parameter, as Meta-SGD learns them. Parameters that it does not name stay.
        first_order: take the gradients as constants, so that no second derivatives are needed (Finn et al. 2017, section 5.2).
    """
    for _ in range(steps):
        moving = params if not isinstance(rate, Mapping) else {name: params[name] for name in rate}
        fixed = {name: p for name, p in params.items() if name not in moving}
        grads = torch.func.grad(lambda p, fixed=fixed: loss(fixed | p))(moving)
        if first_order:
            grads = {name: g.detach() for name, g in grads.items()}
        params = fixed | {n: p - (rate[n] if isinstance(rate, Mapping) else rate) * grads[n] for n, p in moving.items()}
    return params
