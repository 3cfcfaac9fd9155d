"""The trained network of each search of a run beside the one handed out: what `nas export --seed` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nas.run import store, trained_network
from nas.run.store import Run
from nas.types import TrainedNetwork
from search_spaces import UserError

FOLDER = "seeds"
KEPT = "seed_networks"
"""Kept with a run: what each seed had found when its network was trained, by name."""


def save(run: Run, by_seed: Mapping[int, tuple[str, TrainedNetwork]]) -> None:
    """Keep what each seed found, and its network."""
    for seed, (_, network) in by_seed.items():
        folder = _folder(run, seed)
        folder.mkdir(parents=True, exist_ok=True)
        trained_network.save(folder, network)
    # At last: what is named here is whole.
    store.set_meta(run, KEPT, {str(seed): arch for seed, (arch, _) in by_seed.items()})


def load(run: Run, seed: int, arch: str) -> TrainedNetwork | None:
    """The network of a seed that found `arch`; None where none was kept, or where the seed has found another since.

    Raises `UserError` where it is damaged or gone.
    """
    if (store.get_meta(run, KEPT) or {}).get(str(seed)) != arch:
        return None
    if (network := trained_network.load(_folder(run, seed))) is None:
        path = _folder(run, seed) / trained_network.FILE
        raise UserError(f"'{path}' is gone, the trained network of seed {seed}; export another seed, or search again.")
    return network


def _folder(run: Run, seed: int) -> Path:
    return run.folder / FOLDER / str(seed)
