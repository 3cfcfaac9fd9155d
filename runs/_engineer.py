"""What a competent engineer would run in the same minutes: a small ResNet of plain PyTorch, its few settings tuned by Optuna.

One-cycle schedule (Smith & Topin 2019), label smoothing, random crops, mirrors where validation says so, a moving average of the
weights. Half of the time tunes on a validation split, the other half trains the best once more on all of it.
"""

from __future__ import annotations

import copy
import time
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TRIALS = 8
"""Trainings of the first half of the time: each is an eighth of the final one's length, and TPE begins with random ones."""
_EMA = 0.99
"""Of a step; at the end it spans some hundred steps."""


class Settings(NamedTuple):
    """What Optuna chooses."""

    lr: float
    decay: float
    width: int
    batch: int
    mirror: bool


class _Block(nn.Module):
    """He et al. 2016, "Identity mappings in deep residual networks": the basic block."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(outputs), nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.norm1(x))
        return self.skip(x) + self.conv2(F.relu(self.norm2(self.conv1(out))))


def network(channels: int, classes: int, width: int) -> nn.Module:
    """ResNet-8 for images: three stages of one block."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, 1, 1, bias=False), _Block(width, width, 1), _Block(width, 2 * width, 2),
        _Block(2 * width, 4 * width, 2), nn.BatchNorm2d(4 * width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4 * width, classes),
    ).to(memory_format=torch.channels_last)  # fmt: skip # pyright: ignore[reportCallIssue]


def train(x: Tensor, y: Tensor, classes: int, chosen: Settings, seconds: float, seed: int) -> nn.Module:
    """The averaged network after so many seconds; `x` float32 `[N, C, H, W]` of mean 0."""
    torch.manual_seed(seed)
    model = network(x.shape[1], classes, chosen.width)
    ema = copy.deepcopy(model)
    batch = min(chosen.batch, len(y))
    began = time.perf_counter()
    optimizer = torch.optim.SGD(model.parameters(), chosen.lr, 0.9, nesterov=True, weight_decay=chosen.decay)
    # How many steps there will be is seen from the first ones, so that the schedule ends with the time.
    step, share = 0, 0.0
    while share < 1:
        model.train()
        for index in torch.randperm(len(y)).split(batch):
            if len(index) < batch or share >= 1:
                continue
            for group in optimizer.param_groups:
                group["lr"] = chosen.lr * _one_cycle(share)
            loss = F.cross_entropy(model(_augmented(x[index], chosen.mirror)), y[index], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            with torch.no_grad():
                decay = min(_EMA, step / (step + 10))
                for mean, value in zip(ema.state_dict().values(), model.state_dict().values()):
                    mean.copy_(mean.lerp(value, 1 - decay) if value.is_floating_point() else value)
            share = (time.perf_counter() - began) / seconds
    return ema.eval()


def _one_cycle(share: float) -> float:
    """Linear up over 30% of the time, linear down to 0."""
    return share / 0.3 if share < 0.3 else (1 - share) / 0.7


def _augmented(x: Tensor, mirror: bool) -> Tensor:
    pad = max(1, x.shape[-1] // 8)
    top, left = (int(torch.randint(2 * pad + 1, ())) for _ in range(2))
    x = F.pad(x, (pad,) * 4)[..., top : top + x.shape[2], left : left + x.shape[3]]
    if mirror:
        x = torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(-1), x)
    return x.contiguous(memory_format=torch.channels_last)


def predict(model: nn.Module, x: Tensor, mirror: bool) -> Tensor:
    """The class of each image, `[N]`; with mirrors by the mean over the mirror image."""
    with torch.inference_mode():
        parts = [model(part) + (model(part.flip(-1)) if mirror else 0.0) for part in x.split(512)]
    return torch.cat(parts).argmax(1)


def tuned(images: dict[str, tuple[Tensor, Tensor]], seconds: float, seed: int) -> tuple[Tensor, Settings, int]:
    """The class of each test image, what was chosen, and the network's parameters."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    began = time.perf_counter()
    mean = images["train"][0].float().mean((0, 2, 3), keepdim=True)
    std = images["train"][0].float().std((0, 2, 3), keepdim=True).clamp_min(1.0)
    ready = {split: ((x.float() - mean) / std, y) for split, (x, y) in images.items()}
    classes = int(images["train"][1].max()) + 1

    def score(trial: optuna.Trial) -> float:
        chosen = Settings(
            trial.suggest_float("lr", 0.01, 0.5, log=True),
            trial.suggest_float("decay", 1e-5, 2e-3, log=True),
            trial.suggest_categorical("width", [16, 32, 48]),
            trial.suggest_categorical("batch", [32, 64, 128]),
            trial.suggest_categorical("mirror", [False, True]),
        )
        model = train(*ready["train"], classes, chosen, seconds / 2 / TRIALS, seed)
        x, y = ready["valid"]
        return (predict(model, x, chosen.mirror) == y).float().mean().item()

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(score, n_trials=TRIALS)
    best = Settings(**study.best_params)
    both = [torch.cat([ready[split][i] for split in ("train", "valid")]) for i in (0, 1)]
    # The time that predicting took is not the final training's.
    left = max(1.0, seconds - (time.perf_counter() - began))
    model = train(both[0], both[1], classes, best, left, seed)
    return predict(model, ready["test"][0], best.mirror), best, sum(p.numel() for p in model.parameters())
