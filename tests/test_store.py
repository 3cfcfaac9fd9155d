"""A run on disk: killed at any instant, it goes on as if it had never stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from controller.models import prior_file
from nas.run import session, state_tree, step_log, store, stored
from nas.run.config import RunConfig

_COMMAND = [sys.executable, "-m", "nas"]
_TASK = "nasbench201/cifar10@12"


def _asked(controller: str, evals: int) -> dict:
    return RunConfig(task=_TASK, controller=controller, evals=evals, seeds=3, batch=2)


def _unbroken(folder, controller, evals):
    asked = _asked(controller, evals)
    setup = session.load(asked)
    with session.start(folder, asked, setup) as run:
        for _ in session.resume(run, setup):
            pass
        return step_log.history(run), state_tree.flatten(step_log.state(run, setup.controller.begin(None, setup.seeds)))


_STOPS_ITSELF = """
import os, signal, sys
from nas import cli
from nas.run import store, step_log
# What a shell starts in its background, and all below it, is deaf to Ctrl-C; the tests may run there.
signal.signal(signal.SIGINT, signal.default_int_handler)
append, steps = step_log.append, int(sys.argv.pop(1))
def stored(run, number, *rest, **named):
    append(run, number, *rest, **named)
    if number + 1 == steps:
        os.kill(os.getpid(), signal.SIGSTOP)
step_log.append = stored
cli.main(sys.argv[1:])
"""


def _kill_after(args, steps, sent=signal.SIGKILL):
    """Send a signal to a command once it has stored so many steps: it stops there, so that no clock is raced."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", _STOPS_ITSELF, str(steps), *args], stdout=pipe, stderr=pipe, text=True
    )
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), "the run ended before it could be killed; give it more evaluations"
    process.send_signal(sent)
    process.send_signal(signal.SIGCONT)
    return process, process.communicate(timeout=600)


@pytest.mark.parametrize(
    ("controller", "instants"), [("evolution", (1, 20)), pytest.param("reinforce", (15,), marks=pytest.mark.slow)]
)
def test_a_run_killed_at_several_instants_ends_as_one_never_stopped(controller, instants, nasbench201, tmp_path):
    evals = 80
    expected, expected_state = _unbroken(tmp_path / "unbroken", controller, evals)
    folder = tmp_path / "killed"
    options = ["--task", _TASK, "--controller", controller, "--seeds", "3", "--batch", "2", "--evals", str(evals)]
    args = ["search", *options, "--name", str(folder)]
    for number, steps in enumerate(instants, 1):
        process, _ = _kill_after(args, steps)
        assert process.returncode == -signal.SIGKILL
        args = ["resume", str(folder)]
        with store.open_run(folder) as run:
            assert len(list(step_log.steps(run))) == steps
            read = store.get_meta(run, "columns_read")
            # Of each session so far, though none came to its end.
            assert read[f"{_TASK.split('/')[0]}/cifar10/valid_accuracy@12"] == number
            assert set(read.values()) == {number}
    subprocess.run([*_COMMAND, *args], check=True, capture_output=True)
    with store.open_run(folder) as run:
        got = step_log.history(run)
        like = session.load(run.config).controller.begin(None, torch.arange(3))
        state = state_tree.flatten(step_log.state(run, like))
    assert torch.equal(got.archs, expected.archs)
    assert torch.equal(got.score, expected.score)
    assert torch.equal(got.cost, expected.cost)
    assert state.keys() == expected_state.keys()
    assert all(torch.equal(state[path], expected_state[path]) for path in state)


def test_ctrl_c_keeps_what_was_done_and_says_how_to_go_on(nasbench201, tmp_path):
    folder = tmp_path / "stopped"
    args = ["search", "--task", _TASK, "--controller", "evolution", "--evals", "100000", "--name", str(folder)]
    process, (_, said) = _kill_after(args, 5, signal.SIGINT)
    assert process.returncode == 130
    assert f"nas resume {folder}" in said
    assert "Traceback" not in said
    with store.open_run(folder) as run:
        assert step_log.history(run).steps >= 5


def test_a_step_that_fails_to_be_stored_leaves_the_run_whole(nasbench201, tmp_path):
    asked = _asked("evolution", 200)
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        progress = session.resume(run, setup)
        next(progress)
        pages = run.connection.execute("pragma page_count").fetchone()[0]
        run.connection.execute(f"pragma max_page_count = {pages + 2}")
        with pytest.raises(store.UserError, match="full"):
            for _ in progress:
                pass
        run.connection.execute("pragma max_page_count = 100000")
        kept = step_log.history(run).steps
        for _ in session.resume(run, setup):
            pass
        assert 0 < kept < step_log.history(run).steps
        got = step_log.history(run)
    expected, _ = _unbroken(tmp_path / "unbroken", "evolution", 200)
    assert torch.equal(got.archs, expected.archs)


