"""Bounds on the network that is handed out: read, counted, predicted, kept by all that is trained and by what is handed out."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from controller import Proposal
from nas import plugins, tasks
from nas.baselines import majority
from nas.evaluators._training_cache import TrainingCache
from nas.evaluators.constrained import Constrained
from nas.evaluators.train import Train
from nas.export import device, latency_model
from nas.export.device import Device
from nas.run import choice, comparison, finish, leaders, session, simpler, step_log, store, trained_network, verified
from nas.run.config import RunConfig
from nas.run.summary import summary
from nas.tasks import TaskName, fitted_size, least_network
from nas.tasks.network_bound import Measurements, NetworkConstraint, parse
from search_spaces import Task, UserError, _ops, _sampling, representatives
from search_spaces.nasbench201 import NasBench201
from search_spaces.pipeline import Pipeline, Settings

TINY = {
    "epochs": "1",
    "channels": "4",
    "examples": "64",
    "final_epochs": "1",
    "final_channels": "4",
    "final_cells": "1",
}
SPACE, TASK = NasBench201(4, 1, 1), Task("t", (1, 8, 8), 10)
LEAST = 4822
"""Parameters of the network whose cells have no convolution."""


@dataclass(frozen=True)
class Table(Device):
    """A device whose milliseconds are a sum over loads, and one network of which is slower than that."""

    slow: tuple[int, ...] = ()
    """Indices of networks that take ten times as long."""
    asked: list[int] = field(default_factory=list, compare=False)

    def milliseconds(self, space, arch, task):
        index = int(_ops.index(arch, space.choices))
        self.asked.append(index)
        loads = latency_model.features(space, arch[None], task)[0]
        found = float((loads * torch.tensor([0.5, 1e-6, 2e-6, 0.0, 1e-4, 3e-5, 0.01], dtype=torch.float64)).sum())
        return found * (10 if index in self.slow else 1)


@pytest.mark.parametrize(
    ("text", "figure", "bound"),
    [
        ("params<=20k", "params", 20_000),
        ("params<=1.5M", "params", 1_500_000),
        ("params<=4822", "params", 4822),
        ("flops<=2G", "flops", 2e9),
        ("flops<=5e5", "flops", 5e5),
        ("latency<=2ms", "latency", 2.0),
        ("latency<=350us", "latency", 0.35),
        ("latency<=1s", "latency", 1000.0),
    ],
)
def test_a_bound_has_a_unit(text, figure, bound):
    assert parse(text) == (figure, pytest.approx(bound))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("digits+params<=20q", r"'params<=20q' takes a number and a unit \(k, K, M, G; or none\), as params<=20k"),
        ("digits+latency<=2", r"takes a number and a unit \(us, µs, ms, s\), as latency<=2ms"),
        ("digits+latency<=2k", "takes a number and a unit"),
        ("digits+params<=-2k", "it takes a finite number above zero"),
        ("digits+params<=0", "it takes a finite number above zero"),
        ("digits+params<=1e400", "it takes a finite number above zero"),
        ("digits+params<=1-2", "has '1-2' for a number"),
        ("digits+params<=4821", "below the least of the space, 4,822 parameters"),
        ("digits+flops<=31135", "below the least of the space, 31,136 FLOPs"),
        ("own201/digits+params<=20k", "is on the network that is trained; task 'own201/digits' looks its scores up"),
    ],
)
def test_a_bound_that_cannot_be_is_one_line(name, says):
    options = {} if name.startswith("own201") else TINY
    with pytest.raises(UserError, match=says):
        tasks.find(name, **options)


def test_bounds_that_only_together_leave_nothing_are_refused():
    # Convolutions of 1x1 are few parameters; so few multiply-accumulates are had without any convolution alone.
    parameters, flops = (x[x > x.min()].min().item() for x in SPACE.cost(_ops.enumerate_all(SPACE.choices), TASK))
    assert tasks.find(f"digits+params<={parameters}+flops<={flops}", **TINY)


@pytest.mark.parametrize("name", plugins.names("controller"))
def test_every_controller_proposes_only_what_keeps_the_bounds(name):
    evaluator = tasks.find("digits+params<=4900+flops<=1M", **TINY)
    kept = _sampling.valid_indices(evaluator.space)
    parameters, _ = SPACE.cost(representatives(SPACE, _ops.from_index(kept, SPACE.choices)), TASK)
    assert parameters.max() == LEAST
    assert 0 < len(kept) < 15_625
    controller = plugins.load("controller", name)(evaluator.space)
    state = controller.begin(evaluator.task, torch.arange(2))
    for step in range(2):
        proposal = controller.propose(state, 6)
        assert evaluator.space.valid(proposal.archs).all()
        ratio = evaluator.ratio(proposal.archs)
        assert (ratio <= 1).all()
        scores = ratio[..., 0] * 0 + step
        state = controller.learn(state, proposal, _results(scores, ratio))


def _results(scores, ratio):
    from controller import Results

    return Results(scores, torch.ones_like(scores), ratio)


def test_few_cells_that_keep_a_bound_are_those_that_are_trained():
    """Of all 4,930 functions only those without a convolution: 4,822 parameters."""
    config = RunConfig("digits+params<=4822", "random_search", evals=8, batch=8, prior="none", training_options=TINY)
    setup = session.load(config)
    evaluate = setup.evaluator.load(setup.seeds)
    results = evaluate(setup.controller.propose(session.initial_state(setup), 8))
    trained = [key.index for key in setup.evaluator.training.cache.results]
    parameters, _ = SPACE.cost(_ops.from_index(torch.tensor(trained), SPACE.choices), TASK)
    assert set(parameters.tolist()) == {LEAST}
    assert (results.constraint_ratio == 1).all()
    assert not results.score.isnan().any()


@pytest.mark.parametrize("name", ["random_search", "evolution", "transfer_bo"])
def test_a_bound_that_all_networks_keep_changes_no_proposal(name):
    found = []
    for task in ("digits", "digits+params<=1G"):
        evaluator = tasks.find(task, **TINY)
        controller = plugins.load("controller", name)(evaluator.space)
        state = controller.begin(evaluator.task, torch.arange(2))
        for _ in range(2):
            proposal = controller.propose(state, 4)
            scores = proposal.archs.float().sum(-1)
            ratio = evaluator.ratio(proposal.archs) if "+" in task else None
            state = controller.learn(state, proposal, _results(scores, ratio))
        found.append(proposal.archs)
    assert torch.equal(*found)


@dataclass(frozen=True)
class Opaque:
    """NAS-Bench-201's cells as a space that says nothing of its networks."""

    whole: NasBench201 = field(default_factory=lambda: SPACE)
    name = "opaque"
    choices, decisions, operations = SPACE.choices, SPACE.decisions, SPACE.operations

    def valid(self, archs):
        return self.whole.valid(archs)

    def canonical(self, archs):
        return self.whole.equivalents(archs, deep=True)

    def build(self, arch, task):
        return self.whole.build(arch, task)

    def describe(self, arch):
        return self.whole.describe(arch)

    def parse(self, text):
        return self.whole.parse(text)


