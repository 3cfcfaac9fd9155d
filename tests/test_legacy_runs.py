"""What version 0.1 wrote is read: four runs of commit 1e9db38 are shown, listed, resumed, exported and learned from."""

from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from controller.models import legacy, prior_file
from controller.models.transformer import TaskTransformer
from nas.run import session, step_log, store

RUNS = Path(__file__).parent / "data" / "v0_1" / "runs"
PRIOR = RUNS.parent / "prior.safetensors.xz"
"""By `nas meta-train --describe 3 --read 2 --reinforce 1` of commit 1e9db38; large tensors are constants, so that it is small."""
EVALUATIONS = {"ic": 12, "lim": 6, "bay": 20, "rei": 20}
CONTROLLERS = {"ic": "transfer_bo", "lim": "transfer_bo", "bay": "bayesian", "rei": "reinforce"}
NEXT = {
    "bay": [[[1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 0, 1]], [[0, 3, 3, 1, 0, 1], [0, 3, 4, 1, 2, 1]]],
    "rei": [[[2, 2, 2, 0, 0, 2], [4, 1, 4, 2, 1, 1]]],
}
"""What the code of 0.1 proposes next, two for each seed: `propose(state, 2)` of commit 1e9db38 on these files."""


@pytest.fixture
def prior(tmp_path):
    path = tmp_path / "prior.safetensors"
    path.write_bytes(lzma.decompress(PRIOR.read_bytes()))
    return path


@pytest.fixture
def runs(tmp_path, table):
    """A copy, as opening a run writes beside it."""
    table("own201")
    table("nasbench201-hardware")
    return Path(shutil.copytree(RUNS, tmp_path / "runs"))


def test_each_run_is_listed_and_shown_with_what_it_was_asked(runs, nas):
    listed = {Path(row["run"]).name: row for row in json.loads(nas("runs", "--json").stdout)}
    for name, evaluations in EVALUATIONS.items():
        document = json.loads(nas("show", name, "--json").stdout)
        assert (document["evaluations"], document["controller"]) == (evaluations, CONTROLLERS[name])
        assert document["finished"]
        assert listed[name]["best_score"] == max(row["score"] for row in document["best"])
        assert nas("show", name).returncode == 0
    constrained = json.loads(nas("show", "lim", "--json").stdout)
    assert constrained["task"].endswith("latency<=q30")
    assert len(constrained["best"][0]["constraint_ratio"]) == 1


def test_the_configuration_of_0_1_has_the_names_of_today(runs):
    with store.open_run(runs / "rei") as run:
        assert run.config.controller_options == {"baseline_decay": "0.8"}
        assert (run.config.evals, run.config.simulated_seconds, run.config.minutes) == (20, None, None)


def _longer(folder, evaluations):
    """The run as if more had been asked of it."""
    with store.open_run(folder, write=True) as run:
        asked = store.get_meta(run, "asked")
        store.set_meta(run, "asked", asked | {"evals": evaluations})


@pytest.mark.parametrize("name", EVALUATIONS)
def test_each_run_goes_on(name, runs, nas):
    _longer(runs / name, EVALUATIONS[name] + 2)
    resumed = nas("resume", name, "--json")
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["evaluations"] == EVALUATIONS[name] + 2


@pytest.mark.parametrize("name", NEXT)
def test_a_controller_that_has_not_changed_proposes_what_0_1_would(name, runs):
    with store.open_run(runs / name) as run:
        setup = session.load(run.config)
        state = step_log.state(run, session.initial_state(setup))
    assert torch.equal(setup.controller.propose(state, 2).archs, torch.tensor(NEXT[name]))


def test_a_run_is_exported_and_a_prior_learns_from_it(runs, nas, tmp_path):
    assert nas("export", "bay", "--to", "out", "--no-onnx").returncode == 0
    assert (tmp_path / "out" / "network.py").is_file()
    learned = nas("meta-train", "--from-runs", runs / "bay", "--from-runs", runs / "lim", "--out", tmp_path / "prior")
    assert learned.returncode == 0, learned.stderr
    assert (tmp_path / "prior" / "prior.safetensors").is_file()


def test_each_tensor_of_a_prior_of_0_1_has_a_meaning_today(prior):
    with safe_open(str(prior), "pt") as file:
        assert file.metadata()["format"] == legacy.PRIOR_FORMAT
        old = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    found = prior_file.read(str(prior))
    assert found.about["controller"] == "transfer_bo"
    contents = prior_file.unpack(found.params)
    again = prior_file.pack(contents)
    training_only = {n for n in found.params if n.split("/", 1)[1].startswith(prior_file.TRAINING_ONLY)}
    assert len(training_only) == 5
    assert again.keys() == found.params.keys() - training_only
    gone = {
        "atlas.nasbench201.columns",
        "atlas.nasbench201.likely",
    }  # Single tasks: the ensemble no longer asks for them.
    kept = {n: t for n, t in old.items() if n not in gone}
    assert len(found.params) == len(kept) == len(old) - 2
    assert sorted(t.shape for t in found.params.values()) == sorted(t.shape for t in kept.values())
    assert set(contents.spaces) == {"nasbench201", "transnas-micro"}
    network = {f"encoder.{n}": t for n, t in contents.encoder.items()} | contents.policy
    TaskTransformer().load_state_dict(network)


def test_a_prior_of_0_1_serves_a_search_and_learns_from_runs(prior, runs, nas):
    options = ("--task", "own201/digits", "--evals", 4, "--json")
    searched = nas("search", *options, "--prior", prior)
    assert searched.returncode == 0, searched.stderr
    cold = nas("search", *options, "--prior", "none")
    firsts = [json.loads(done.stdout)["best"][0]["arch"] for done in (searched, cold)]
    assert firsts[0] != firsts[1]
    learned = nas("meta-train", "--prior", prior, "--from-runs", runs / "bay", "--out", "more")
    assert learned.returncode == 0, learned.stderr
    assert "learned from 1 run" in learned.stdout
