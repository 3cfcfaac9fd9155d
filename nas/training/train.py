"""Training many networks: one pass over the data for all, each with its own gradient and momentum.

Shapes: `P` networks, `N` images, `K` classes, `E` epochs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from nas.training import augment, average, compiler, program, running_statistics, targets
from nas.training.compiled import CompiledNetworks
from nas.training.network_batch import NetworkBatch, initialise
from nas.training.population import GroupedNetworks, MixedPrecisionNetworks, SeparateNetworks
from nas.training.recipe import Checkpoint, Images, Recipe
from search_spaces import HasCost, Skeleton, Space, Task, _noise, _ops, as_cell_space

_SEED_SHIFT = 20
"""Keys of 32 bits hold the architecture's index below this bit and the training seed above it: room for 2^20 indices, more than
the 32,768 of the largest space that ships, and for 4,096 seeds. Architectures of larger spaces share 2^20 beginnings."""
SEEDS = 1 << (32 - _SEED_SHIFT)
"""How many training seeds there are."""
_SMALL = 512
"""Values of a first-stage image up to which PyTorch on a CPU is faster with many networks at once: larger ones leave its cache
(`runs/train_speed.sh`)."""
_LARGE = 2048
"""Values of a first-stage image above which bfloat16 trains a network faster than compiled code, on processors that compute in it
(`runs/recipe_speed.sh`)."""
_CORES = 2
"""With more of them PyTorch trains one large network faster: compiled code gives a network one core."""


def networks(
    space: Space,
    archs: Tensor,
    task: Task,
    seed: int,
    device: torch.device | str = "cpu",
    *,
    alone: bool = False,
    precision: str = "float32",
) -> CompiledNetworks | GroupedNetworks | SeparateNetworks:
    """The untrained networks of `archs` `[P, D]`; their weights depend on the architecture and `seed` alone.

    Their class depends on the space, the task and the machine, never on `archs`: each class rounds in its own way.

    Args:
        alone: one network has all the cores.
        precision: of training; one of `recipe.PRECISIONS`. Small networks stay in float32.
    """
    keys_P = _ops.hash_32(archs, space.choices) % (1 << _SEED_SHIFT) + (seed << _SEED_SHIFT)
    cell_space = as_cell_space(space)
    skeleton = cell_space.skeleton if cell_space else None
    mixed = _in_bfloat16(skeleton, task, precision)
    if mixed or skeleton is None or (kind := _fastest(skeleton, task, torch.device(device), alone)) is None:
        each = MixedPrecisionNetworks if mixed else SeparateNetworks
        population = each([_built(space, arch, task, key) for arch, key in zip(archs, keys_P.tolist())])
    else:
        population = kind([_names(space, arch) for arch in archs], task, *skeleton)
    initialise(population, keys_P)
    return population.to(device)


def _built(space: Space, arch: Tensor, task: Task, key: int) -> nn.Module:
    """A network of which `initialise` sets every matrix; the vectors of a user's layers, as biases, begin by the key too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key)
        return space.build(arch, task)


def _in_bfloat16(skeleton: Skeleton | None, task: Task, precision: str) -> bool:
    """Whether these networks are trained in bfloat16: where that was asked for, and networks are large enough."""
    return precision == "bf16" and (skeleton is None or _first_values(skeleton, task) > _LARGE)


def _first_values(skeleton: Skeleton, task: Task) -> int:
    """Values of an image after the stem."""
    _, height, width = task.input_shape
    return skeleton.channels * height * width // skeleton.stem_stride**2


def _fastest(
    skeleton: Skeleton, task: Task, device: torch.device, alone: bool
) -> type[CompiledNetworks] | type[GroupedNetworks] | None:
    """What trains these networks fastest, as `runs/train_speed.sh` measures it; None: PyTorch, one by one."""
    # A GPU waits for kernel launches with one small network at a time; groups make one launch of all. Not measured here.
    if device.type != "cpu":
        return GroupedNetworks
    if compiler.library() is not None and not (alone and torch.get_num_threads() > _CORES):
        return CompiledNetworks
    return GroupedNetworks if _first_values(skeleton, task) <= _SMALL else None


def engine(space: Space, task: Task, device: torch.device, precision: str = "float32") -> str:
    """What trains networks of a space on a task, in words with versions: where it is the same, trainings are bitwise the same."""
    cell_space = as_cell_space(space)
    skeleton = cell_space.skeleton if cell_space else None
    mixed = _in_bfloat16(skeleton, task, precision)
    kind = None if skeleton is None or mixed else _fastest(skeleton, task, device, False)
    if kind is CompiledNetworks:
        return f"compiled code {compiler.build().digest} (float32, torch {torch.__version__})"
    where = device.type if device.type != "cpu" else f"CPU, {torch.backends.cpu.get_cpu_capability()}"
    number = "bfloat16" if mixed else "float32"
    return f"PyTorch {torch.__version__} ({number}, {where}, {'one by one' if kind is None else 'grouped'})"


def by_one_core(space: Space, task: Task, device: torch.device, precision: str = "float32") -> bool:
    """Whether one core trains a network, so that several go side by side. Otherwise PyTorch takes all cores for one."""
    cell_space = as_cell_space(space)
    skeleton = cell_space.skeleton if cell_space else None
    if device.type == "cpu" and isinstance(space, HasCost) and _in_bfloat16(skeleton, task, precision):
        return True
    return skeleton is not None and _fastest(skeleton, task, device, False) is CompiledNetworks