def test_where_sizes_are_not_known_at_once_a_proposal_that_breaks_a_bound_is_not_trained(monkeypatch):
    monkeypatch.setattr(
        plugins, "load", lambda kind, name, load=plugins.load: Opaque if name == "opaque" else load(kind, name)
    )
    monkeypatch.setattr(least_network, "BUILT", 6)
    plain = {key: value for key, value in TINY.items() if "channels" not in key and "cells" not in key}
    evaluator = tasks.find("digits+params<=6k", **plain, space="opaque")
    assert evaluator.space.valid(_ops.enumerate_all(SPACE.choices)).all()
    archs = torch.tensor([[3, 3, 3, 3, 3, 3], [0, 0, 0, 1, 0, 0], [0, 0, 0, 2, 0, 0]])
    results = evaluator.load(torch.tensor([0]))(Proposal(archs[None]))
    parameters, _ = SPACE.cost(archs, TASK)
    torch.testing.assert_close(results.constraint_ratio[0, :, 0], parameters / 6000)
    assert results.score[0].isnan().tolist() == [True, False, False] == (parameters > 6000).tolist()
    assert len(evaluator.training.cache.results) == 2
    both = evaluator.load(torch.tensor([0]))(Proposal(archs[None, :1]))
    assert both.score.isnan().all()
    assert both.cost.sum() == 0


