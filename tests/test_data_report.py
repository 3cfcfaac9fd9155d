"""What a search says of its images before it begins, and its report at the end."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nas import tasks
from nas.commands import _shared
from nas.run import finish
from nas.run.markdown import escape
from nas.training import metrics

QUICK = [f"-t{k}" for k in ("epochs=1", "channels=4", "final_epochs=1", "final_channels=4", "final_cells=1")]
SEARCH = ("--controller", "random_search", "--evals", "2", "--batch", "2", "--no-comparison", *QUICK)


def test_balanced_accuracy_is_the_mean_over_classes_and_the_majority_their_largest_share():
    confusion = [[90, 0, 0], [5, 0, 0], [2, 0, 3]]
    assert metrics.balanced_accuracy(confusion) == pytest.approx(100 * (1 + 0 + 0.6) / 3)
    assert metrics.majority_accuracy(confusion) == 90
    # A class without test images has no accuracy.
    assert metrics.balanced_accuracy([[1, 1], [0, 0]]) == 50


def test_a_search_says_what_it_trains_on_and_what_guessing_would_get(nas, tmp_path, monkeypatch):
    monkeypatch.setattr(
        finish.trained_network, "write_export", lambda *_, **__: None
    )  # It takes seconds, and other tests make one.
    noise = np.random.default_rng(0)
    y = (np.arange(400) % 40 == 0).astype(int)
    x = noise.integers(0, 256, (400, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "rare.npz", x_train=x, y_train=y, x_val=x[:50], y_val=y[:50], other=y)
    first = nas("search", "--task", "npz:rare.npz", *SEARCH, "--name", "one")
    notes = [
        "2 classes, images to train / validate / test: 320 / 50 / 80; 0 312 / 48 / 78, 1 8 / 2 / 2",
        "validation images: 'x_val'; test images: 20% of each class, held out of training",
        "other not used",
        "14 of 80 test images are among those of training too: the test accuracy is optimistic",
        "36 of 50 validation images are among those of training too: the score is optimistic",
    ]
    at = first.stdout.index("data: ")
    assert at < first.stdout.index("best ")
    assert first.stdout[at:].splitlines()[:5] == [f"data: {note}" for note in notes]
    guessing = (
        "Balanced accuracy (mean of the classes' accuracies): 50.00%. Always naming the commonest class (0): 97.50%."
    )
    assert guessing in first.stdout
    page = (tmp_path / "runs/one/report.md").read_text()
    assert guessing in page
    assert all(f"- {escape(note)}" in page for note in notes)
    document = json.loads(nas("show", "one", "--json").stdout)
    assert document["data"] == notes
    assert document["comparison"] is None
    assert document["task"] == f"npz:{tmp_path / 'rare.npz'}"


def test_what_cannot_end_well_leaves_no_run(nas, tmp_path):
    np.savez(tmp_path / "alike.npz", x_train=np.full((40, 8, 8), 9, np.uint8), y_train=np.arange(40) % 2)
    refused = nas("search", "--task", "npz:alike.npz", *SEARCH)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_tilde_is_the_home_folder_for_images_and_for_runs(nas, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("NAS_RUNS", "~/all")
    assert _shared.runs_root() == tmp_path / "me/all"
    assert tasks.absolute("folder:~/a+b") == f"folder:{tmp_path}/me/a+b"
    assert tasks.absolute("npz:a b.npz") == f"npz:{tmp_path}/a b.npz"
    for name in ("digits", "hf:someone/letters", "own201/digits", "folder:", "npz: ", "folder:~nobody-here/a"):
        assert tasks.absolute(name) == name


def test_the_name_of_a_run_has_no_folders_above_the_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with _shared.new_folder("folder:/data/photos", "random_search") as folder:
        assert folder.name == "folder-photos-random_search-1"
