"""Trainings that are unlike each other: each gives the same bits alone, in company and in any order."""

from __future__ import annotations

import threading

import pytest
import torch

from nas import training
from nas.training import Images, Job, Recipe, compiler, step_time
from search_spaces import Task, _ops
from search_spaces.nasbench201 import NasBench201


def images_of(shape, count=48):
    noise = torch.Generator().manual_seed(shape[-1])
    x = torch.randint(256, (count, *shape), generator=noise, dtype=torch.uint8)
    return Images(x, torch.arange(count) % 3, torch.full(shape[:1], 0.5), torch.full(shape[:1], 0.3))


def job_of(index, channels, shape, recipe):
    space = NasBench201(channels, 1, 2 if shape[-1] > 16 else 1)
    arch = _ops.from_index(torch.tensor(index), space.choices)
    return Job(space, arch, Task("toy", shape, 3), images_of(shape), recipe, images_of(shape, 20), mirror=True)


compiled = pytest.mark.skipif(compiler.library() is None, reason="there is no C compiler here")
JOBS = [
    job_of(777, 4, (1, 8, 8), Recipe(3, batch=16)),
    job_of(9468, 8, (3, 20, 20), Recipe(1, batch=8, lr=0.02, flip=True, crop=2)),
    job_of(11111, 4, (3, 12, 10), Recipe(2, batch=32, mixup=0.3, label_smoothing=0.1, average=1.0, seed=5)),
    job_of(12345, 6, (1, 9, 9), Recipe(2, batch=16, balanced=True, warmup=0.2)),
]


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def outcomes(jobs):
    ended = dict(training.train_each(jobs))
    return [ended[n] for n in range(len(jobs))]


def assert_same(ours, theirs):
    assert ours.error is None
    assert ours.losses == theirs.losses
    assert torch.equal(ours.logits, theirs.logits)
    assert all(torch.equal(ours.weights[name], weight) for name, weight in theirs.weights.items())


def assert_same_in_company(jobs):
    together, turned = outcomes(jobs), outcomes(jobs[::-1])[::-1]
    for job, ours, other in zip(jobs, together, turned):
        (alone,) = outcomes([job])
        assert_same(ours, alone)
        assert_same(other, alone)
        assert len(ours.losses) == job.recipe.epochs


@compiled
def test_a_job_gives_alone_in_company_and_in_any_order_the_same_bits(two_threads):
    assert_same_in_company(JOBS)


def test_so_it_does_where_pytorch_trains_one_after_the_other(monkeypatch):
    monkeypatch.setattr(compiler, "library", lambda *_: None)
    assert_same_in_company([JOBS[0], JOBS[2]])


def test_a_job_is_the_training_of_its_recipe_and_its_network_that_of_its_space(two_threads):
    job = JOBS[2]
    network = training.networks(job.space, job.arch[None], job.task, job.recipe.seed)
    losses = [loss.item() for loss in training.train(network, job.images, job.recipe)]
    ours = outcomes(JOBS)[2]
    assert ours.losses == losses
    assert torch.equal(ours.logits, training.logits(network, job.scored, mirror=True)[0])
    module = job.space.build(job.arch, job.task).eval()
    module.load_state_dict(ours.weights)
    x = job.scored.normalised(slice(None))
    mean = (module(x) + module(x.flip(-1))) / 2
    torch.testing.assert_close(ours.logits, mean.detach(), rtol=1e-4, atol=1e-4)


HALF = [
    job_of(5555, 8, (3, 20, 20), Recipe(2, batch=16, precision="bf16", average=0.5))._replace(
        space=NasBench201(24, 1, 2)
    ),
    job_of(777, 16, (1, 16, 16), Recipe(1, batch=8, precision="bf16", seed=3)),
]


def test_in_bfloat16_a_job_gives_the_same_bits_alone_and_in_company(two_threads):
    assert_same_in_company(HALF)


def test_bfloat16_trains_near_float32_and_leaves_float32_that_answers_exactly(two_threads):
    job = HALF[0]
    (ours,) = outcomes([job])
    (plain,) = outcomes([job._replace(recipe=job.recipe._replace(precision="float32"))])
    assert ours.losses != plain.losses
    assert ours.losses == pytest.approx(plain.losses, rel=0.02)
    assert {weight.dtype for weight in ours.weights.values() if weight.is_floating_point()} == {torch.float32}
    module = job.space.build(job.arch, job.task).eval()
    module.load_state_dict(ours.weights)
    x = job.scored.normalised(slice(None))
    torch.testing.assert_close(ours.logits, ((module(x) + module(x.flip(-1))) / 2).detach(), rtol=1e-4, atol=1e-4)


@compiled
def test_small_networks_stay_in_compiled_code(two_threads):
    job = JOBS[0]
    half = job._replace(recipe=job.recipe._replace(precision="bf16"))
    assert_same(*(outcomes([one])[0] for one in (job, half)))


@compiled
def test_two_jobs_run_at_once_and_leave_the_threads_as_they_were(two_threads, monkeypatch):
    both = threading.Barrier(2, timeout=60)
    real = training.side_by_side.train

    def together(*given):
        both.wait()  # Broken, and so an error, unless two jobs are here at once.
        return real(*given)

    monkeypatch.setattr(training.side_by_side, "train", together)
    assert [trained.error for trained in outcomes(JOBS[:2])] == [None, None]
    assert torch.get_num_threads() == 2


@compiled
def test_a_job_that_fails_says_why_and_disturbs_no_other(two_threads):
    bad, good = outcomes([JOBS[0]._replace(images=JOBS[1].images), JOBS[1]])
    assert "take images of 1 x 8 x 8, not of 3 x 20 x 20" in str(bad.error)
    assert (bad.weights, bad.losses, bad.logits) == ({}, [], None)
    assert_same(good, outcomes([JOBS[1]])[0])


@compiled
def test_who_leaves_ends_the_other_trainings(two_threads):
    endless = JOBS[0]._replace(recipe=Recipe(1_000_000, batch=16))
    before = threading.active_count()
    for number, _ in training.train_each([JOBS[0], endless]):
        assert number == 0
        break
    assert threading.active_count() == before


def test_the_time_of_a_training_beside_others_is_that_of_all_after_their_first_epoch(monkeypatch):
    clock, asked = iter(range(100)), []

    def each(jobs, _device, tell=None):
        asked.append(len(jobs))
        for _ in range(jobs[0].recipe.epochs):
            for n in range(len(jobs)):
                if tell is not None:
                    tell(n, [])
        yield 0, training.Trained({}, [], None, 0.0)

    monkeypatch.setattr(step_time, "train_each", each)
    monkeypatch.setattr(step_time.time, "perf_counter", lambda: float(next(clock)))
    before = torch.get_num_threads()
    # Two trainings of two epochs end an epoch four times, a second apart; the images are fewer than 24 batches.
    assert step_time.measure_side_by_side(JOBS[0], 2, torch.device("cpu")) == 3 / 48
    assert (asked, torch.get_num_threads()) == ([1, 2], before)
