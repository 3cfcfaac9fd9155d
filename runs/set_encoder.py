"""The shipped set encoder, the descriptions it gives, and a check on data sets that it never saw.

The check: two disjoint samples of a set are drawn, and one of every other set there is; how often the second is the nearest to
the first. It is made for the sets left out, by the encoder that is shipped, and for four more, drawn by the seed, by one that
was trained without them too; beside both stand an encoder as it begins and chance.
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

from nas import data_sets, description, set_encoder
from nas.data_sets import DataSet
from nas.set_encoder import SetEncoder

EXAMPLES = {
    "cifar10": 25_000, "digits": 576, "rsscn7_aerial": 600, "brain_tumor_mri": 1200, "fashion_mnist": 1200,
    "arabic_chars28": 1200,
}  # fmt: skip
"""Training images behind the tables: NAS-Bench-201 (Dong & Yang 2020, section 2.2) and `runs/own201.sh`."""
FURTHER, TRIALS = 4, 400


def main() -> None:
    """Train, write, check."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path, help="the folder of .npz files")
    parser.add_argument("--leave", nargs="*", default=[])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    sets = {path.stem: data_sets.load(f"npz:{path}") for path in sorted(asked.images.glob("*.npz"))}
    sets["digits"] = data_sets.load("digits")
    strange = set(asked.leave) - set(sets)
    if strange:
        parser.error(f"No data set is called {', '.join(sorted(strange))}; there are: {', '.join(sorted(sets))}.")
    encoder, names = _without(sets, asked.leave, asked.steps, asked.seed)
    words = f"LEAVE={shlex.quote(' '.join(asked.leave))} runs/set_encoder.sh --steps {asked.steps} --seed {asked.seed}"
    about = {"format": set_encoder.FORMAT, "command": words, "sets": json.dumps(names), "seed": str(asked.seed)}
    set_encoder.SHIPPED.write_bytes(safetensors.torch.save(encoder.state_dict(), about))
    description.KNOWN.write_text(_descriptions(encoder, sets))
    further = random.Random(asked.seed).sample(names, FURTHER)
    other, _ = _without(sets, [*asked.leave, *further], asked.steps, asked.seed)
    raw = set_encoder.untrained(asked.seed)
    print(f"| never seen | trained on | known again | as it begins | chance |\n|---|---|{'---|' * 3}")
    for one, left in ((encoder, sorted(asked.leave)), (other, sorted(further))):
        for name in left:
            known, begins = (known_again(e, sets, name, asked.seed) for e in (one, raw))
            count = len(names) if one is encoder else len(names) - FURTHER
            print(f"| {name} | {count} sets | {known:.1%} | {begins:.1%} | {1 / len(sets):.1%} |")


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


def _without(sets: dict[str, DataSet], left: list[str], steps: int, seed: int) -> tuple[SetEncoder, list[str]]:
    names = sorted(set(sets) - set(left))
    started = time.process_time()
    encoder = set_encoder.train({name: sets[name] for name in names}, steps, seed)
    print(f"{steps} steps on {len(names)} data sets: {time.process_time() - started:.0f} seconds", flush=True)
    return encoder, names


def _read(encoder: SetEncoder, data: DataSet) -> tuple[Tensor, Tensor]:
    picked = data_sets.pick(len(data.y_train), 1000)
    with torch.no_grad():
        return encoder.phi(set_encoder.look(data.x_train[picked])), data.y_train[picked]


def _samples(encoder: SetEncoder, x: Tensor, labels: Tensor, generator: torch.Generator) -> list[Tensor]:
    halves = torch.randperm(len(x), generator=generator).tensor_split(2)
    sizes = torch.randint(32, 129, (2,), generator=generator).tolist()
    picked = [half[:size] for half, size in zip(halves, sizes)]
    with torch.no_grad():
        return [encoder.rho(set_encoder.pool(x[at], labels[at])) for at in picked]


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
