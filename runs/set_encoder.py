"""The shipped set encoder, the descriptions it gives, and a check on data sets that it never saw.

Two checks. Known again: of two disjoint samples of a set and one of every other set there is, how often the second is the
nearest to the first. Versions: twelve versions of the one set are drawn as in training, two samples of each; how often the
second is the nearest. They are made for the sets left out, by the encoder that is shipped, and for four more, drawn by the
seed, by one that was trained without them too; beside both stand an encoder as it begins and chance.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
import time
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from nas import datasets
from nas.datasets import DataSet, meta_features, set_encoder
from nas.datasets.set_encoder import SetEncoder

EXAMPLES = {
    "cifar10": 25_000, "digits": 576, "rsscn7_aerial": 600, "brain_tumor_mri": 1200, "fashion_mnist": 1200,
    "arabic_chars28": 1200,
}  # fmt: skip
"""Training images behind the tables: NAS-Bench-201 (Dong & Yang 2020, section 2.2) and `runs/own201.sh`."""
FURTHER, TRIALS, BATCHES = 4, 400, 30


def main() -> None:
    """Train, write, check."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path, help="the folder of .npz files")
    parser.add_argument("--leave", nargs="*", default=[])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sets = {path.stem: datasets.load(f"npz:{path}") for path in sorted(asked.images.glob("*.npz"))}
    sets["digits"] = datasets.load("digits")
    strange = set(asked.leave) - set(sets)
    if strange:
        parser.error(f"No data set is called {', '.join(sorted(strange))}; there are: {', '.join(sorted(sets))}.")
    encoder, names = _without(sets, asked.leave, asked.steps, asked.seed)
    words = f"LEAVE={shlex.quote(' '.join(asked.leave))} runs/set_encoder.sh --steps {asked.steps} --seed {asked.seed}"
    about = {"format": set_encoder.FORMAT, "command": words, "sets": json.dumps(names), "seed": str(asked.seed)}
    set_encoder.SHIPPED.write_bytes(safetensors.torch.save(encoder.state_dict(), about))
    meta_features.KNOWN.write_text(_descriptions(encoder, sets))
    further = random.Random(asked.seed).sample(names, FURTHER)
    other, _ = _without(sets, [*asked.leave, *further], asked.steps, asked.seed)
    raw = set_encoder.untrained(asked.seed).eval()
    print(f"chance: known again {1 / len(sets):.1%}, versions {1 / set_encoder.VERSIONS:.1%}")
    print(f"| never seen | trained on | known again | as it begins | versions | as it begins |\n|{'---|' * 6}")
    for one, left, count in ((encoder, asked.leave, len(names)), (other, further, len(names) - FURTHER)):
        for name in sorted(left):
            known, known_raw = (known_again(e, sets, name, asked.seed) for e in (one, raw))
            apart, apart_raw = (told_apart(e, sets[name], asked.seed) for e in (one, raw))
            print(f"| {name} | {count} sets | {known:.1%} | {known_raw:.1%} | {apart:.1%} | {apart_raw:.1%} |")


def known_again(encoder: SetEncoder, sets: dict[str, DataSet], name: str, seed: int) -> float:
    """How often, of `TRIALS`, the nearest to a sample of set `name` is its other sample and not that of another set.

    Samples have 32 to 128 pictures of all classes.
    """
    generator = torch.Generator().manual_seed(seed)
    seen = {other: _read(encoder, data) for other, data in sets.items()}
    right = 0
    for _ in range(TRIALS):
        first, second = _samples(encoder, *seen[name], generator)
        others = [_samples(encoder, *seen[other], generator)[0] for other in seen if other != name]
        distances = (torch.stack([second, *others]) - first).norm(dim=-1)
        right += int(distances.argmin() == 0)
    return right / TRIALS


def told_apart(encoder: SetEncoder, data: DataSet, seed: int) -> float:
    """How often, of `BATCHES` times twelve, the nearest to a sample of a version of one set is the version's other sample."""
    generator = torch.Generator().manual_seed(seed)
    x, labels = set_encoder.sample_of(data)
    right = []
    for _ in range(BATCHES):
        samples = [s for _ in range(set_encoder.VERSIONS) for s in set_encoder.pair(x, labels, generator)]
        with torch.no_grad():
            said = torch.stack([encoder.read(encoder.phi(x), y) for x, y in samples])
        nearest = torch.cdist(said[0::2], said[1::2]).argmin(1)
        right.append((nearest == torch.arange(len(nearest))).float().mean())
    return float(torch.stack(right).mean())


def _without(sets: dict[str, DataSet], left: list[str], steps: int, seed: int) -> tuple[SetEncoder, list[str]]:
    names = sorted(set(sets) - set(left))
    started = time.process_time()
    encoder = set_encoder.train({name: sets[name] for name in names}, steps, seed)
    print(f"{steps} steps on {len(names)} data sets: {time.process_time() - started:.0f} seconds", flush=True)
    return encoder, names


def _read(encoder: SetEncoder, data: DataSet) -> tuple[Tensor, Tensor]:
    x, labels = set_encoder.sample_of(data)
    with torch.no_grad():
        return encoder.phi(x), labels


def _samples(encoder: SetEncoder, x: Tensor, labels: Tensor, generator: torch.Generator) -> list[Tensor]:
    halves = torch.randperm(len(x), generator=generator).tensor_split(2)
    sizes = torch.randint(32, 129, (2,), generator=generator).tolist()
    picked = [half[:size] for half, size in zip(halves, sizes)]
    with torch.no_grad():
        return [encoder.read(x[at], labels[at]) for at in picked]


def _descriptions(encoder: SetEncoder, sets: dict[str, DataSet]) -> str:
    """JSON, a line for each set: examples, then the description."""
    lines = []
    for name in sorted(sets):
        data = sets[name]
        said = set_encoder.describe(encoder, data.x_train, data.y_train)
        lines.append(f"{json.dumps(name)}: {json.dumps([EXAMPLES.get(name, len(data.y_train)), *said])}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