def test_a_second_process_is_refused_before_it_writes_and_reading_goes_on(nasbench201, tmp_path):
    asked = _asked("evolution", 100)
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        going = session.resume(run, setup)
        next(going)
        before = {f.name: f.read_bytes() for f in (tmp_path / "run").iterdir()}
        for refused in (
            lambda: store.open_run(run.folder, write=True),
            lambda: session.start(run.folder, asked, setup),
        ):
            with pytest.raises(store.UserError, match=r"Another process works on run|exists already"):
                refused()
        assert {f.name: f.read_bytes() for f in (tmp_path / "run").iterdir()} == before
        with store.open_run(run.folder) as shown:
            assert step_log.history(shown).steps == 1
        list(going)
        got = step_log.history(run)
    expected, _ = _unbroken(tmp_path / "unbroken", "evolution", 100)
    assert torch.equal(got.archs, expected.archs)


def test_a_run_of_another_version_is_refused(tmp_path):
    asked = RunConfig()
    with store.create(tmp_path / "run", asked, {}) as run:
        run.connection.execute("update about set value = 'nas-run/9' where key = 'format'")
    with pytest.raises(store.UserError, match="nas-run/9"):
        store.open_run(tmp_path / "run")


def test_a_run_does_not_overwrite_another(tmp_path):
    store.create(tmp_path / "run", RunConfig(), {}).close()
    with pytest.raises(store.UserError, match="exists already"):
        store.create(tmp_path / "run", RunConfig(), {})


def test_a_file_that_is_no_run_is_refused(tmp_path):
    (tmp_path / store.FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(store.UserError):
        store.open_run(tmp_path)


@pytest.mark.parametrize("controller", ["reinforce", "learned_policy", "guarded", "aim"])
def test_a_policy_with_a_prior_goes_on_from_a_state_of_before_it_kept_what_it_evaluated(controller, tmp_path, nas):
    """Behind several objectives and in a guard too, where its leaves have other paths."""
    warm = "learned_policy" if controller == "learned_policy" else "reinforce"
    params = {"logits": torch.zeros(1, 6, 5)}
    if warm == "learned_policy":
        params |= {"rates": torch.zeros(1, 6, 5), "window": torch.tensor([20.0])}
    prior_file.write(tmp_path / "prior", prior_file.Prior(params, {"controller": warm, "space": "nasbench201"}))
    aim = "accuracy,params" if controller == "aim" else ""
    asked = RunConfig(
        task="own201/digits",
        controller="reinforce" if aim else controller,
        evals=6,
        prior=str(tmp_path / "prior"),
        aim=aim,
    )
    setup = session.load(asked)
    with session.start(tmp_path / "runs" / "old", asked, setup) as run:
        steps = session.resume(run, setup)
        for _ in range(4):
            next(steps)
        path = {"guarded": "/warm/leaves/archs", "aim": "/begun/archs"}.get(controller, "/archs")
        before = state_tree.flatten(step_log.state(run, session.initial_state(setup)))
        kept = {p: leaf for p, leaf in before.items() if p != path}
        if controller == "guarded":  # The padding has no row for it.
            place = [p for p in before if p.startswith("/warm/leaves/")].index(path)
            rows = [n for n in range(before["/warm/sizes"].shape[1]) if n != place]
            kept |= {p: before[p][:, rows] for p in ("/warm/sizes", "/warm/largest", "/warm/grown")}
        stored.write_state(run.connection, before, kept)
    done = nas("resume", "old", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["evaluations"] == 6
    with store.open_run(tmp_path / "runs" / "old") as run:
        assert (path,) not in run.connection.execute("select path from state").fetchall(), "it samples as it did"


def test_a_state_that_keeps_less_than_the_controller_needs_is_refused_and_the_run_still_shown(tmp_path, nas):
    asked = RunConfig(task="own201/digits", controller="hyperband", evals=4)
    setup = session.load(asked)
    with session.start(tmp_path / "runs" / "old", asked, setup) as run:
        next(session.resume(run, setup))
        run.connection.execute("delete from state where path = '/schedule'")
    done = nas("resume", "old")
    assert done.returncode == 2
    assert "kept no 'schedule'; `nas show` shows it, but it cannot go on. Start a new one." in done.stderr
    assert nas("show", "old", "--json").returncode == 0