def at_once(space: Space, task: Task, device: torch.device, precision: str = "float32") -> int:
    """How many networks of `space` are trained side by side on this machine at most, a core each."""
    return torch.get_num_threads() if by_one_core(space, task, device, precision) else 1


def work(space: Space, arch: Tensor, task: Task, device: torch.device, precision: str = "float32") -> int | None:
    """Multiply-accumulates of a forward pass of one image, where `arch` `[D]` is trained by one core; else None."""
    cell_space = as_cell_space(space)
    skeleton = cell_space.skeleton if cell_space else None
    if not by_one_core(space, task, device, precision):
        return None
    if isinstance(space, HasCost) and _in_bfloat16(skeleton, task, precision):
        return int(space.cost(arch, task)[1])
    assert skeleton is not None
    return program.compiled(_names(space, arch), task, *skeleton).work


def _names(space: Space, arch: Tensor) -> list[str]:
    """The operation of each decision."""
    return [space.operations[d][c] for d, c in enumerate(arch.tolist())]


def batch_limit(device: torch.device) -> int:
    """How many networks are worth training at once: compiled code gains nothing beyond what keeps all cores busy."""
    # Larger chunks lose more work to Ctrl-C. 256 on a GPU and 32 for PyTorch on a CPU are not ablated; a chunk that does
    # not fit in memory is halved.
    if device.type != "cpu":
        return 256
    return 4 * torch.get_num_threads() if compiler.library() is not None else 32


def checkpoint(population: NetworkBatch, p: int, epochs: int) -> Checkpoint:
    """A copy of network `p` after `epochs`, to go on from."""
    with running_statistics.as_counted(population):
        weights, momentum, average = (
            {n: v.detach().clone() for n, v in d.items()}
            for d in (population.state_of(p), population.momentum_of(p), population.average.weights.get(p, {}))
        )
    return Checkpoint(epochs, weights, momentum, population.average.count, average)


def restore(population: NetworkBatch, p: int, paused: Checkpoint) -> None:
    """Set network `p` to its checkpoint; `train` resumes with `first=paused.epochs`."""
    running_statistics.put_back(population)
    with torch.no_grad():
        for own, stored in ((population.state_of(p), paused.weights), (population.momentum_of(p), paused.momentum)):
            for name, value in own.items():
                value.copy_(stored[name])
    population.average.count = paused.averaged
    population.average.weights[p] = {
        n: v.to(population.state_of(p)[n].device).clone() for n, v in paused.average.items()
    }


def train(population: NetworkBatch, images: Images, recipe: Recipe, first: int = 0) -> Iterator[Tensor]:
    """Train epoch after epoch from epoch `first`; yields the mean loss of each network, float32 `[P]`, after each one.

    A network that diverges has a loss of NaN from then on and disturbs no other. The schedule is that of `recipe.epochs`,
    so that few epochs are the beginning of many. After the last epoch the weights are the mean that `recipe.average` asks for.

    After every epoch the networks can be scored and handed out: their running statistics are corrected (`running_statistics`).
    """
    weights = classes = None
    if targets.are_soft(images, recipe):
        # The networks' own number of classes: images need not have all of them.
        classes = population.logits(images.normalised(slice(0, 1))).shape[-1]
        weights = targets.class_weights(images.y, classes) if recipe.balanced else None
    steps = partial(_steps, images, recipe, classes=classes, weights=weights)
    averaged_from = average.first_epoch(recipe)
    for epoch in range(first, recipe.epochs):
        running_statistics.put_back(population)
        losses_P = population.learn(steps(epoch), recipe.momentum, recipe.weight_decay)
        running_statistics.correct(population, (epoch + 1) * recipe.steps(len(images.y)))
        # After the correction, so that the mean has nothing of the first values either.
        if epoch >= averaged_from:
            average.take(population, len(losses_P), epoch - averaged_from + 1)
        if averaged_from < epoch + 1 == recipe.epochs:
            average.finish(population, len(losses_P), steps(epoch), recipe)
        yield losses_P


def learning_rate(recipe: Recipe, step: int, total: int) -> float:
    """That of a step, from 0, of `total`."""
    warmup = round(recipe.warmup * total)
    if step < warmup:
        # Goyal et al. 2017, section 2.2: by equal amounts up to `lr`, which the first step after the rise has.
        return recipe.lr * (step + 1) / (warmup + 1)
    # Cosine decay by the step (Loshchilov & Hutter 2017, equation 5, without restarts), as NAS-Bench-201 has it.
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


def _steps(
    images: Images, recipe: Recipe, epoch: int, *, classes: int | None, weights: Tensor | None
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """The batches of an epoch and their learning rates; soft targets where there is a number of `classes`."""
    count = len(images.y)
    batch, steps = min(recipe.batch, count), recipe.steps(count)
    # A function of the seed and the epoch: a resumed training sees the same batches.
    order = _noise.bits(torch.tensor([recipe.seed]), epoch, count, stream=1)[0].argsort().to(images.y.device)
    for step in range(epoch * steps, (epoch + 1) * steps):
        at = step % steps * batch
        index = order[at : at + batch]
        x, y = augment.prepared(images, index, recipe, step), images.y[index]
        if classes is not None:
            x, y = targets.mixed(x, targets.soft(y, classes, recipe, weights), recipe, step)
        yield x, y, learning_rate(recipe, step, recipe.epochs * steps)
