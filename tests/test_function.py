"""A person's own function as evaluator: what it takes and gives, and what becomes of crashes, hangs and memory."""

import decimal
import json
import math
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest
import torch

from controller import Proposal
from nas import evaluation_file
from nas.evaluators import _user_function
from nas.evaluators.function import Function
from search_spaces import UserError

CODE = """
import os, signal, time
import torch

def scored(network, task, epochs, seed):
    with torch.no_grad():
        next(network.parameters()).fill_(1.5)
    return {"score": sum(p.numel() for p in network.parameters()) / 1000, "test": 7.0, "epochs": epochs, "seed": seed}

def alone(architecture):
    return float(sum(architecture.indices))

def fails(arch):
    first = arch.indices[0]
    if first == 0:
        raise ValueError("two\\nlines")
    if first == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if first == 2:
        time.sleep(1000)
    return "high" if first == 3 else float("nan")

def never(arch):
    raise RuntimeError("no")

def wrong(x, y):
    return 1.0

class Callable:
    def __call__(self, arch):
        return 1.0

def grows(arch):
    return len(bytearray(1 << 33))
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(CODE))
    return path


def made(file, name, **settings):
    return Function.of("my task", objective=f"{file}:{name}", **settings)


def archs(*rows):
    return Proposal(torch.tensor([rows]))


def test_a_function_is_given_what_it_names_and_its_figures_are_kept(file, tmp_path):
    evaluator = made(file, "scored", epochs="4", input_shape="1x8x8", num_classes="3")
    evaluator.cache_to(tmp_path)
    first, second = [1, 0, 0, 0, 0, 0], [3, 0, 0, 3, 0, 0]
    results = evaluator.load(torch.tensor([5]))(archs(first, second))
    counted = [
        sum(p.numel() for p in evaluator.space.build(torch.tensor(a), evaluator.task).parameters())
        for a in (first, second)
    ]
    assert results.score[0].tolist() == pytest.approx([n / 1000 for n in counted])
    rows = evaluation_file.read(tmp_path)
    assert [(r["figures"]["epochs"], r["figures"]["seed"], r["figures"]["test"]) for r in rows] == [(4, 5, 7.0)] * 2
    assert evaluator.report(torch.tensor([first])).tolist() == [7.0]
    arch, state = evaluation_file.weights(tmp_path)
    assert arch == evaluator.space.describe(torch.tensor(second))
    assert bool((state["stem.0.weight"] == 1.5).all())
    evaluator.pool.close()


def test_what_was_evaluated_is_not_evaluated_again_also_by_another_session(file, tmp_path):
    arch = [1, 2, 3, 4, 0, 1]
    first = made(file, "alone")
    first.cache_to(tmp_path)
    assert first.load(torch.tensor([0]))(archs(arch, arch)).score.tolist() == [[11.0, 11.0]]
    first.pool.close()
    file.write_text("def alone(architecture): raise RuntimeError")
    second = made(file, "alone")
    second.cache_to(tmp_path)
    assert second.load(torch.tensor([0]))(archs(arch)).score.tolist() == [[11.0]]
    assert len(evaluation_file.read(tmp_path)) == 1


def test_crash_hang_error_and_no_number_are_nan_with_a_reason(file):
    evaluator = made(file, "fails", timeout="0.5", workers="2")
    rows = [[first, 0, 0, 0, 0, 0] for first in range(5)]
    assert evaluator.load(torch.tensor([0]))(archs(*rows)).score.isnan().all()
    reasons = {c.index // 5**5: o.error for c, o in evaluator.outcomes.items()}
    evaluator.pool.close()
    assert sorted(reasons.values()) == [
        "ValueError: two lines",
        "its process ended by SIGSEGV",
        "no answer within 0.5 s",
        "the function returned 'high', which is no number",
        "the function returned nan",
    ]


async def later():
    return 1.0


def test_the_same_fault_has_the_same_words():
    # No address, by which each evaluation had a reason of its own; and no warning of a coroutine that nobody waits for.
    said = {_user_function._plain(value()) for value in (later, later, object)}
    assert said == {"<coroutine object later>", "<object object>"}


def test_too_much_memory_is_nan_with_a_reason(file):
    evaluator = made(file, "grows", memory="6")
    assert evaluator.load(torch.tensor([0]))(archs([0] * 6)).score.isnan().all()
    assert evaluator.failures()[0].startswith(("MemoryError", "its process ended"))
    evaluator.pool.close()


def test_a_function_that_always_fails_ends_the_search(file):
    evaluator = made(file, "never")
    with pytest.raises(UserError, match="All 8 evaluations so far have failed; the last with RuntimeError: no"):
        evaluator.load(torch.tensor([0]))(archs(*[[a, b, 0, 0, 0, 0] for a in range(2) for b in range(4)]))
    evaluator.pool.close()


@pytest.mark.parametrize(
    ("returned", "score", "figures"),
    [
        (np.float32(0.5), 0.5, {}),
        (torch.tensor([2.0], requires_grad=True), 2.0, {}),
        (decimal.Decimal("0.5"), 0.5, {}),
        (types.MappingProxyType({"score": 1, "test": np.int64(3)}), 1.0, {"test": 3}),
        ({"score": 1.0, "c": np.complex64(1), "b": np.bytes_(b"x")}, 1.0, {"c": "(1+0j)", "b": "b'x'"}),
        ({"score": 1.0, "more": {"loss": math.nan}, "size": 10**400}, 1.0, {"more": {"loss": None}, "size": None}),
        pytest.param(10**400, None, {}, id="many digits"),
        (1e39, None, {}),
        ({"score": None, "loss": 1.0}, None, {"loss": 1.0}),
        ("0.5", None, {}),
        (True, None, {}),
    ],
)
def test_whatever_is_returned_is_a_score_that_a_run_keeps_or_a_failure(returned, score, figures):
    found = evaluation_file.outcome(_user_function._plain(returned), 1.0, "")
    assert found.figures == figures
    assert (None if math.isnan(found.score) else found.score) == score
    assert bool(found.error) == (score is None)
    assert math.isfinite(torch.tensor(found.score if score else 0.0).item())
    json.dumps(found._asdict())


@pytest.mark.parametrize(
    ("objective", "settings", "says"),
    [
        ("{}:nope", {}, "No function of .* is called 'nope'"),
        ("nowhere.py:f", {}, "no file"),
        ("{}", {}, "it takes FILE.py:function"),
        ("{}:wrong", {}, "Function '.*' has an argument 'x'"),
        ("{}:Callable", {}, "Class '.*' has no argument"),
        ("{}:alone", {"timeout": "0"}, "timeout is '0'"),
        ("{}:alone", {"input_shape": "3x32"}, "CHANNELSxHEIGHTxWIDTH"),
        ("{}:alone", {"lr": "1"}, "'lr'"),
    ],
)
def test_what_cannot_be_called_is_one_line(file, objective, settings, says):
    with pytest.raises(UserError, match=says):
        Function.of("t", objective=objective.format(file), **settings)


def test_a_search_by_a_function_is_a_run_like_any(nas, file, tmp_path):
    words = f"search --objective {file}:scored --evals 3 --controller evolution -t input_shape=1x8x8 --name r"
    said = nas(*words.split())
    assert said.returncode == 0, said.stderr
    assert "of evaluation a seed" in said.stdout
    assert "test    7.000" in said.stdout
    rows = json.loads(nas("trials", "r", "--json").stdout)
    assert [row["figures"]["epochs"] for row in rows] == [10] * 3
    assert nas("resume", "r", "--evals", "4").returncode == 0
    done = nas("export", "r", "--to", tmp_path / "out", "--no-onnx")
    assert done.returncode == 0, done.stderr
    assert "untrained" not in done.stdout
    assert (tmp_path / "out" / "network.safetensors").is_file()


def test_a_script_without_a_guard_is_told_so_and_makes_one_run(file, tmp_path):
    script = tmp_path / "script.py"
    call = f"nas.search(objective='{file}:scored', evals=2, task='digits', controller='random_search')"
    script.write_text(f"import nas\nprint(len({call}.trials()))\n")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("put the call under `if __name__ == '__main__':`.")
    assert "freeze_support" not in done.stderr
    assert len([*(tmp_path / "runs").iterdir()]) == 1
