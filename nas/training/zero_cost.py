"""Zero-cost proxies: what a network's quality is guessed from at initialization, by a batch of images and no training.

Each is a function of a network, images float32 `[N, C, H, W]` as training sees them, and labels int64 `[N]`; a higher value
stands for a better network. `w` are the weights of convolutions and linear layers, `g` the gradient of the mean cross-entropy by
them.
The definitions are those of the papers' code, as NAS-Bench-Suite-Zero (Krishnakumar et al. 2022, arXiv:2210.03230) has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Proxy = Callable[[nn.Module, Tensor, Tensor], float]

_EIGENVALUE_FLOOR = 1e-5
"""Added to eigenvalues before their logarithm (Mellor et al. 2021, version 1): those of alike images are zero."""
_PERTURBATION = 0.01
"""Of the images of `zen`, the paper's `mixup_gamma`."""


def params(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The number of parameters."""
    return float(sum(p.numel() for p in network.parameters()))


def flops(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Multiply-accumulates of convolutions and linear layers for one image."""
    total = 0

    def count(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal total
        total += _layer(layer).weight.numel() * (output[0, 0].numel() if output.dim() == 4 else 1)

    with _hooked(_layers(network), count), torch.no_grad():
        network(images[:1].expand(2, -1, -1, -1))  # Two: batch norm refuses one value a channel.
    return float(total)


def l2norm(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The sum over layers of `||w||` (Abdelfattah et al. 2021, arXiv:2101.08134)."""
    return _sum(layer.weight.norm() for layer in _layers(network))


def grad_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The sum over layers of `||g||` (Abdelfattah et al. 2021, section 3.2)."""
    return _sum(g.norm() for _, g in _gradients(network, images, labels))


def snip(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The sum of `|w g|` (Lee et al. 2019, arXiv:1810.02340, equation 5, before it is normalized)."""
    return _sum((w * g).abs().sum() for w, g in _gradients(network, images, labels))


def plain(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The sum of `w g` (Mozer & Smolensky 1989; in NAS by Abdelfattah et al. 2021)."""
    return _sum((w * g).sum() for w, g in _gradients(network, images, labels))


def grasp(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The sum of `-w (H g)`, with the Hessian `H` of the loss (Wang et al. 2020, arXiv:2002.07376, equation 8).

    `H g` is the gradient of `g . stop_gradient(g)`.
    """
    weights = [layer.weight for layer in _layers(network)]
    loss = nn.functional.cross_entropy(network(images), labels)
    grads = torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)
    product = torch.stack([(g * g.detach()).sum() for g in grads]).sum()
    if not product.requires_grad:  # No layer's gradient depends on a weight.
        return 0.0
    hessian_g = torch.autograd.grad(product, weights, materialize_grads=True)
    return -_sum((w.detach() * h).sum() for w, h in zip(weights, hessian_g))


def synflow(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """The sum of `|w dR/dw|`, R the sum of the logits of an image of ones, all weights positive and without batch norm.

    Tanaka et al. 2020, arXiv:2006.05467, equation 2. In float64: R of deep networks is beyond float32.
    """
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    try:
        network.double()
        with torch.no_grad():
            for value in network.parameters():
                value.abs_()
        with _hooked(norms, lambda _layer, inputs, _output: inputs[0]):
            total = network(torch.ones_like(images[:2], dtype=torch.float64))[:1].sum()
        weights = [layer.weight for layer in _layers(network)]
        grads = torch.autograd.grad(total, weights, materialize_grads=True)
        return _sum((w.detach() * g).abs().sum() for w, g in zip(weights, grads))
    finally:
        network.to(images.dtype)
        network.load_state_dict(kept)


def fisher(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Of each channel half the mean over images of `(sum of activation times its gradient)^2`, once for each of its weights.

    Theis et al. 2018, arXiv:1801.05787, equation 10; Abdelfattah et al. 2021 sum it so. The loss is the mean over the batch.
    """
    given: list[tuple[nn.Module, Tensor]] = []

    def keep(layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        given.append((layer, output))
        return output.clone()  # What follows may change it in place.

    with _hooked(_layers(network), keep):
        loss = nn.functional.cross_entropy(network(images), labels)
    activations = [output for _, output in given]
    grads = torch.autograd.grad(loss, activations, materialize_grads=True)
    found = []
    for (layer, activation), grad in zip(given, grads):
        product = (activation.detach() * grad).flatten(2).sum(-1) if grad.dim() > 2 else activation.detach() * grad
        found.append((product**2).mean(0).sum() / 2 * _layer(layer).weight[0].numel())
    return _sum(found)


def jacob_cov(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """`-sum(log(v + k) + 1 / (v + k))` over the eigenvalues `v` of the correlations between images of the logits' gradient.

    Mellor et al. 2021, arXiv:2006.04647, version 1, equation 5; the gradient is that of the sum of logits by the image.
    """
    images = images.detach().requires_grad_()
    (jacobian,) = torch.autograd.grad(network(images).sum(), images)
    correlation = torch.corrcoef(jacobian.flatten(1).double())
    if correlation.isnan().any():  # An image that the logits do not depend on.
        return math.nan
    values = torch.linalg.eigvalsh(correlation) + _EIGENVALUE_FLOOR
    return -_sum([values.log().sum(), (1 / values).sum()])


def naswot(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """`log |det K|`, `K` in how many ReLUs two images are on one side of zero (Mellor et al. 2021, version 3, equation 2)."""
    N = len(images)
    kernel_NN = torch.zeros(N, N, dtype=torch.float64, device=images.device)

    def count(_layer: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        nonlocal kernel_NN
        on = (inputs[0].flatten(1) > 0).float()
        kernel_NN = kernel_NN + (on @ on.T + (1 - on) @ (1 - on).T).double()

    activations = [layer for layer in network.modules() if isinstance(layer, nn.ReLU | nn.ReLU6)]
    with _hooked(activations, count), torch.no_grad():
        network(images)
    return float(torch.linalg.slogdet(kernel_NN).logabsdet)


def zen(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """`log E ||f(x) - f(x + 0.01 e)||_1 + sum over batch norms of log sqrt(mean variance)`, f before the pooling of the head.

    Lin et al. 2021, arXiv:2102.01063, algorithm 1: weights, images and `e` are standard normal. Here residual connections stay,
    as in NAS-Bench-Suite-Zero. The weights of `network` are put back.
    """
    # Its own, which begins by the seed that was set: other networks may be scored at the same time.
    noise = torch.Generator(images.device).manual_seed(torch.initial_seed())
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    scales: list[Tensor] = []
    features: list[Tensor] = []
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    head = [layer for layer in network.modules() if isinstance(layer, nn.AdaptiveAvgPool2d)][-1:]
    head = head or _layers(network)[-1:]
    try:
        with torch.no_grad():
            for layer in _layers(network):
                layer.weight.normal_(generator=noise)
                if layer.bias is not None:
                    layer.bias.zero_()
            x, step = (torch.empty_like(images).normal_(generator=noise) for _ in range(2))
            with (
                _hooked(norms, lambda _l, inputs, _o: scales.append(_channel_variance(inputs[0]).mean().sqrt().log())),
                _hooked(head, lambda _l, inputs, _o: features.append(inputs[0])),
            ):
                network(x + _PERTURBATION * step)
                scales.clear()
                network(x)
        # What gives nothing but zeros, as a convolution behind a dead edge, is divided by nothing.
        scales = [scale for scale in scales if scale.isfinite()]
        distance = (features[0] - features[1]).abs().flatten(1).sum(1).mean()
        return _sum([distance.log(), *scales])
    finally:
        network.load_state_dict(kept)


PROXIES: dict[str, Proxy] = {
    f.__name__: f
    for f in (
        params, flops, l2norm, grad_norm, snip, plain, grasp, synflow, fisher, jacob_cov, naswot, zen,
    )
}  # fmt: skip
"""By name, the cheap ones first."""


def _layers(network: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


def _layer(layer: nn.Module) -> nn.Conv2d | nn.Linear:
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    return layer


def _gradients(network: nn.Module, images: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Weight and gradient of each layer; zeros where the loss does not depend on it."""
    weights = [layer.weight for layer in _layers(network)]
    loss = nn.functional.cross_entropy(network(images), labels)
    grads = torch.autograd.grad(loss, weights, materialize_grads=True)
    return [(w.detach(), g) for w, g in zip(weights, grads)]


def _channel_variance(x: Tensor) -> Tensor:
    return x.transpose(0, 1).flatten(1).var(1, correction=0)


def _sum(values: Iterator[Tensor] | list[Tensor]) -> float:
    """In float64, as the layers of one network differ by orders of magnitude."""
    return float(torch.stack([value.detach().double() for value in values]).sum())


@contextmanager
def _hooked(layers: list, hook: Callable[..., object]) -> Iterator[None]:
    """`hook` called after each of the layers, which gives what it returns if that is a tensor."""

    def tensor_or_none(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        found = hook(layer, inputs, output)
        return found if isinstance(found, Tensor) else None

    handles = [layer.register_forward_hook(tensor_or_none) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
