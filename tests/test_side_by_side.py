"""Trainings that are unlike each other: each gives the same bits alone, in company and in any order."""

from __future__ import annotations

import threading

import pytest
import torch

from nas import training
from nas.training import Images, Job, Recipe, compiler, step_time, under_way
from nas.training.under_way import UnderWay
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


@pytest.mark.parametrize("one_core", [True, False])
def test_the_time_of_a_training_beside_others_is_that_of_all_after_their_first_epoch(monkeypatch, one_core):
    clock, asked = iter(range(100)), []
    monkeypatch.setattr(step_time, "by_one_core", lambda *_: one_core)

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
    # Two trainings of two epochs end an epoch four times, a second apart; the images are fewer than 24 batches. PyTorch with all
    # cores has nothing beside it.
    assert step_time.measure_side_by_side(JOBS[0], 2, torch.device("cpu")) == (3 if one_core else 1) / 48
    assert (asked, torch.get_num_threads()) == ([1, 2 if one_core else 1], before)


class Killed(BaseException):
    """As Ctrl-C: no error of a training."""


def cut(epochs):
    """A `tell` that ends the training after so many epochs in all."""

    def tell(losses):
        if len(losses) == epochs:
            raise Killed

    return tell


@pytest.mark.parametrize(
    "recipe",
    [Recipe(6, batch=16), Recipe(6, batch=16, average=0.5, mixup=0.3, crop=2, seed=3, warmup=0.2)],
    ids=["plain", "averaged"],
)
@pytest.mark.parametrize("engine", ["compiled", "PyTorch", "bf16"])
def test_a_training_that_was_killed_goes_on_to_the_bit_from_where_it_was_kept(tmp_path, monkeypatch, recipe, engine):
    shape = (1, 8, 8)
    if engine == "PyTorch":
        monkeypatch.setattr(compiler, "library", lambda *_: None)
    if engine == "bf16":
        recipe, shape = recipe._replace(precision="bf16"), (1, 24, 24)
    monkeypatch.setattr(under_way, "INTERVAL", 0.0)
    job = job_of(777, 16 if engine == "bf16" else 4, shape, recipe)
    whole = training.train_alone(job)
    kept = job._replace(kept_in=tmp_path)
    # The fifth epoch is lost: it was not kept yet. The mean of weights began with the fourth.
    with pytest.raises(Killed):
        training.train_alone(kept, tell=cut(5))
    assert len(list(tmp_path.iterdir())) == 1
    heard = []
    again = training.train_alone(kept, tell=lambda losses: heard.append(len(losses)))
    assert_same(again, whole)
    assert heard == [5, 6]
    assert not list(tmp_path.iterdir())


def test_the_seconds_of_a_training_that_goes_on_are_those_of_all_its_sessions(tmp_path, monkeypatch):
    monkeypatch.setattr(under_way, "INTERVAL", 0.0)
    job = JOBS[0]._replace(kept_in=tmp_path)
    write = UnderWay.write
    monkeypatch.setattr(
        UnderWay, "write", lambda self, net, losses, seconds, now: write(self, net, losses, 1000.0, now=now)
    )
    with pytest.raises(Killed):
        training.train_alone(job, tell=cut(2))
    assert training.train_alone(job).seconds > 1000


@compiled
def test_training_is_kept_once_in_an_interval_and_where_it_is_told_to_stop(tmp_path, two_threads):
    job = JOBS[0]._replace(kept_in=tmp_path, recipe=JOBS[0].recipe._replace(epochs=10_000))
    for number, _ in training.train_each([JOBS[0], job]):
        assert number == 0
        assert not list(tmp_path.iterdir())  # Half a minute is not over.
        break
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"recipe": JOBS[0].recipe._replace(epochs=4)},
        {"recipe": JOBS[0].recipe._replace(seed=1)},
        {"arch": JOBS[1].arch},
        {"images": JOBS[0].images._replace(y=JOBS[0].images.y.roll(1))},
        {"space": NasBench201(8, 1, 1)},
    ],
    ids=["epochs", "seed", "architecture", "labels", "width"],
)
def test_another_training_does_not_begin_where_one_was_killed(tmp_path, monkeypatch, other):
    monkeypatch.setattr(under_way, "INTERVAL", 0.0)
    job = JOBS[0]._replace(kept_in=tmp_path)
    with pytest.raises(Killed):
        training.train_alone(job, tell=cut(2))
    heard = []
    training.train_alone(job._replace(**other), tell=lambda losses: heard.append(len(losses)))
    assert heard[0] == 1


def test_a_damaged_file_of_a_training_under_way_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(under_way, "INTERVAL", 0.0)
    job = JOBS[0]._replace(kept_in=tmp_path)
    with pytest.raises(Killed):
        training.train_alone(job, tell=cut(2))
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    assert_same(training.train_alone(job), training.train_alone(JOBS[0]))


def test_a_file_that_is_of_another_network_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(under_way, "INTERVAL", 0.0)
    # As where somebody's layers got other shapes between two sessions.
    monkeypatch.setattr(training.side_by_side, "_digest", lambda *_: "same")
    with pytest.raises(Killed):
        training.train_alone(JOBS[0]._replace(kept_in=tmp_path), tell=cut(2))
    other = JOBS[0]._replace(space=NasBench201(8, 1, 1))
    assert_same(training.train_alone(other._replace(kept_in=tmp_path)), training.train_alone(other))


@compiled
def test_a_training_that_is_timed_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(under_way, "INTERVAL", 0.0)
    monkeypatch.setattr(UnderWay, "write", lambda *_, **__: pytest.fail("kept"))
    assert step_time.measure_side_by_side(JOBS[0]._replace(kept_in=tmp_path), 2, torch.device("cpu")) > 0
    assert not list(tmp_path.iterdir())
