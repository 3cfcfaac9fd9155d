"""A table of many tasks: every distinct function of `nasbench201` trained on many data sets, in several ways each.

From one training come the accuracies at several fidelities, under corruptions and under attacks, and the calibration error.
`task_plans` says what is trained. A training of all functions on a data set is many shards of some functions each, one file a
shard. Any number of processes may work on one folder, and each may be killed at any instant.
Shapes: `P` functions, `E` epochs, `F` fidelities, `N` images, `K` classes, `C` corruptions, `A` attacks.
"""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from nas import datasets, training
from nas.datasets import DataSet, corruptions
from nas.tables import plan_file
from nas.tables.task_plans import Plan, Shard, fidelities, shards
from nas.training import Images, Recipe, attack
from nas.training.compiled import CompiledNetworks
from nas.training.metrics import calibration_error, worst_class_accuracy
from search_spaces import Task, UserError, _noise, _ops
from search_spaces._files import atomic_write

ATTACKED = 256
"""Validation images that are attacked: four batches of the compiled code. An attack costs seven times what a prediction does."""
ATTACKS = {"fgsm_2": 2.0, "fgsm_8": 8.0, "fgsm_32": 32.0, "pgd_4": 4.0, "pgd_16": 16.0}
"""The largest change of a value, in the 255 of a byte: the middle ones halve the accuracy on photographs, the large ones that
on drawings and letters."""
# Of random numbers, apart from those that training draws.
_LABEL_STREAM = 14


class TaskImages(NamedTuple):
    """What the networks of a plan are trained and evaluated on."""

    task: Task
    train: Images
    valid: Images
    test: Images
    corrupted: dict[str, Images]
    attacked: Images


def load(plan: Plan, folder: Path | None) -> TaskImages:
    """The images of a plan; `folder` is that of the `.npz` files. Raises `UserError` where a file is missing."""
    data = _read(plan, folder)
    picked = datasets.pick(len(data.y_train), plan.examples)
    y_train = _with_label_noise(data.y_train[picked], len(data.class_names), plan.label_noise)
    of = partial(Images, mean=data.mean, std=data.std)
    attacked = datasets.pick(len(data.y_valid), ATTACKED)
    corrupted = corruptions.corrupt_all(data.x_valid) if plan.robust else {}
    return TaskImages(
        task=Task(plan.set, tuple(data.x_train.shape[1:]), len(data.class_names)),  # pyright: ignore[reportArgumentType]
        train=of(data.x_train[picked], y_train),
        valid=of(data.x_valid, data.y_valid),
        test=of(data.x_test, data.y_test),
        corrupted={name: of(x, data.y_valid) for name, x in corrupted.items()},
        attacked=of(data.x_valid[attacked], data.y_valid[attacked]),
    )


def _read(plan: Plan, folder: Path | None) -> DataSet:
    if plan.set in datasets.names():
        return datasets.load(plan.set, plan.image_size)
    if folder is None:
        raise UserError(f"Data set '{plan.set}' is an npz file; name its folder by --images.")
    return datasets.load(f"npz:{folder / plan.set}.npz", plan.image_size)


def _with_label_noise(y: Tensor, classes: int, share: float) -> Tensor:
    """Labels of which a `share` is drawn anew, uniform over all classes (Zhang et al. 2017, section 2.2)."""
    # One draw for all functions and training seeds: the labels are part of the task.
    seed = torch.tensor([0])
    drawn = _noise.integers(seed, 0, len(y), high=classes, stream=_LABEL_STREAM)[0]
    return torch.where(_noise.uniform(seed, 1, len(y), stream=_LABEL_STREAM)[0] < share, drawn, y)


def work(plan: Plan, folder: Path, images: Path | None) -> Iterator[int]:
    """Train the shards that `folder` lacks and no other process works on; yields the number of each that it finished."""
    todo = [shard for shard in shards(plan) if not shard_file(folder, shard.number).exists()]
    if not todo:
        return
    # Attacks need it, and shards that PyTorch trained would differ from the others in their last bits.
    if attack.library() is None:
        raise UserError(
            "Shards are measured by compiled code; it takes a C compiler (cc, gcc, clang) and no NAS_COMPILE=0."
        )
    data = load(plan, images)
    plan_file.keep(folder, about(plan, data))
    for shard in todo:
        with lock(folder / f"{shard.number:04d}.lock") as mine:
            # Again: another process may have finished it since the list was made.
            if mine and not shard_file(folder, shard.number).exists():
                with atomic_write(shard_file(folder, shard.number)) as partial_file:
                    partial_file.write_bytes(safetensors.torch.save(measure(plan, shard, data)))
                yield shard.number


