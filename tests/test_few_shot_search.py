"""The search for a few-shot backbone: validation classes score, test classes are asked once, a stop changes nothing."""

import dataclasses
import json

import pytest
import torch

from controller import Proposal
from nas import plugins, tasks
from nas.few_shot import evaluate, export, final, result, run, training
from nas.few_shot.episodes import Size
from nas.run import front, learner_defaults, session, store
from nas.run.config import RunConfig
from nas.tasks import TaskName
from search_spaces import Task

SETTINGS = {"way": "3", "steps": "3", "final_steps": "10", "episodes": "10", "queries": "3", "tasks": "1"}
ASKED = [x for key, value in SETTINGS.items() for x in ("-t", f"{key}={value}")]
SEARCH = ("search", "--task", "few_shot:digits", "--controller", "random_search", "--evals", 2, "--batch", 1, *ASKED)


def test_a_score_is_the_accuracy_on_validation_classes_after_the_steps_asked_for_and_the_report_that_on_test_classes():
    evaluator = tasks.find("few_shot:digits", **SETTINGS)
    arch = evaluator.space.parse("16:0:32:0:max_pool")  # The same as 16:32:0:0:max_pool, which is trained.
    score = evaluator.load(torch.tensor([0, 7]))(Proposal(arch.expand(2, 1, -1))).score
    assert score[0] == score[1], "a seed of the search changes no score"
    config = run.Config("digits", "prototypical", 3, 1, 3, steps=3, options={"tasks": "1"}, arch="16:32:0:0:max_pool")
    setup = run.prepare(config)
    state = training.begin(setup.learner, 0)
    for _ in range(3):
        state, _ = training.advance(setup.learner, setup.source, config.plan, state)
    right = evaluate.correct(setup.learner, state.params, setup.source, "valid", Size(10, 3, 1, 3))
    assert score[0].item() == pytest.approx(100 * right.mean().item())
    plan = dataclasses.replace(config.plan, steps=10)
    *_, last = training.train(setup.learner, setup.source, plan, training.begin(setup.learner, 0))
    tested = evaluate.correct(setup.learner, last.state.best, setup.source, "test", Size(final.EPISODES, 3, 1, 3))
    assert evaluator.report(arch[None]).item() == pytest.approx(100 * tested.mean().item(), abs=1e-3)


def test_a_search_that_was_stopped_ends_as_one_that_was_not_and_exports_what_classifies(nas, tmp_path, monkeypatch):
    assert nas(*SEARCH, "--name", "whole").returncode == 0
    advance, calls, stop_at = training.advance, [], 0

    def stop(*given):
        calls.append(given)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return advance(*given)

    # In the second evaluation, then in the final training.
    for stop_at, command in ((5, (*SEARCH, "--name", "stopped")), (3 + 4, ("resume", "stopped"))):  # noqa: B007
        with monkeypatch.context() as patched:
            patched.setattr(training, "advance", stop)
            calls.clear()
            assert nas(*command).returncode == 130
    assert nas("resume", "stopped").returncode == 0
    shown = [json.loads(nas("show", name, "--json").stdout) for name in ("whole", "stopped")]
    assert shown[0]["best"][0]["report"] == shown[1]["best"][0]["report"]
    lines = [(tmp_path / "runs" / name / "few_shot.jsonl").read_text().split("\n")[1:] for name in ("whole", "stopped")]
    rows = [[{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in each] for each in lines]
    assert rows[0] == rows[1]
    assert nas("export", "stopped", "--to", "out").returncode == 0
    learned = export.read(tmp_path / "out")
    (folder,) = (tmp_path / "runs" / "whole" / final.FOLDER).iterdir()
    params = run.read(folder)[1].best
    assert all(torch.equal(p, params[name]) for name, p in learned.params.items())
    assert result.read(folder)["test"]["accuracy"] == pytest.approx(shown[0]["best"][0]["report"], abs=1e-4)
    assert "--onnx" in nas("export", "stopped", "--to", "out2", "--onnx").stderr
    assert "--onnx-input" in nas("export", "stopped", "--to", "out2", "--onnx-input", "uint8").stderr
    assert nas("export", "stopped", "--to", "out").returncode == 2, "what is there is not replaced"
    assert "as the table says" not in nas("show", "whole").stdout
    assert "it searched a few-shot learner; `nas export" in nas("predict", "whole", __file__).stderr


def test_a_backbone_that_is_picked_is_trained_to_the_end_once(nas, tmp_path):
    assert nas(*SEARCH, "--name", "picked").returncode == 0
    handed_out = json.loads(nas("show", "picked", "--json").stdout)["best"][0]["arch"]
    with store.open_run(tmp_path / "runs" / "picked") as opened:
        points = front.points(opened)
    other = next(point for point in points if point.arch != handed_out)
    picked = nas("export", "picked", "--pick", f"params<={other.parameters}", "--to", "out")
    assert picked.returncode == 0, picked.stderr
    assert "this one is trained to the end first" in picked.stderr
    learned = export.read(tmp_path / "out")
    assert learned.config.arch == other.arch
    assert learned.config.steps == int(SETTINGS["final_steps"])
    again = nas("export", "picked", "--pick", f"params<={other.parameters}", "--to", "again")
    assert "trained to the end first" not in again.stderr, "what was picked before is kept"


@pytest.mark.parametrize("command", [("show",), ("trials",), ("resume",), ("export", "--to", "x")])
def test_a_training_of_a_learner_is_no_search_and_says_what_takes_it(command, nas):
    small = ("--way", 3, "--queries", 2, "--steps", 1, "--episodes", 2, "--arch", "16:0:0:0:max_pool")
    assert nas("few-shot", *small, "--name", "f").returncode == 0
    done = nas(command[0], "f", *command[1:])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is a training of a few-shot learner and no search; `nas few-shot --resume`" in done.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("way=1",), "Setting way is '1'; it takes a whole number of 2 or more"),
        (("learner=protoypical",), "Did you mean 'prototypical'"),
        (("learner=maml", "inner_rate=1"), "Did you mean 'inner_lr'"),
        (("way=9",), "has 8 valid classes"),
        (("space=mobile",), "no embedding can be"),
    ],
)
def test_bad_settings_are_one_line_and_leave_nothing(settings, said, nas, tmp_path):
    done = nas("search", "--task", "few_shot:digits", *[x for s in settings for x in ("-t", s)])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
    assert [*tmp_path.iterdir()] == []