def test_a_model_of_ten_measurements_is_exact_where_latency_is_a_sum_over_loads():
    archs = _ops.enumerate_all(SPACE.choices)
    chosen = representatives(SPACE, latency_model.design(SPACE, archs, TASK))
    assert len(chosen) == 10
    table = Table()
    model = latency_model.fit(SPACE, TASK, [(SPACE.describe(a), table.milliseconds(SPACE, a, TASK)) for a in chosen])
    expected = torch.tensor([table.milliseconds(SPACE, a, TASK) for a in representatives(SPACE, archs[::501])])
    torch.testing.assert_close(model.predict(SPACE, archs[::501], TASK), expected.double(), rtol=1e-6, atol=0)
    assert model.error < 1e-6
    assert all(weight >= 0 for weight in model.weights)


def test_the_error_of_a_model_is_that_of_each_measurement_predicted_from_the_others():
    archs = representatives(SPACE, latency_model.design(SPACE, _ops.enumerate_all(SPACE.choices), TASK))
    values = np.linspace(1, 2, len(archs))
    texts = [SPACE.describe(arch) for arch in archs]
    model = latency_model.fit(SPACE, TASK, list(zip(texts, values)))
    loads = latency_model.features(SPACE, archs, TASK)
    errors = []
    for n, text in enumerate(texts):
        others = [(t, v) for t, v in zip(texts, values) if t != text]
        weights = torch.tensor(latency_model.fit(SPACE, TASK, others).weights, dtype=torch.float64)
        errors.append(abs(float(loads[n] @ weights) / values[n] - 1))
    assert model.error == pytest.approx(np.median(errors))
    upper = np.quantile(errors, 0.75)
    assert model.upper_error == pytest.approx(upper)
    assert model.upper_error > 1.2 * model.error
    label = NetworkConstraint("latency<=2ms", "latency", 2.0, SPACE, TASK, model).label
    assert label.endswith(f"off by {np.median(errors):.0%} in the median, a quarter by more than {upper:.0%})")
    torch.testing.assert_close(model.predict(SPACE, archs, TASK), torch.tensor(values))  # What was measured is known.


def test_networks_to_measure_are_far_apart_and_begin_with_the_cheapest():
    archs = _ops.enumerate_all(SPACE.choices)
    chosen = latency_model.design(SPACE, archs, TASK, 4)
    _, flops = SPACE.cost(representatives(SPACE, chosen), TASK)
    everything = SPACE.cost(representatives(SPACE, archs), TASK)[1]
    assert flops[0] == everything.min()
    assert flops[1] == everything.max()
    assert len(latency_model.design(SPACE, archs[:1].expand(5, -1), TASK)) == 1


def limited(bound, table, **more):
    """A search of cells whose latencies are those of `table`."""
    name = f"digits+latency<={bound}ms"
    config = RunConfig(name, "random_search", prior="none", training_options=TINY, **more)
    evaluator = tasks.find(name, Measurements(table), **TINY)
    controller = plugins.load("controller", "random_search")(evaluator.space)
    return config, session.Setup(evaluator, controller, torch.arange(1), None)


def test_ten_networks_are_measured_before_a_search_and_none_that_is_predicted_too_slow_is_trained():
    table = Table()
    _, setup = limited(0.9, table)
    assert len(table.asked) == 10
    kept = _ops.from_index(_sampling.valid_indices(setup.evaluator.space), SPACE.choices)
    truth = torch.tensor([table.milliseconds(SPACE, a, TASK) for a in representatives(SPACE, kept[::97])])
    assert (truth <= 0.9 + 1e-9).all()
    assert verified.latencies_of(setup.evaluator).keys() == {SPACE.describe(a) for a in _archs(table.asked[:10])}
    with pytest.raises(UserError, match=r"Constraint 'latency<=0.01ms' is below the least of the space"):
        limited(0.01, table)


def _archs(indices):
    return _ops.from_index(torch.tensor(indices), SPACE.choices)


