"""Every command says how it is used, and what it says works."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys

import click
import pytest
import torch
from PIL import Image

from nas import tables
from nas.cli import cli
from nas.export import export
from search_spaces import Task
from search_spaces.nasbench201 import NasBench201


def commands(group, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = dict(commands(cli))


def examples(command):
    return re.findall(r"^\s*nas (.+)$", (command.help or "").partition("Example:")[2], re.MULTILINE)


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_has_help_an_example_and_a_word_for_each_option(path):
    command = ALL[path]
    assert command.get_short_help_str(), "a first line"
    assert examples(command), "an example"
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, f"{parameter.name} says nothing"


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A folder with the run that the examples speak of, searched once for all of them."""
    folder = tmp_path_factory.mktemp("examples")
    search = ["search", "--task", "nasbench201/cifar10@12", "--evals", "10", "--name", "digits-evolution-1"]
    subprocess.run([sys.executable, "-m", "nas", *search], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def home(nasbench201, nats_sample, request, tmp_path):
    """What the examples speak of: a finished run, a NATS-Bench download and results of one's own."""
    shutil.copytree(request.getfixturevalue("finished_run"), tmp_path, dirs_exist_ok=True)
    download = tmp_path / "NATS-tss-v1_0-3ffb9-simple"
    download.mkdir()
    for name in ("000000", "000001", "meta"):
        shutil.copy(nats_sample / f"{name}.pickle.pbz2", download)
    cell = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
    (tmp_path / "my_results.csv").write_text(f"arch,accuracy,seconds\n{cell},91.5,30\n")


def write_classifier(folder):
    """A trained network and an image, of which the example of `nas predict` speaks."""
    space, task, arch = NasBench201(channels=4, cells=1), Task("photos", (3, 8, 8), 2), torch.zeros(6).long()
    state, ones = space.build(arch, task).state_dict(), torch.ones(3)
    export(space, arch, task, state, folder / "runs/photos", mean=ones, std=ones, class_names=("a", "b"), onnx=False)
    (folder / "new").mkdir()
    Image.new("RGB", (9, 8)).save(folder / "new/1.jpg")


# `tests/test_tune.py` has one of its own, of a smaller training.
LONG = {("tune", "meta-train")}


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=pytest.mark.slow if p in LONG else ()) for p in ALL], ids=" ".join
)
def test_the_example_of_every_command_runs(path, home, nas, tmp_path, monkeypatch):
    if path == ("export",):  # Its files, of the whole network of a table, have tests of their own.
        monkeypatch.setattr(sys.modules["nas.export.export"], "write_and_compare", lambda *args, **more: ((), ()))
    if path == ("predict",):
        write_classifier(tmp_path)
    if path in (("few-shot", "classify"), ("few-shot", "test")):
        asked = ("--steps", 1, "--episodes", 2, "--queries", 1, "--arch", "16:16:0:0:max_pool")
        assert nas("few-shot", *asked, "--name", "few").returncode == 0
        for name in ("new", "few_images/a", "few_images/b"):
            (tmp_path / name).mkdir(parents=True)
            Image.new("L", (9, 8)).save(tmp_path / name / "1.jpg")
    # A group that shows the example of one of its commands shows what is run there.
    inside = {e for other in ALL if other[:-1] == path for e in examples(ALL[other])}
    for example in [e for e in examples(ALL[path]) if e not in inside]:
        if "own201" not in tables.names():
            example = example.replace("own201/digits", "nasbench201/cifar10@12").replace("own201", "nasbench201")
        # Files of ONNX take as long as all the rest, and have tests of their own.
        done = nas(*shlex.split(example), *(["--no-onnx"] if path == ("export",) else []))
        assert done.returncode == 0, done.stderr


def test_the_help_of_all_commands_loads_none_of_them():
    program = """
import sys
from nas.cli import main
try:
    main(["-h"])
except SystemExit:
    print([module for module in ("torch", "rich", "matplotlib") if module in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.endswith("[]\n"), done.stderr
    for (name, *rest), command in ALL.items():
        if not rest:
            assert f"  {name} " in done.stdout
            assert command.get_short_help_str(40).removesuffix("...") in done.stdout


@pytest.mark.parametrize("path", [(), ("table",), ("table", "import")], ids=" ".join)
def test_a_group_without_a_command_prints_its_help(path, nas):
    done = nas(*path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == nas(*path, "--help").stdout
    assert "Commands:" in done.stdout
