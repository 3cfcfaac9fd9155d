"""`nas meta-train`: what is trained is kept, whenever it is stopped; a step is a function of state, seed and step."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from controller import TaskRequest, TaskSet
from controller.meta import _descent
from controller.meta.transfer_gp import TransferGp
from nas import cli, plugins, tables
from nas.meta import outer_loop, splits, task_distribution, task_sampler
from nas.run import state_tree
from nas.run.lock import lock
from search_spaces import UserError

OPTIONS = {
    "transfer_gp": {"pca_steps": 3},
    "rl2": {"predict_steps": 2, "policy_steps": 2},
    "portfolio": {},
    "maml": {"steps": 2},
    "reptile": {"steps": 2},
    "meta_sgd": {"steps": 2},
    "learned_optimizer": {"steps": 2},
    "rl2_recurrent": {"steps": 2, "evals": 8},
    "meta_surrogate": {"steps": 2},
    "neural_process": {"steps": 2},
    "task_metric": {"steps": 2},
}


@pytest.fixture
def three_tasks(nasbench201, monkeypatch) -> TaskSet:
    patterns = ("*+*", "nasbench201-robustness/*", "natsbench-size/*", "transnas-micro/*", "own201-many/*")
    tasks = task_distribution.training_tasks(patterns)[:3]
    monkeypatch.setattr(task_distribution, "training_tasks", lambda held_out: tasks)
    monkeypatch.setattr(task_distribution, "auxiliary_columns", lambda held_out: [])
    return task_distribution.task_set("everything")


@pytest.fixture
def train(three_tasks, tmp_path, monkeypatch, capsys):
    """Runs the command on three tasks; its exit status and what it said."""

    def run(learner: str, out: str, *more: str) -> tuple[int, str]:
        torch.set_num_threads(2)
        options = (x for name, value in OPTIONS[learner].items() for x in ("--learner-option", f"{name}={value}"))
        words = ["meta-train", "--learner", learner, "--out", str(tmp_path / out), *options, *more]
        monkeypatch.setattr(sys, "argv", ["nas", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        return int(ended.value.code or 0), capsys.readouterr().err

    before = torch.get_num_threads()
    yield run
    torch.set_num_threads(before)


def _interrupted(monkeypatch, learner: str, at: int, times: int = 1) -> None:
    """Ctrl-C in the middle of a step."""
    component = plugins.load("meta-learner", learner)
    update, left = component.update, [signal.SIGINT] * times

    def halfway(self, state, batch):
        while int(state.step) == at and left:
            os.kill(os.getpid(), left.pop())
        return update(self, state, batch)

    monkeypatch.setattr(component, "update", halfway)


@pytest.mark.parametrize(
    ("learner", "at", "kept", "steps"),
    [("transfer_gp", 1, 2, 4), pytest.param("rl2", 0, 1, 4, marks=pytest.mark.slow), ("rl2", 2, 3, 4)],
)
def test_training_that_was_stopped_in_a_step_goes_on_to_the_same_bits(
    train, tmp_path, monkeypatch, learner, at, kept, steps
):
    prior = ()
    if learner == "rl2":
        assert train("transfer_gp", "encoder")[0] == 0
        prior = ("--prior", str(tmp_path / "encoder/prior.safetensors"))
    assert train(learner, "whole", *prior)[0] == 0
    with monkeypatch.context() as during:
        _interrupted(during, learner, at)
        status, said = train(learner, "stopped", *prior)
    assert status == 130
    assert f"{kept} of {steps} steps are kept in {tmp_path / 'stopped'}. Go on: the same command." in said
    assert not (tmp_path / "stopped/prior.safetensors").exists()
    assert train(learner, "stopped", *prior)[0] == 0
    whole, again = (load_file(tmp_path / out / "prior.safetensors") for out in ("whole", "stopped"))
    assert whole.keys() == again.keys()
    for name, ours in whole.items():
        assert torch.equal(ours.nan_to_num(), again[name].nan_to_num()), name


def test_a_second_interrupt_ends_at_once_and_keeps_no_half_step(train, tmp_path, monkeypatch):
    with monkeypatch.context() as during:
        _interrupted(during, "transfer_gp", 1, times=2)
        status, said = train("transfer_gp", "out")
    assert status == 130
    assert "0 of 4 steps are kept" in said
    assert not (tmp_path / "out/checkpoint.safetensors").exists()


def test_an_interrupt_before_the_first_step_is_one_line(train, monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(splits, "split", interrupted)
    stopped = "Stopped. What was stored before is whole; the same command begins again, or goes on where it was."
    assert train("transfer_gp", "out") == (130, f"\n{stopped}\n")


def test_an_encoder_that_has_seen_what_is_held_out_is_refused(train, tmp_path):
    assert train("transfer_gp", "encoder")[0] == 0
    status, said = train("rl2", "out", "--split", "cifar10", "--prior", str(tmp_path / "encoder/prior.safetensors"))
    assert status == 2
    assert "which split 'cifar10' holds out" in said


def test_the_command_trains_without_what_its_split_holds_out(train, monkeypatch):
    asked = []
    for kind in ("training_tasks", "auxiliary_columns"):
        found = getattr(task_distribution, kind)
        monkeypatch.setattr(task_distribution, kind, lambda out, found=found: [asked.append(out), *found(out)][1:])
    assert train("portfolio", "out", "--split", "imagenet")[0] == 0
    assert asked == [splits.split("imagenet").held_out] * 2


@pytest.mark.parametrize("name", plugins.names("meta-learner"))
def test_a_step_changes_nothing_of_the_state_before_it(three_tasks, name):
    learner = plugins.load("meta-learner", name)(three_tasks, **OPTIONS[name])
    state = outer_loop.untrained(learner, 0)
    before = {n: t.clone() for n, t in state_tree.flatten(state).items()}
    first = next(outer_loop.train(learner, state, 0))
    again = next(outer_loop.train(learner, state, 0))
    for path, leaf in state_tree.flatten(state).items():
        assert torch.equal(leaf, before[path]), path
    for path, leaf in state_tree.flatten(first.state).items():
        assert torch.equal(leaf.nan_to_num(), state_tree.flatten(again.state)[path].nan_to_num()), path
    assert first.metrics == again.metrics


def test_a_checkpoint_of_another_training_is_refused(three_tasks, tmp_path):
    learner, path = TransferGp(three_tasks, pca_steps=1), tmp_path / "checkpoint.safetensors"
    state = outer_loop.untrained(learner, 0)
    outer_loop.save(path, state, {"seed": 0})
    assert torch.equal(outer_loop.load(path, state, {"seed": 0}).params["coords"], state.params["coords"])
    with pytest.raises(UserError, match="go on with the same settings"):
        outer_loop.load(path, state, {"seed": 1})
    about = {"format": outer_loop.FORMAT, "config": json.dumps({"seed": 0})}
    save_file({n: t for n, t in load_file(path).items() if n != "/params/coords"}, path, about)
    with pytest.raises(UserError, match="other shapes"):
        outer_loop.load(path, state, {"seed": 0})
    save_file({"net.x": torch.zeros(1)}, path, {"format": "nas-meta-checkpoint/1"})
    with pytest.raises(UserError, match="another version"):
        outer_loop.load(path, state, {"seed": 0})


def test_a_whole_sample_holds_every_task_of_its_space_and_a_drawn_one_mixes_them(three_tasks):
    sampler = task_sampler.build(three_tasks)
    stage = TransferGp(three_tasks).stages[0]
    (whole,) = sampler.batch(stage._replace(requests=(TaskRequest(num_tasks=None),)), 0, 0)
    scores = torch.stack([x.normal_scores for x in three_tasks.tasks])
    assert torch.equal(whole.scores, scores[whole.tasks])
    few = TaskRequest(4, 200, num_query=10, search_lengths=(3, 4), searches=2)
    (drawn,) = sampler.batch(stage._replace(requests=(few,)), 1, 0)
    assert drawn.scores.shape == (4, 200)
    torch.testing.assert_close(drawn.scores.std(1), torch.ones(4))
    assert drawn.query.shape == (4, 10)
    assert drawn.noise.shape[:2] == (3, 8)
    best = drawn.scores.topk(8, 1).indices
    assert (best == drawn.top[:, None]).any(1).all()


def test_a_step_of_descent_is_that_of_adam_by_hand():
    w = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    moments = _descent.begin({"w": w.detach()}, ["w"])
    after = _descent.descend({"w": w}, moments, (w * torch.tensor([0.3, 0.4])).sum(), 0.1)
    torch.testing.assert_close(w.detach(), torch.tensor([0.9, -2.1]))
    torch.testing.assert_close(after.mean["w"], 0.1 * torch.tensor([0.3, 0.4]))
    assert float(moments.mean["w"].abs().sum()) == 0


def test_a_training_goes_on_with_the_same_tables_alone(train, three_tasks, tmp_path, monkeypatch):
    assert train("portfolio", "one")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(type(tables.find("nasbench201")), "digest", lambda table, names: "other")
        status, said = train("portfolio", "one")
    assert (status, "begun with tables of the same names with other contents" in said) == (2, True)
    assert train("portfolio", "one")[0] == 0
    path = tmp_path / "one/checkpoint.safetensors"
    with safe_open(path, framework="pt") as file:
        about, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    earlier = {name: value for name, value in json.loads(about["config"]).items() if name not in outer_loop.FILES}
    save_file(tensors, path, about | {"config": json.dumps(earlier)})
    assert train("portfolio", "one")[0] == 0, "a checkpoint of a version that kept no digests is refused"


def test_a_damaged_checkpoint_is_one_line(train, tmp_path):
    assert train("portfolio", "one")[0] == 0
    (tmp_path / "one/checkpoint.safetensors").write_bytes(b"nothing")
    status, said = train("portfolio", "one")
    assert (status, "cannot be read" in said) == (2, True)
    assert said.count("\n") == 1


def test_two_do_not_train_in_one_folder(train, tmp_path):
    (tmp_path / "one").mkdir()
    with lock(tmp_path / "one"):
        status, said = train("portfolio", "one")
    assert (status, f"Another process works on training '{tmp_path / 'one'}'" in said) == (2, True)
    assert train("portfolio", "one")[0] == 0