def test_what_was_measured_before_is_not_measured_again_and_gives_the_same_search():
    table = Table()
    _, first = limited(0.9, table)
    known = verified.latencies_of(first.evaluator)
    again = tasks.find("digits+latency<=0.9ms", Measurements(table, known), **TINY)
    assert len(table.asked) == 10
    assert again.constraints[0].model == first.evaluator.constraints[0].model
    assert again.space == first.evaluator.space


def test_what_is_handed_out_was_measured_and_the_next_best_stands_in_for_one_that_breaks_its_bound(
    tmp_path, monkeypatch
):
    seen = {}

    def of_rank(slow):
        """The run whose best networks, so many by rank, are slower than predicted."""
        table = Table(slow=slow)
        config, setup = limited(0.9, Table(), evals=12, batch=12)
        bound = dataclasses.replace(setup.evaluator.constraints[0], device=table)
        setup = setup._replace(evaluator=dataclasses.replace(setup.evaluator, constraints=(bound,)))
        run = session.start(tmp_path / f"run{len(slow)}", config, setup)
        for _ in session.resume(run, setup):
            pass
        leaders.choose(run, setup.evaluator)
        past = step_log.history(run)
        seen["order"] = [
            int(_ops.index(past.archs[0, at], SPACE.choices))
            for at in leaders._order(config, setup.evaluator, setup.evaluator.training, past, 0)
        ]
        return choice.choices(run, past)[0].leaders[0], table, run

    # Scores that no training decides: no ties.
    monkeypatch.setattr(TrainingCache, "train", _scored)
    best, table, run = of_rank(())
    assert [representative(best)] == table.asked
    order = seen["order"]
    second, table, run = of_rank(tuple(map(representative_of, order[:2])))
    assert table.asked == [representative_of(index) for index in order[:3]]
    assert representative(second) == representative_of(order[2])
    row = summary(run)["best"][0]
    assert row["measured_ratio"]["latency<=0.9ms"] <= 1
    _, table, run = of_rank(tuple(map(representative_of, order)))
    assert len(table.asked) == len(order)
    assert summary(run)["best"][0]["measured_ratio"]["latency<=0.9ms"] > 1


def representative_of(index):
    return int(_ops.index(representatives(SPACE, _archs([index])), SPACE.choices))


def representative(leader):
    return representative_of(int(_ops.index(SPACE.parse(leader.arch), SPACE.choices)))


def _scored(self, keys):
    from nas.evaluators._training_cache import TrainingResult

    for key in keys:
        self.results[key] = TrainingResult(key.index / 200, 0.0)
        self.losses[key.index] = [0.0]


def test_a_run_with_bounds_goes_on_without_measuring_and_shows_them(nas, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Device, "milliseconds", lambda self, *network: asked.append(self.command) or 0.5)
    monkeypatch.setattr("nas.run.trained_network.write_export", lambda *network, **more: None)
    options = [word for key, value in TINY.items() for word in ("-t", f"{key}={value}")]
    made = nas(
        "search", "--task", "digits", "--constraint", "params<=20k", "--constraint", "latency<=1ms",
        "--latency-command", "board 7", "--evals", 4, "--batch", 4, "--leaders", 0,
        "--prior", "none", "--name", "r", "--no-comparison", *options,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert "constraint latency<=1ms: the best is at 50.0% of the bound as measured, 50.0% as predicted" in made.stdout
    assert "latency in ms (predicted from 10 measurements; each as predicted from the others is off by " in made.stdout
    assert asked == ["board 7"] * 11  # Ten before the search, and what is handed out.
    with store.open_run(tmp_path / "runs" / "r") as run:
        assert len(run.config.latencies) == 10
        assert run.config.task == "digits+params<=20k+latency<=1ms"
    assert nas("resume", "r", "--evals", 8).returncode == 0
    assert len(asked) <= 12  # A better network, if one was found.


def test_a_command_of_somebody_else_is_not_run_unasked(nas, tmp_path, monkeypatch):
    config = RunConfig("digits+latency<=1ms", "random_search", evals=4, prior="none", training_options=TINY)
    config = dataclasses.replace(
        config, latency_command="touch pwned", latencies={SPACE.describe(a): 0.5 for a in _archs([0, 1])}
    )
    setup = session.load(config)
    monkeypatch.setattr("nas.run.trust.remember", lambda named: None)
    session.start(tmp_path / "r", config, setup)
    done = nas("resume", "r")
    assert done.returncode == 2
    assert "names the latency command 'touch pwned', which you have not run before; --trust runs it" in done.stderr
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("false", "ended with status 1"),
        ("no-such-program-here", "cannot be run"),
        ("'", "cannot be run"),
        ("echo fast", "its last word takes milliseconds above zero"),
        (f"{sys.executable} -c print(-1)", "printed '-1'"),
        (f"{sys.executable} -c pass", "printed 'nothing'"),
        ("printf \\\\377", "its last word takes milliseconds above zero"),
    ],
)
def test_a_command_that_measures_nothing_is_one_line(command, says):
    pytest.importorskip("onnxruntime")
    with pytest.raises(UserError, match=says):
        Device(command).milliseconds(SPACE, SPACE.reference_arch, TASK)


