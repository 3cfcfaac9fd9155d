"""The block of MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381, section 3.3)."""

from __future__ import annotations

from torch import Tensor, nn


class InvertedResidual(nn.Module):
    """A 1x1 convolution that widens, one channel by channel, a 1x1 one that narrows; beside it a skip where nothing changes."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int = 1):
        super().__init__()
        hidden = inputs * expansion
        widens = conv_bn_relu(inputs, hidden, 1) if expansion > 1 else nn.Identity()
        self.layers = nn.Sequential(
            widens,
            conv_bn_relu(hidden, hidden, kernel, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.skips else self.layers(x)


def conv_bn_relu(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )
