"""Defects that reviews of the code found, each shown by what it did."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from controller import Proposal, Results
from controller.candidates import pending, queue
from controller.candidates.fixed_order import FixedOrder
from controller.darts import Darts
from controller.local_search import LocalSearch
from controller.successive_halving import SuccessiveHalving
from nas import loop, tasks
from nas.commands import predict, resume
from nas.evaluators.constrained import Constrained, ConstrainedWithMemory
from nas.evaluators.pipeline import LEVELS, PipelineTraining
from nas.evaluators.zero_cost import ZeroCost
from nas.export.export import with_public_name
from nas.few_shot import classes
from nas.few_shot.episodes import Size, Source
from nas.few_shot.learners import mann
from nas.run import hparams, model_card, session, step_log, store
from nas.run.config import RunConfig
from nas.run.evaluators import find
from nas.training import augment, metrics, network_batch, zero_cost
from nas.training.population import SeparateNetworks
from nas.training.recipe import Images
from search_spaces import Choices, Task, UserError, _ops, _sampling

TASK = Task("t", (3, 8, 8), 4)
FUNCTION = "def f(network):\n    return float(sum(p.numel() for p in network.parameters()))\n"


def of_function(tmp_path, task, **more):
    (tmp_path / "mine.py").write_text(FUNCTION)
    return find(
        RunConfig(task=task, controller="random_search", training_options={"objective": f"{tmp_path}/mine.py:f"} | more)
    )


@pytest.mark.parametrize(("task", "bound"), [("my task+params<=200k", 200_000), ("my task+flops<=20M", 20e6)])
def test_a_constraint_holds_for_a_function_of_ones_own(task, bound, tmp_path):
    evaluator = of_function(tmp_path, task)
    assert isinstance(evaluator, Constrained)
    archs = _sampling.sample(evaluator.space, torch.arange(2), 0, 20)
    cost = evaluator.inner.space.cost(archs, evaluator.task)["flops" in task]
    assert bool((cost <= bound).all()), "the space is the part that keeps the bound"
    with pytest.raises(UserError, match="below the least of the space"):
        of_function(tmp_path, "my task+params<=20k")


def test_a_constraint_of_a_table_takes_points_off_a_function_too(table, tmp_path):
    table("nasbench201-hardware")
    task = "my task+nasbench201-hardware/1080ti_1/latency<=q30"
    evaluator, plain = of_function(tmp_path, task), of_function(tmp_path, "my task")
    proposal = Proposal(_sampling.sample(plain.space, torch.arange(1), 0, 6))
    found, score = evaluator.load(torch.arange(1))(proposal), plain.load(torch.arange(1))(proposal).score
    over = (found.constraint_ratio[..., 0] - 1).clamp_min(0)
    assert (over > 0).any()
    torch.testing.assert_close(found.score, score - 20 * over)


def test_workers_serve_within_a_constraint(table, tmp_path, nas):
    table("nasbench201-hardware")
    (tmp_path / "mine.py").write_text(FUNCTION)
    bound = "nasbench201-hardware/1080ti_1/latency<=q30"
    words = ["--controller", "random_search", "--prior", "none", "--evals", 4, "--workers", 2, "--constraint", bound]
    done = nas("search", "--objective", "mine.py:f", *words)
    assert done.returncode == 0, done.stderr
    assert f"constraint {bound}: the best is at" in done.stdout
    evaluator = of_function(tmp_path, "my task+params<=200k", workers="2")
    assert evaluator.concurrency == 2
    breaks = next(
        a for a in _sampling.sample(evaluator.inner.space, torch.arange(1), 0, 99)[0] if evaluator.ratio(a) > 1
    )
    evaluator.submit(7, breaks, None, 0)
    ticket, score, seconds = evaluator.wait()
    assert (ticket, score != score, seconds) == (7, True, 0.0), "what breaks a bound is not evaluated"
    evaluator.abandon()


def test_a_constraint_takes_its_expected_penalty_off_a_mixture(table):
    table("nasbench201"), table("nasbench201-hardware")
    plain = tasks.find("nasbench201/cifar10")
    bounded = tasks.find("nasbench201/cifar10+nasbench201-hardware/1080ti_1/latency<=q30")
    seeds, alphas = torch.arange(1), []
    for evaluator in (plain, bounded):
        controller = Darts(evaluator.space)
        search = loop.search(controller, evaluator.load(seeds), controller.begin(evaluator.task, seeds))
        steps = [next(search) for _ in range(3)]
        alphas.append(steps[-1].state.params["alpha"])
    assert not torch.equal(*alphas)
    proposal, evaluate = steps[-1].proposal, bounded.load(seeds)
    found = evaluate(proposal)
    nudged = proposal.weights.clone()
    nudged[..., 2, 3] += 1e-3
    slope = (evaluate(proposal._replace(weights=nudged)).score - found.score) / 1e-3
    torch.testing.assert_close(slope, found.slope[..., 2, 3], rtol=0.02, atol=0.02)
    one = torch.nn.functional.one_hot(proposal.archs, 5).float()
    sharp, sampled = evaluate(proposal._replace(weights=one)), evaluate(Proposal(proposal.archs))
    torch.testing.assert_close(sharp.score, sampled.score, rtol=0, atol=0.3)
    torch.testing.assert_close(sharp.constraint_ratio, sampled.constraint_ratio)


@dataclass(frozen=True)
class Counting:
    """A memory that counts the architectures it was asked for."""

    space: object
    task: Task = TASK
    training = None

    def begin(self, seeds):
        return torch.zeros_like(seeds)

    def load_with_memory(self, seeds):
        def evaluate(proposal, memory):
            memory = memory + proposal.archs.shape[1]
            shape = proposal.archs.shape[:2]
            return Results(
                memory[:, None].expand(shape).float(), torch.ones(shape), provisional=torch.ones(shape).bool()
            ), memory

        return evaluate


def test_a_memory_is_kept_within_a_constraint(table):
    table("nasbench201-hardware")
    space = tasks.find("own201/digits").space
    name = tasks.TaskName.parse("t+nasbench201-hardware/1080ti_1/latency<=q30")
    evaluator = tasks.bounded(Counting(space), name, None)
    assert isinstance(evaluator, ConstrainedWithMemory)
    evaluate, memory = loop.load(evaluator, torch.arange(2))
    proposal = Proposal(_sampling.sample(space, torch.arange(2), 0, 3))
    for asked in (3, 6):
        found, memory = evaluate(proposal, memory)
        assert memory.tolist() == [asked, asked]
    assert found.provisional.all(), "what the other says of its results is handed on"


def test_held_out_trainings_of_every_seed_are_judged_by_images_that_they_did_not_see():
    evaluator = PipelineTraining.of("digits", unit="0.01", device="cpu")
    name = evaluator.space.describe(_sampling.sample(evaluator.space, torch.tensor([0]), 0, 1)[0, 0])
    seen = []
    for seed in (0, 1):
        job = evaluator._finals.job(SimpleNamespace(arch=name, seed=seed, share=1.0, held_out=True))
        images = {tuple(x.flatten().tolist()) for x in job.images.x}
        assert not any(tuple(x.flatten().tolist()) in images for x in job.scored.x)
        seen.append(job.recipe.seed)
    assert seen[0] != seen[1]


def test_the_noise_of_a_pipelines_score_is_that_of_the_images_it_is_measured_on():
    evaluator = PipelineTraining.of("digits", unit="0.01", device="cpu")
    assert evaluator.validation_images == len(evaluator.trainings.validating(LEVELS[-1]))
    many = torch.arange(4000) % 10
    wide = evaluator.data._replace(x_valid=evaluator.data.x_train[:1].expand(4000, -1, -1, -1), y_valid=many)
    assert dataclasses.replace(evaluator, data=wide).validation_images == 768


def test_buffers_of_a_network_of_ones_own_stay_as_they_are():
    class Filtered(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("sobel", torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0]]))
            self.head = nn.Linear(3, 2)

    population = SeparateNetworks.__new__(SeparateNetworks)
    nn.Module.__init__(population)
    population.networks = nn.ModuleList([Filtered()])
    before = population.networks[0].head.weight.clone()
    network_batch.initialise(population, torch.tensor([3]))
    assert population.networks[0].sobel.tolist() == [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0]]
    assert not torch.equal(population.networks[0].head.weight, before)


def test_mirrors_are_judged_by_images_of_all_classes():
    left = torch.zeros(4000, 1, 4, 4, dtype=torch.uint8)
    left[:2000, ..., 0], left[2000:, ..., 3] = 255, 255
    labels = torch.arange(4000) // 2000
    assert not augment.flip_is_label_preserving(Images(left, labels, torch.zeros(1), torch.ones(1)), 2)


def test_proxies_look_at_images_of_several_classes(monkeypatch):
    evaluator = ZeroCost.of("digits", proxy="grad_norm", batch="32")
    order = evaluator.data.y_train.argsort(stable=True)
    data = evaluator.data._replace(x_train=evaluator.data.x_train[order], y_train=evaluator.data.y_train[order])
    object.__setattr__(evaluator, "data", data)
    seen = []
    monkeypatch.setitem(zero_cost.PROXIES, "grad_norm", lambda network, images, labels: seen.append(labels) or 1.0)
    list(evaluator.proxies([_sampling.sample(evaluator.space, torch.tensor([0]), 0, 1)[0, 0]], ("grad_norm",)))
    assert len(seen[0]) == 32
    assert len(seen[0].unique()) > 5


def test_macro_f1_counts_classes_that_are_answered_and_do_not_occur():
    confusion = [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert metrics.macro_f1(confusion) == pytest.approx(100 * (1 + 2 / 3 + 0) / 3)


def test_a_layer_that_is_used_twice_is_not_two_that_look_alike():
    class Tied(Choices):
        options = {"a": {"shared": 1, "own": 2}}
        merge_equivalents = True

        def network(self, picked, task):
            first, second = nn.Linear(4, 4), nn.Linear(4, 4)
            return nn.Sequential(
                nn.Flatten(), nn.Linear(64, 4), first, first if picked["a"] == 1 else second, nn.Linear(4, 10)
            )

    assert Tied().canonical(torch.tensor([[0], [1]])).tolist() == [[0], [1]]


def test_mann_reads_a_query_from_what_the_support_left():
    controller = mann.Controller(6, 2, 5, 3, 4, writes_queries=False)
    memory = mann.Memory(torch.randn(1, 3, 4), torch.rand(1, 3), torch.rand(1, 3), torch.randn(1, 5), torch.randn(1, 5))
    x = torch.randn(1, 6)
    hidden, _ = controller.lstm(x, (memory.hidden, memory.cell))
    key = controller.key(hidden).tanh()
    weights = (10.0 * torch.cosine_similarity(memory.rows, key[:, None], dim=-1)).softmax(-1)
    by_hand = controller.answer(torch.cat([hidden, (weights[..., None] * memory.rows).sum(1)], -1))
    torch.testing.assert_close(controller.read(memory, x), by_hand)
    support, labels, query = torch.randn(1, 4, 4), torch.eye(2)[[0, 1, 0, 1]][None], torch.randn(1, 2, 4)
    other = mann.Controller(6, 2, 5, 3, 4, writes_queries=True)
    other.load_state_dict(controller.state_dict())
    assert not torch.allclose(controller(support, labels, query), other(support, labels, query))
    assert mann.Mann.former == {"writes_queries": "true"}, "runs of before answer as they did"


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("folder:/data/me/photos", "folder:photos"),
        ("folder:/data/me/photos+params<=20k", "folder:photos+params<=20k"),
        (
            "folder:/data/me/photos+nasbench201-hardware/fpga/latency<=q30",
            "folder:photos+nasbench201-hardware/fpga/latency<=q30",
        ),
        ("npz:a+b/c.npz", "npz:c.npz"),
        ("own201/digits", "own201/digits"),
    ],
)
def test_no_name_that_is_published_says_where_images_lie(name, public):
    assert with_public_name(Task(name, (3, 8, 8), 4)).name == public


def test_a_card_says_of_a_constrained_run_no_more_of_where_images_lie(monkeypatch, tmp_path):
    run = SimpleNamespace(
        config=SimpleNamespace(task="folder:/data/me/photos+params<=20k", controller="evolution"), folder=tmp_path
    )
    monkeypatch.setattr(model_card.step_log, "history", lambda _: SimpleNamespace(score=torch.zeros(1, 3)))
    monkeypatch.setattr(model_card.store, "get_meta", lambda *_: ["the classes are read from '/data/me/photos'"])
    monkeypatch.setattr(model_card.test_accuracy, "sentences", lambda _: [])
    card = model_card.of(run, SimpleNamespace(metrics={"test_accuracy": 90.0}, arch="x"))
    assert card.data == ("the classes are read from 'photos'",)


def test_minutes_that_a_run_gets_later_have_room_for_its_end(tmp_path):
    config = RunConfig(
        task="digits", controller="random_search", evals=1, batch=1,
        training_options={"epochs": "1", "examples": "100", "final_epochs": "1"},
    )  # fmt: skip
    setup = session.load(config)
    with session.start(tmp_path / "run", config, setup) as run:
        list(session.resume(run, setup))
        assert run.config.ending_seconds == 0
        longer, _ = session.extend(run, setup, minutes=5)
        assert longer.config.ending_seconds > 0
        assert step_log.history(longer).score.shape == (1, 1)


def test_an_episode_does_not_depend_on_those_beside_it():
    counts = [6, 9, 7, 30, 8, 6, 12, 6]
    labels = torch.cat([torch.full((n,), k) for k, n in enumerate(counts)])
    images = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    split = torch.zeros(len(counts), dtype=torch.long)
    data = classes.by_class("t", images, labels, tuple("abcdefgh"), split)
    source = Source(data, torch.zeros(1), torch.ones(1))
    few, many = (source.indices("train", Size(tasks, 3, 2, 2), 5, 1) for tasks in (1, 40))
    assert torch.equal(few[1], many[1][:1])


def in_any_order(controller, evaluator, count, side_by_side=4):
    """Searches whose evaluations end in another order than they began: the state and the index of each, step by step."""
    seeds, evaluate, running = torch.arange(1), evaluator.load(torch.arange(1)), []
    state, chance = controller.begin(evaluator.task, seeds), torch.Generator().manual_seed(3)
    for _ in range(count):
        while len(running) < side_by_side:
            running.append(pending.ask(controller, state, running, 1, 50.0, 1.0, 0))
        group = running.pop(int(torch.randint(0, side_by_side, (1,), generator=chance)))
        state = controller.learn(state, group.proposal(), evaluate(group.proposal()))
        yield state, int(_ops.index(group.archs[0], evaluator.space.choices))


def test_a_center_has_its_own_score_in_whatever_order_answers_come():
    evaluator = tasks.find("own201/digits")
    evaluate, known = evaluator.load(torch.arange(1)), 0
    for state, _ in in_any_order(LocalSearch(evaluator.space), evaluator, 60):
        if int(state.next):
            known += 1
            assert state.centre_score == evaluate(Proposal(state.centre[:, None])).score[:, 0]
    assert known > 30


def test_no_place_of_an_order_is_skipped_in_whatever_order_answers_come():
    evaluator = tasks.find("own201/digits")
    controller = FixedOrder(evaluator.space)
    order = controller.begin(evaluator.task, torch.arange(1)).order[0].tolist()
    seen = [index for _, index in in_any_order(controller, evaluator, 48)]
    assert len(set(seen)) == 48
    assert set(seen) <= set(order[: 48 + 3]), "at most what still runs is missing"
    state = controller.begin(evaluator.task, torch.arange(1))
    told = _ops.from_index(torch.tensor([[order[40]]]), evaluator.space.choices)
    after = controller.learn(state, Proposal(told), Results(torch.ones(1, 1), torch.ones(1, 1)))
    assert after.order[0].tolist() == [order[40], *order[:40], *order[41:]]


def test_a_queue_loses_what_was_evaluated_and_not_its_head():
    archs = torch.arange(8).view(1, 4, 2)
    assert torch.equal(queue.without(archs, archs[:, 2:3]), archs[:, [0, 1, 3]])


def test_a_rung_counts_evaluations_of_its_own_epochs_alone():
    evaluator = tasks.find("own201/digits")
    controller = SuccessiveHalving(evaluator.space)
    state = controller.begin(evaluator.task, torch.arange(1))
    proposal = controller.propose(state, 1)
    found = Results(torch.full((1, 1), 99.0), torch.ones(1, 1))
    other = controller.learn(state, proposal._replace(epochs=proposal.epochs + 1), found)
    assert int(other.done) == 0
    assert not bool((other.best_score == 99).any())
    own = controller.learn(state, proposal, found)
    assert int(own.done) == 1
    assert bool((own.best_score == 99).any())


def test_the_parameters_of_a_run_are_those_of_the_network_that_is_handed_out(monkeypatch, tmp_path):
    handed_out = SimpleNamespace(state_dict={"w": torch.zeros(7), "running_mean": torch.zeros(9)})
    monkeypatch.setattr(hparams.trained_network, "load", lambda folder: handed_out)
    setup = SimpleNamespace(evaluator=None)
    assert hparams._parameters(SimpleNamespace(folder=tmp_path), setup, torch.zeros(6)) == 7


def test_a_place_that_resume_is_told_keeps_the_constraints(monkeypatch, tmp_path):
    config = RunConfig(task=f"folder:{tmp_path}/a+params<=20k")
    monkeypatch.setattr(resume.provenance, "located", lambda run: config)
    run = SimpleNamespace(config=config, folder=tmp_path)
    for given in (f"folder:{tmp_path}/b", f"folder:{tmp_path}/b+params<=20k"):
        assert resume._located(run, given, None).task == f"folder:{tmp_path}/b+params<=20k"


def test_images_that_a_constrained_run_was_trained_on_are_said_to_be_such(monkeypatch, tmp_path, capsys):
    (tmp_path / store.FILE).write_bytes(b"")
    run = SimpleNamespace(config=SimpleNamespace(task=f"folder:{tmp_path}/photos+params<=20k"))
    monkeypatch.setattr(predict.store, "open_run", lambda folder: contextlib.nullcontext(run))
    answer = SimpleNamespace(image=f"{tmp_path}/photos/cat/1.png", label="cat", failure="")
    predict._say_trained_on(tmp_path, [answer])
    assert "1 image of these lie in the folder that was searched on" in capsys.readouterr().out
