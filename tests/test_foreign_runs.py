"""Code that is not ours does not run: run folders, NATS-Bench files and links that somebody sent."""

from __future__ import annotations

import bz2
import json
import pickle
import sqlite3
from contextlib import closing

import pytest
import torch

from controller import Proposal
from nas import tasks
from nas.run import markdown, store
from nas.terminal import printable
from search_spaces import UserError

ARCHS = ["|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"]
CONTROLLER = """
import pathlib
pathlib.Path({witness!r}).write_text("ran")
from controller.evolution import Evolution
"""


class _Writes:
    """A pickle that writes a file when it is read."""

    def __init__(self, witness):
        self.witness = str(witness)

    def __reduce__(self):
        return exec, (f"open({self.witness!r}, 'w').write('ran')",)


@pytest.fixture
def witness(tmp_path):
    """A file that hostile code writes."""
    path = tmp_path / "witness"
    yield path
    assert not path.exists(), "code of others has run"


@pytest.fixture
def run(nas, table):
    """A run of ours, to be made somebody else's."""
    table("own201")
    done = nas("search", "--task", "own201/digits", "--controller", "evolution", "--evals", 5, "--name", "r")
    assert done.returncode == 0, done.stderr
    return "runs/r"


def _dump(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bz2.compress(pickle.dumps(value)))


def _asks_for(run, keeps_subject=True, **config):
    """Write other names into a run's configuration."""
    with closing(sqlite3.connect(f"{run}/{store.FILE}")) as connection, connection:
        (text,) = connection.execute("select value from about where key = 'config'").fetchone()
        text = json.dumps(json.loads(text) | config)
        connection.execute("update about set value = ? where key = 'config'", (text,))
        (text,) = connection.execute("select value from about where key = 'provenance'").fetchone()
        where = json.dumps(json.loads(text) | ({"task": config["task"]} if "task" in config else {}))
        connection.execute("update about set value = ? where key = 'provenance'", (where,))
        if not keeps_subject:
            connection.execute("delete from about where key in ('subject', 'provenance')")
            connection.execute("drop table trial")


def _use(nas, run):
    """All that reads a run."""
    return [
        nas("show", run),
        nas("show", run, "--json"),
        nas("runs"),
        nas("trials", run, "--csv"),
        nas("export", run, "--to", "out", "--no-onnx", "--force"),
        nas("meta-train", "--from-runs", run, "--out", "learned"),
    ]


def test_a_download_that_would_run_code_is_refused_by_the_name_of_its_file(nas, witness, tmp_path):
    meta, first = tmp_path / "evil" / "meta.pickle.pbz2", tmp_path / "evil" / "000000.pickle.pbz2"
    _dump(meta, {"meta_archs": ARCHS, "x": _Writes(witness)})
    refused = nas("search", "--task", f"nats:{meta.parent}/cifar10", "--evals", 2)
    assert refused.returncode == 2
    assert "meta.pickle.pbz2' cannot be read as NATS-Bench data" in refused.stderr
    _dump(meta, {"meta_archs": ARCHS})
    _dump(first, {"12": {"all_results": _Writes(witness)}})
    evaluate = tasks.find(f"nats:{meta.parent}/cifar10@12").load(torch.zeros(1).long())
    with pytest.raises(UserError, match=r"000000.*builtins\.exec"):
        evaluate(Proposal(torch.zeros(1, 1, 6).long()))


def test_a_single_file_that_would_run_code_is_refused_also_behind_its_first_architecture(witness, tmp_path):
    infos = {"12": {"all_results": {}}}
    whole = {"meta_archs": ARCHS, "arch2infos": {0: infos, 1: _Writes(witness)}, "evaluated_indexes": [0]}
    _dump(tmp_path / "evil" / "one.pickle.pbz2", whole)
    evaluate = tasks.find(f"nats:{tmp_path / 'evil' / 'one.pickle.pbz2'}/cifar10@12").load(torch.zeros(1).long())
    with pytest.raises(UserError, match=r"one\.pickle.*builtins\.exec"):
        evaluate(Proposal(torch.zeros(1, 1, 6).long()))