def test_a_search_goes_on_with_the_settings_of_its_learner_that_were_the_default_when_it_began(tmp_path):
    options = {**SETTINGS, "learner": "neural_process"}
    config = RunConfig("few_shot:digits", "random_search", prior="none", evals=1, batch=1, training_options=options)
    session.start(tmp_path / "new", config, session.load(config)).close()
    with store.open_run(tmp_path / "new") as run:
        assert session.load(run.config).evaluator.config.options["joined"] == "false"
    # An earlier version named none of them.
    with store.open_run(tmp_path / "new", write=True) as run:
        store.set_config(run, config)
    with store.open_run(tmp_path / "new") as run:
        asked = session.load(run.config).evaluator.config.options
    assert (asked["joined"], asked["lr"]) == ("true", "0.001")
    for task, learner in (("few_shot:digits", "of_another_version"), ("digits", "neural_process")):
        other = dataclasses.replace(config, task=task, training_options={"learner": learner})
        assert learner_defaults.as_read(other) == other


def test_names_of_few_shot_tasks_lead_to_the_same_data_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a+b.npz").write_bytes(b"")
    assert tasks.absolute("few_shot:digits") == "few_shot:digits"
    assert tasks.absolute("few_shot:a+b.npz") == f"few_shot:{tmp_path / 'a+b.npz'}"
    assert tasks.absolute("few_shot:folder:x") == f"few_shot:folder:{tmp_path / 'x'}"
    name = TaskName.parse("few_shot:folder:x/y@2")
    assert (name.kind, name.dataset, str(name)) == ("few_shot", "folder:x/y@2", "few_shot:folder:x/y@2")


def test_processor_seconds_settle_the_steps_of_each_training(monkeypatch):
    evaluator = tasks.find("few_shot:digits", **SETTINGS | {"seconds": "0.5", "final_steps": "0"})
    monkeypatch.setattr(training, "seconds_of_step", lambda *given: 0.1)
    advance, steps = training.advance, []

    def count(learner, source, plan, state):
        steps.append(plan.steps)
        return advance(learner, source, plan, state)

    monkeypatch.setattr(training, "advance", count)
    arch = evaluator.space.parse("16:0:0:0:max_pool")
    evaluator.load(torch.tensor([0]))(Proposal(arch.expand(1, 1, -1)))
    assert steps == [5] * 5
    evaluator.report(arch[None])
    assert steps[5:] == [50] * 50, "the final training takes ten times as long"
    assert "after 0.5 core-seconds of prototypical" in evaluator.description
    assert "after 5 core-seconds" in evaluator.description


def test_a_final_training_goes_on_with_the_steps_it_began_with(tmp_path):
    setup = run.prepare(run.Config("digits", "prototypical", 3, 1, 3, steps=10, options={"tasks": "1"}))
    state = training.begin(setup.learner, 0)
    run.save(tmp_path, setup.config, state)
    retimed = setup._replace(config=dataclasses.replace(setup.config, steps=99))
    final.train(retimed, tmp_path)
    assert run.read(tmp_path)[1].step == 10


def test_a_final_training_goes_on_with_the_settings_it_began_with(tmp_path):
    now = run.prepare(run.Config("digits", "reptile", 3, 1, 3, steps=2, options={"tasks": "1", "test_steps": "1"}))
    # As a file of before, which names no squares and keeps none.
    before = run.prepare(dataclasses.replace(now.config, options=now.config.options | {"carry_squares": "false"}))
    begun = dataclasses.replace(now.config, options={"tasks": "1", "test_steps": "1"})
    run.save(tmp_path, begun, training.begin(before.learner, 0))
    final.train(now, tmp_path)
    config, state = run.read(tmp_path)
    assert (config.options["carry_squares"], state.step) == ("false", 2)
    assert state.params.keys() == before.learner.init(0).keys()


def test_a_backbone_of_other_halvings_has_the_weights_of_conv4_and_where_all_are_alike_its_answers():
    blocks, conv4 = plugins.load("space", "conv_blocks")(), plugins.load("space", "conv4")()
    task, images = Task("toy", (3, 12, 12), 2), torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))

    def answer(space, text):
        torch.manual_seed(0)
        return space.build(space.parse(text), task).eval()(images)

    for halving in ("max_pool", "stride"):
        same = answer(blocks, f"64:32:64:48:{halving}:{halving}:flatten")
        assert torch.equal(same, answer(conv4, f"64:32:64:48:{halving}"))
    mean = blocks.build(blocks.parse("16:32:0:0:stride:avg_pool:mean"), task)
    assert mean.body(images).shape == (2, 32, 3, 3)
    assert mean.head[-1].in_features == 32
    one, other = (blocks.parse(f"16:0:0:0:stride:{later}:mean") for later in ("max_pool", "avg_pool"))
    assert torch.equal(blocks.canonical(one), blocks.canonical(other)), "one block has no later ones"
