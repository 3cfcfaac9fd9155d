"""`nas meta-train`: what is trained is kept, whenever it is stopped."""

from __future__ import annotations

import os
import signal
import sys

import pytest
import torch
from safetensors.torch import load_file

from nas import cli, meta
from nas.meta import task_distribution

STEPS = {"describe": 3, "read": 2, "reinforce": 2}


@pytest.fixture
def train(nasbench201, tmp_path, monkeypatch, capsys):
    """Runs the command on three tasks; its exit status and what it said."""
    library = task_distribution.library(("*+*", "nasbench201-robustness/*", "natsbench-size/*", "transnas-micro/*"))[:3]
    monkeypatch.setattr(task_distribution, "library", lambda leave: library)
    monkeypatch.setattr(task_distribution, "properties", lambda leave: [])

    def run(out: str) -> tuple[int, str]:
        torch.set_num_threads(2)
        words = ["meta-train", "--out", str(tmp_path / out), *(x for n, k in STEPS.items() for x in (f"--{n}", str(k)))]
        monkeypatch.setattr(sys, "argv", ["nas", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        return int(ended.value.code or 0), capsys.readouterr().err

    before = torch.get_num_threads()
    yield run
    torch.set_num_threads(before)


def _interrupted(monkeypatch, stage: str, at: int, times: int = 1) -> None:
    """Ctrl-C in the middle of a step of a stage."""
    descend = meta.Trainer._descend
    left = [signal.SIGINT] * times

    def halfway(self, loss, **kept):
        while (meta.STAGES[self.stage], self.step) == (stage, at) and left:
            os.kill(os.getpid(), left.pop())
        descend(self, loss, **kept)

    monkeypatch.setattr(meta.Trainer, "_descend", halfway)


@pytest.mark.parametrize(("stage", "at", "kept"), [("describe", 1, 2), ("reinforce", 0, 6)])
def test_training_that_was_stopped_in_a_step_goes_on_to_the_bit(train, tmp_path, monkeypatch, stage, at, kept):
    assert train("whole")[0] == 0
    with monkeypatch.context() as during:
        _interrupted(during, stage, at)
        status, said = train("stopped")
    assert status == 130
    assert f"{kept} of 7 steps are kept in {tmp_path / 'stopped'}. Go on: the same command." in said
    assert not (tmp_path / "stopped/prior.safetensors").exists()
    assert train("stopped")[0] == 0
    whole, again = (load_file(tmp_path / out / "prior.safetensors") for out in ("whole", "stopped"))
    for name, ours in whole.items():
        assert torch.equal(ours.nan_to_num(), again[name].nan_to_num()), name


def test_a_second_interrupt_ends_at_once_and_keeps_no_half_step(train, tmp_path, monkeypatch):
    with monkeypatch.context() as during:
        _interrupted(during, "read", 1, times=2)
        status, said = train("out")
    assert status == 130
    assert "0 of 7 steps are kept" in said
    assert not (tmp_path / "out/checkpoint.safetensors").exists()


def test_an_interrupt_before_the_first_step_is_one_line(train, monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(task_distribution, "split", interrupted)
    assert train("out") == (130, "\nStopped.\n")