def test_what_is_measured_is_the_network_that_is_exported(monkeypatch):
    pytest.importorskip("onnxruntime")
    arch = SPACE.parse("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|")
    module = device.exported_module(SPACE, arch, TASK)
    assert sum(p.numel() for p in module.parameters()) == SPACE.cost(arch, TASK)[0]
    assert module(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    assert {"mean", "std"} <= dict(module.named_buffers()).keys()


@pytest.mark.parametrize("settings", [{}, {"mirror": True}, {"mirror": True, "twice": True}])
def test_flops_of_a_bound_are_those_of_the_network_that_is_exported(settings):
    space, task = Pipeline(), Task("t", (3, 16, 16), 10)
    arch = space.arch_of(space.cell_of(space.reference_arch), Settings(width=8, stem=2, **settings))
    flops = 0

    def count(layer, _inputs, output):
        nonlocal flops
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
            flops += layer.weight.numel() * (output[0, 0].numel() if output.dim() == 4 else 1)

    module = device.exported_module(space, arch, task)
    for layer in module.modules():
        layer.register_forward_hook(count)
    module(torch.zeros(1, 3, 16, 16))
    assert NetworkConstraint("flops<=2M", "flops", 2e6, space, task).measure(arch) == flops


def test_a_run_whose_networks_break_the_bound_as_it_is_counted_now_is_refused_with_the_reason(tmp_path):
    run, archs = SimpleNamespace(folder=tmp_path), torch.zeros(1, 1, 6).long()
    none = SimpleNamespace(name="part", valid=lambda archs: torch.zeros(archs.shape[:-1], dtype=torch.bool))
    for whole, says in ((NasBench201(), "breaks its constraint, as that is counted now"), (none, "is not in space")):
        evaluator = Constrained(SimpleNamespace(space=whole), Task("t", (1, 8, 8), 10), (), none)
        with pytest.raises(UserError, match=says):
            session._refuse_strangers(run, evaluator, archs)


def test_a_command_for_a_device_without_a_bound_on_latency_is_refused(nas):
    done = nas("search", "--task", "digits", "--latency-command", "x", "--evals", 4)
    assert done.returncode == 2
    assert "nothing asks for a latency" in done.stderr


def test_the_final_network_is_counted_and_not_the_smaller_one_of_the_search():
    evaluator = tasks.find("digits+params<=80k", **(TINY | {"final_channels": "16"}))
    final = Train.of("digits", **(TINY | {"final_channels": "16"})).final_space
    kept = _ops.from_index(_sampling.valid_indices(evaluator.space), SPACE.choices)
    assert final.cost(representatives(SPACE, kept), TASK)[0].max() <= 80_000
    assert SPACE.cost(representatives(SPACE, kept), TASK)[0].max() < 20_000


@pytest.mark.parametrize(
    ("bound", "size"), [("10M", (16, 2)), ("20k", (4, 1)), ("50k", (8, 1)), ("200k", (16, 1)), ("5k", (4, 1))]
)
def test_final_networks_are_as_large_as_the_bound_allows_the_resnet_cell(bound, size):
    plain = {key: value for key, value in TINY.items() if not key.startswith("final_")}
    found = tasks.find(f"digits+params<={bound}", **plain)
    assert found.training.final_space.skeleton[:2] == size
    limit = parse(f"params<={bound}")[1]
    resnet = [NasBench201(*s, 1).cost(SPACE.reference_arch, TASK)[0] <= limit for s in fitted_size._SIZES]
    assert fitted_size._SIZES.index(size) == (resnet.index(True) if any(resnet) else len(resnet) - 1)
    # A run keeps the size: it goes on with it.
    assert fitted_size.options_of(found, TaskName.parse(found.task.name)) == dict(
        zip(fitted_size.OPTIONS, map(str, size))
    )


@pytest.mark.parametrize(("bound", "plain"), [("6k", False), ("1G", True)])
def test_the_plain_network_is_no_floor_where_it_breaks_the_bound(bound, plain, tmp_path, monkeypatch):
    # On validation images the plain network is better, whatever was found.
    best = {comparison.FOUND: 0.0, comparison.REFERENCE: 1.0}
    monkeypatch.setattr(comparison, "handed_out", lambda rows: max(rows, key=lambda row: best.get(row.kind, -1.0)))
    monkeypatch.setattr(
        "nas.run.simpler.baselines.fit_best", lambda images, *rest: majority(images, tuple("0123456789"))
    )
    config = RunConfig(
        f"digits+params<={bound}", "random_search", evals=4, batch=4, prior="none", training_options=TINY
    )
    config = dataclasses.replace(config, comparison=True)
    setup = session.load(config)
    run = session.start(tmp_path / "r", config, setup)
    for _ in session.resume(run, setup):
        pass
    finish.write_report(run, setup)
    simpler.make(run, setup)
    reference = SPACE.describe(SPACE.equivalents(SPACE.reference_arch, deep=True))
    handed = trained_network.load(run.folder).arch
    assert (handed == reference) == plain
    assert SPACE.cost(SPACE.parse(handed), TASK)[0] <= setup.evaluator.constraints[0].bound


def test_where_nothing_was_trained_at_full_length_the_longest_trainings_that_keep_the_bounds_are_handed_out(tmp_path):
    """Of pipelines the levels of compute choose, and a short search has none at the highest."""
    options = {"space": "pipeline", "unit": "0.001", "final": "0.001"}
    name = "digits+latency<=0.5ms"
    table = _PipelineTable()
    config = RunConfig(name, "multi_fidelity_bo", prior="none", training_options=options, evals=6, batch=2)
    evaluator = tasks.find(name, Measurements(table), **options)
    seen = evaluator.space
    assert not seen.all_valid
    assert len(seen.first_archs) >= int(seen.valid(seen.whole.first_archs).sum()) > 0
    assert bool(seen.valid(seen.first_archs).all())
    setup = session.Setup(evaluator, plugins.load("controller", "multi_fidelity_bo")(seen), torch.arange(1), None)
    run = session.start(tmp_path / "r", config, setup)
    for _ in session.resume(run, setup):
        pass
    past = step_log.history(run)
    assert past.epochs.max() < evaluator.task.fidelities[-1]
    assert seen.valid(past.archs).all()
    order = [
        int(at)
        for level in (3, 1)
        for at in past.score[0].argsort(descending=True, stable=True)
        if past.epochs[0, at] == level
    ]
    kept = [at for at in order if verified.keeps(run, evaluator, past.archs[0, at])]
    leaders.choose(run, evaluator)
    assert choice.choices(run, past)[0].leaders[0].at == kept[0] + 1


@dataclass(frozen=True)
class _PipelineTable(Device):
    """Half the milliseconds of `Table`, and of narrow networks a third more than loads say."""

    def milliseconds(self, space, arch, task):
        loads = latency_model.features(space, arch[None], task)[0]
        slower = 1.35 if space.settings_of(arch).width <= 16 else 1.0
        return slower * float((loads * torch.tensor([0.2, 1e-7, 2e-7, 0.0, 1e-5, 3e-6, 0.01]).double()).sum())
