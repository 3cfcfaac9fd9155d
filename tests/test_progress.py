"""What is told of trainings while they run."""

from __future__ import annotations

import math

import torch

from controller import Proposal
from nas.evaluators.train import Train
from nas.types import Watched

SMALL = {"epochs": "2", "channels": "2", "cells": "1", "examples": "64", "final_epochs": "3", "final_channels": "2"}


def watched(**options):
    evaluator, told = Train.of("digits", **SMALL | options), []
    evaluator.watch(told.append)
    return evaluator, told


def test_every_epoch_is_told_with_what_is_trained_and_how_far_it_is():
    evaluator, told = watched()
    archs = torch.tensor([[[0, 1, 2, 3, 4, 1], [3, 3, 3, 3, 3, 3]]])
    score = evaluator.load(torch.zeros(1))(Proposal(archs)).score
    assert [(p.epoch, p.epochs, p.done, p.total) for p in told] == [(0, 2, 0, 2), (1, 2, 1, 2), (2, 2, 2, 2)]
    names = {evaluator.space.describe(arch) for arch in evaluator.equivalents(archs[0])}
    assert all(set(p.archs) == names for p in told)
    assert math.isnan(told[0].loss)
    losses = [sum(pair) / 2 for pair in zip(*(evaluator.training_loss(arch) for arch in archs[0]))]
    assert torch.allclose(torch.tensor([p.loss for p in told[1:]]), torch.tensor(losses))
    evaluator.retrain(archs[0], 1)
    assert len(told) == 6
    # What is known is not trained, and so not told again.
    assert torch.equal(evaluator.load(torch.zeros(1))(Proposal(archs)).score, score)
    assert len(told) == 6


def test_the_best_of_the_trainings_that_ended_is_told_before_all_have(monkeypatch):
    monkeypatch.setattr("nas.evaluators._training_cache.batch_limit", lambda _device: 1)
    evaluator, told = watched()
    archs = torch.tensor([[[0, 1, 2, 3, 4, 1], [3, 3, 3, 3, 3, 3]]])
    scores = evaluator.load(torch.zeros(1))(Proposal(archs)).score
    assert [p.done for p in told] == [0, 0.5, 1, 1, 1.5, 2]
    assert math.isnan(told[2].best)
    assert told[3].best in scores


def test_the_final_training_tells_epochs_and_loss():
    evaluator, told = watched()
    network = evaluator.final_network(torch.tensor([3, 3, 3, 3, 3, 3]))
    assert [(p.epoch, p.epochs, p.done, p.total) for p in told] == [(1, 3, 1 / 3, 1), (2, 3, 2 / 3, 1), (3, 3, 1, 1)]
    assert [p.loss for p in told] == network.metrics["loss"]


def test_the_final_training_is_foretold_by_all_its_images_and_epochs(monkeypatch):
    evaluator, _ = watched()
    assert isinstance(evaluator, Watched)
    monkeypatch.setattr("nas.training.step_time.measure_alone", lambda *_: 0.5)
    assert evaluator.final_seconds() == 0.5 * (len(evaluator.data.y_train) + len(evaluator.data.y_valid)) * 3


def test_nobody_is_told_who_does_not_watch():
    evaluator, told = watched()
    evaluator.watch(None)
    evaluator.final_network(torch.tensor([3, 3, 3, 3, 3, 3]))
    assert told == []
