"""Faults of trainings, disks and processes: one failed cell ends no run, and nothing is lost or left half-written."""

from __future__ import annotations

import json

import pytest
import torch

from controller import Proposal
from nas import tasks
from nas.evaluators._training_cache import FILE, TrainingCache
from search_spaces import UserError

SMALL = {
    "epochs": "1",
    "channels": "2",
    "examples": "64",
    "final_epochs": "1",
    "final_channels": "2",
    "final_cells": "1",
}
GOOD = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
EDGES = ("skip_connect", "nor_conv_1x1", "avg_pool_3x3", "nor_conv_3x3")


@pytest.fixture
def raising(monkeypatch):
    """A training that raises whenever one of `bad`, by index, is in the chunk; and what chunks were tried."""
    real, bad, tried = TrainingCache._train_chunk, set(), []

    def train_chunk(self, indices, start, end):
        tried.append(list(indices))
        if bad & set(indices):
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore lines")
        real(self, indices, start, end)

    monkeypatch.setattr(TrainingCache, "_train_chunk", train_chunk)
    return bad, tried


def _proposal(evaluator):
    return Proposal(torch.stack([evaluator.space.parse(GOOD.replace("skip_connect", edge)) for edge in EDGES])[None])


def _evaluated(bad=()):
    """The evaluator, and the scores of the four cells `[4]`."""
    evaluator = tasks.find("digits", **SMALL)
    return evaluator, evaluator.load(torch.tensor([0]))(_proposal(evaluator)).score[0]


def test_a_training_that_raises_is_nan_with_its_reason_and_changes_no_other(raising, tmp_path):
    bad, tried = raising
    _, expected = _evaluated()
    evaluator = tasks.find("digits", **SMALL)
    evaluator.cache_to(tmp_path)
    indices = [key.index for key in _evaluated()[0].cache.results]
    bad.add(indices[2])
    score = evaluator.load(torch.tensor([0]))(_proposal(evaluator)).score[0]
    failed = score.isnan()
    assert failed.sum() == 1
    assert torch.equal(score[~failed], expected[~failed])
    assert evaluator.cache.failures() == ["RuntimeError: CUDA error: an illegal memory access was encountered"]
    rows = [json.loads(line) for line in (tmp_path / FILE).read_text().split("\n") if line]
    assert [row["error"] for row in rows if row["error"]] == evaluator.cache.failures()
    # Another session knows it and does not try again.
    tried.clear()
    again = tasks.find("digits", **SMALL)
    again.cache_to(tmp_path)
    assert again.load(torch.tensor([0]))(_proposal(again)).score[0].isnan().equal(failed)
    assert tried == []
    assert again.cache.failures() == evaluator.cache.failures()


def test_a_search_ends_when_every_training_raises(raising, monkeypatch):
    bad, _ = raising
    bad.update(key.index for key in _evaluated()[0].cache.results)
    monkeypatch.setattr("nas.evaluators._training_cache._GIVE_UP", 4)
    with pytest.raises(UserError, match="All 4 trainings so far have failed; the last with RuntimeError: CUDA error"):
        _evaluated()
    bad.pop()
    assert _evaluated()[1].isnan().sum() == 3


def test_a_device_that_answers_no_more_ends_the_session(raising, monkeypatch):
    bad, _ = raising
    evaluator = tasks.find("digits", **SMALL)
    bad.update(range(15625))
    # `meta` has no values to give, as a GPU after an illegal access has none.
    evaluator.cache.device = torch.device("meta")
    with pytest.raises(UserError, match="answers no more after: CUDA error"):
        evaluator.load(torch.tensor([0]))(_proposal(evaluator))