def measure(plan: Plan, shard: Shard, data: TaskImages) -> dict[str, Tensor]:
    """All metrics of a shard by name: accuracies as int16 counts of correct images, calibration as float32."""
    # The time of this process and not of the clock: other processes work beside it.
    started = time.process_time()
    archs = _ops.from_index(shard.indices, plan.space.choices)
    networks = training.networks(plan.space, archs, data.task, shard.seed)
    # `work` has asked for the compiler.
    assert isinstance(networks, CompiledNetworks)
    recipe = Recipe(
        plan.epochs, plan.batch, plan.lr, weight_decay=plan.weight_decay, crop=plan.crop, cutout=plan.cutout,
        seed=shard.seed,
    )  # fmt: skip
    loss_EP, valid_FP = [], []
    trained = 0.0
    for epoch, loss_P in enumerate(training.train(networks, data.train, recipe), 1):
        trained = time.process_time()
        loss_EP.append(loss_P)
        if epoch in fidelities(plan)[:-1]:
            valid_FP.append(_correct(training.predictions(networks, data.valid), data.valid))
            # Evaluation between epochs is no time of training.
            started += time.process_time() - trained
    evaluated = time.process_time()
    # `ranks` are indices; shards were written under that name first.
    out = {"ranks": shard.indices.int(), "seed": torch.tensor(shard.seed), "loss": torch.stack(loss_EP)}
    for split, images in (("valid", data.valid), ("test", data.test)):
        logits_PNK = networks.logits(images.normalised(slice(None)))
        seen_PN = logits_PNK.argmax(-1)
        out |= {f"{split}_{name}": values for name, values in _calibration(logits_PNK, images.y).items()}
        out[f"{split}_worst_class"] = worst_class_accuracy(seen_PN, images.y, data.task.num_classes)
        out[split] = _correct(seen_PN, images)
    out["valid"] = torch.stack([*valid_FP, out["valid"]])
    if plan.robust:
        corrupted = [_correct(training.predictions(networks, images), images) for images in data.corrupted.values()]
        out["corrupted"] = torch.stack(corrupted)
        out["attacked"] = attack.attacked(networks, data.attacked, ATTACKS)
    out["train_seconds"] = torch.tensor((trained - started) / len(archs))
    out["evaluation_seconds"] = torch.tensor((time.process_time() - evaluated) / len(archs))
    return out


def _correct(seen_PN: Tensor, images: Images) -> Tensor:
    return (seen_PN == images.y).sum(1).short()


def _calibration(logits_PNK: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Expected calibration error in percent, and the mean cross entropy, float32 `[P]`."""
    log_p_PNK = logits_PNK.log_softmax(-1)
    return {
        "calibration_error": calibration_error(log_p_PNK.exp(), y),
        "cross_entropy": -log_p_PNK.gather(-1, y.expand(len(log_p_PNK), -1)[..., None]).mean((1, 2)),
    }


def shard_file(folder: Path, number: int) -> Path:
    return folder / f"{number:04d}.safetensors"


def about(plan: Plan, data: TaskImages) -> dict[str, Any]:
    """What the metrics of a folder depend on, for its `plan.json`."""
    digest = hashlib.sha256()
    for images in (data.train, data.valid, data.test):
        digest.update(images.x.contiguous().numpy().tobytes() + images.y.numpy().tobytes())
    counts = {split: len(getattr(data, split).y) for split in ("train", "valid", "test", "attacked")}
    return {
        "plan": plan._asdict(), "pictures": counts, "shape": list(data.task.input_shape), "classes": data.task.num_classes,
        "corruptions": list(data.corrupted), "attacks": ATTACKS if plan.robust else {}, "sha256": digest.hexdigest(),
    }  # fmt: skip


@contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Whether this process is the one that holds the lock; the system releases it when the process ends, however it does."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
        path.unlink(missing_ok=True)
