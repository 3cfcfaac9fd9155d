"""`nas export --seed`: the trained network of each search of a run, and not of the best alone."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch

from nas.run import comparison, seed_networks, step_log, store, trained_network

FAST = (
    "-tepochs=1",
    "-tchannels=4",
    "-tcells=1",
    "-texamples=96",
    "-tfinal_epochs=2",
    "-tfinal_channels=4",
    "-tfinal_cells=1",
)
SEARCH = (
    "search",
    "--task",
    "digits",
    "--controller",
    "random_search",
    "--seeds",
    "2",
    "--first-seed",
    "3",
    "--leaders",
    "0",
)


@pytest.mark.parametrize("how", [(*FAST, "--no-comparison"), FAST], ids=["alone", "compared"])
def test_each_seed_of_a_run_leaves_with_the_weights_that_it_was_reported_with(how, nas, tmp_path):
    done = nas(*SEARCH, *how, "--evals", "2", "--batch", "2", "--name", "one", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["best"]
    assert len({row["arch"] for row in rows}) == 2, "two networks"
    weights = []
    for row in rows:
        seed = row["seed"]
        out = nas("export", "one", "--seed", seed, "--to", f"out{seed}", "--no-onnx")
        assert out.returncode == 0, out.stderr
        assert "untrained" not in out.stdout
        weights.append(safetensors.torch.load_file(tmp_path / f"out{seed}" / "network.safetensors"))
    with store.open_run(tmp_path / "runs/one") as run:
        best = trained_network.load(run.folder)
        own = {row["seed"]: seed_networks.load(run, row["seed"], row["arch"]) for row in rows}
        # After a comparison the best too, in whose place the plain network may be handed out.
        assert sum(network is not None for network in own.values()) == (1 if "--no-comparison" in how else 2)
        for row in rows:
            if (network := own[row["seed"]]) is not None:
                assert network.metrics["test_accuracy"] == pytest.approx(row["report"], abs=1e-3)
        for network in {n.arch: n for n in (best, *own.values()) if n is not None}.values():
            kept = [all(torch.equal(w[n], t) for n, t in network.state_dict.items() if n in w) for w in weights]
            assert sum(kept) == 1, "one of the exports"
        # What a seed has found since is another network.
        assert seed_networks.load(run, rows[0]["seed"], "another") is None
        assert step_log.history(run).score.shape[0] == 2


def test_a_search_whose_network_lost_to_the_plain_one_leaves_with_its_own_weights(nas, tmp_path):
    search = (
        "search",
        "--task",
        "digits",
        "--controller",
        "random_search",
        "--first-seed",
        "1",
        "--leaders",
        "0",
        *FAST,
    )
    assert nas(*search, "--evals", "2", "--batch", "2", "--name", "one").returncode == 0
    with store.open_run(tmp_path / "runs/one") as run:
        assert comparison.plain_handed_out(run), "another seed, or fewer epochs"
    out = nas("export", "one", "--seed", 1, "--to", "out", "--no-onnx")
    assert out.returncode == 0, out.stderr
    assert "untrained" not in out.stdout
    kept = tmp_path / "runs/one/seeds/1/best.safetensors"
    whole = safetensors.torch.load_file(kept)
    found = safetensors.torch.load_file(tmp_path / "out/network.safetensors")
    assert all(torch.equal(whole[n], t) for n, t in found.items() if n in whole)
    kept.unlink()
    gone = nas("export", "one", "--seed", 1, "--to", "again")
    assert (gone.returncode, "is gone, the trained network of seed 1" in gone.stderr) == (2, True)
    assert not (tmp_path / "again").exists()