@pytest.mark.parametrize("keeps_subject", [True, False])
def test_a_run_whose_task_is_a_hostile_download_is_read_and_never_unpickled(keeps_subject, nas, run, witness, tmp_path):
    _dump(tmp_path / "evil" / "meta.pickle.pbz2", _Writes(witness))
    _asks_for(run, keeps_subject, task=f"nats:{tmp_path}/evil/cifar10@200")
    statuses = [done.returncode for done in _use(nas, run)]
    assert set(statuses) <= ({0} if keeps_subject else {0, 2})
    assert nas("resume", run, "--evals", 9).returncode == 2


@pytest.mark.parametrize("keeps_subject", [True, False])
@pytest.mark.parametrize("field", ["controller", "evaluator", "space"])
def test_code_that_a_run_names_runs_when_its_user_says_so(field, keeps_subject, nas, run, witness, tmp_path):
    file = tmp_path / "theirs.py"
    file.write_text(CONTROLLER.format(witness=str(witness)))
    name = f"{file}:Evolution"
    _asks_for(run, keeps_subject, **({"training_options": {"space": name}} if field == "space" else {field: name}))
    shown = _use(nas, run)
    if keeps_subject or field == "controller":
        assert {done.returncode for done in shown} == {0}, [done.stderr for done in shown]
    asked = nas("resume", run, "--evals", 9)
    assert asked.returncode == 2
    assert f"Read {file}; --trust runs it." in asked.stderr
    if field == "controller":
        assert not witness.exists()
        trusted = nas("resume", run, "--evals", 9, "--trust")
        assert trusted.returncode == 0, trusted.stderr
        assert nas("resume", run).returncode == 0, "what was run once is known"
        assert witness.read_text() == "ran"
        witness.unlink()


def test_a_space_that_a_run_names_is_not_imported_to_export_its_network(nas, run, witness, tmp_path):
    file = tmp_path / "theirs.py"
    file.write_text(CONTROLLER.format(witness=str(witness)))
    with closing(sqlite3.connect(f"{run}/{store.FILE}")) as connection, connection:
        (text,) = connection.execute("select value from about where key = 'subject'").fetchone()
        subject = json.loads(text)
        subject["space"]["component"] = f"{file}:Evolution"
        connection.execute("update about set value = ? where key = 'subject'", (json.dumps(subject),))
    assert nas("show", run).returncode == 0
    refused = nas("export", run, "--to", "out")
    assert refused.returncode == 2
    assert "--trust runs it" in refused.stderr


def test_a_link_in_place_of_the_picture_is_replaced_and_not_followed(nas, run, tmp_path):
    (tmp_path / "precious").write_text("mine")
    for name in ("best.png", "best.svg"):
        (tmp_path / run / name).unlink()
        (tmp_path / run / name).symlink_to(tmp_path / "precious")
    assert nas("show", run).returncode == 0
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_run_with_escapes_in_its_names_is_shown_as_text(nas, run):
    _asks_for(run, task="own201/\x1b]0;owned\x07digits[bold red]", controller="\x1b[2J")
    for done in (nas("show", run), nas("runs")):
        assert done.returncode == 0
        assert "\x1b" not in done.stdout.replace("\x1b[1m", "").replace("\x1b[0m", "")
        assert "[bold red]" in done.stdout
        assert r"\x1b[2J" in done.stdout


@pytest.mark.parametrize("config", [{"seeds": "1"}, {"evals": "many"}, {"controller_options": []}, {"task": None}])
def test_a_configuration_of_other_types_is_one_line(config, nas, run):
    _asks_for(run, **config)
    refused = nas("show", run)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    listed = nas("runs")
    assert (listed.returncode, "passed over" in listed.stderr) == (0, True)


def test_what_a_terminal_would_obey_is_shown_as_an_escape():
    assert printable("a\x1b[31mb\x07\x9b\u202ec\nd") == "a\\x1b[31mb\\x07\\x9b\\u202ec\nd"
    assert printable("Katze 猫 कि 🐈‍⬛") == "Katze 猫 कि 🐈‍⬛"


def test_a_name_in_a_page_is_neither_html_nor_a_link_nor_a_column():
    assert markdown.escape("<img src=x>|[a](b)*_`") == r"&lt;img src=x&gt;\|\[a\](b)\*\_" + r"\`"
    assert "://" not in markdown.escape("https://example.org")
    assert markdown.code("a`b\n# c") == "`a'b # c`"
