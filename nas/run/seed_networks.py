"""Trained networks of searches whose best is not the one handed out: what `nas export --seed` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nas.run import store, trained_network
from nas.run.store import Run
from nas.types import TrainedNetwork

FOLDER = "seeds"
KEPT = "seed_networks"
"""Kept with a run: what each seed found, by which it was known then; its network may be trained otherwise."""


def save(run: Run, by_seed: Mapping[int, tuple[str, TrainedNetwork]]) -> None:
    """Keep what a seed found, and its network; in place of earlier ones."""
    for seed, (_, network) in by_seed.items():
        folder = _folder(run, seed)
        folder.mkdir(parents=True, exist_ok=True)
        trained_network.save(folder, network)
    # At last: what is named here is whole.
    store.set_meta(run, KEPT, {str(seed): arch for seed, (arch, _) in by_seed.items()})


def load(run: Run, seed: int, arch: str) -> TrainedNetwork | None:
    """The network of a seed that found `arch`; None where none was kept, or where the seed has found another since."""
    kept = store.get_meta(run, KEPT) or {}
    return trained_network.load(_folder(run, seed)) if kept.get(str(seed)) == arch else None


def _folder(run: Run, seed: int) -> Path:
    return run.folder / FOLDER / str(seed)
