"""The pages: their code runs, they print what they say, and they are written in the field's words and in short sentences."""

import re
import shlex
import subprocess
import sys
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import click
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from controller.models import gp_members
from nas import plugins
from nas.cli import cli
from nas.testing import check

ROOT = Path(__file__).parent.parent
GUIDES = {
    "add_a_controller.md": ("my_sa.py", "SimulatedAnnealing"),
    "add_a_space.md": ("my_space.py", "Chain"),
}
"""The pages that show a component, its file and its class."""
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OLD_WORDS = (
    r"foret(ell|old)\w*", r"standings?", r"landscapes?", r"told of", r"sights?", r"turns? of plain", r"scouts?", r"grounds?",
    r"atlas", r"made-up", r"twins?", r"kin", r"in company", r"to the bit", r"sittings?", r"left off", r"taken up",
    r"points off", r"(most of |keeps? )?the say", r"search column", r"report column", r"trust rule", r"doubts?",
    r"dry.run", r"turns out of", r"what it takes", r"home (country|ground)", r"corners?", r"data sets?", r"rooms?",
    r"house", r"pictures?", r"(gr[e]y|colour|neighbour|favour|behaviour)\w*", r"\w+(alis|imis|oris|aris)(e|ed|es|ing|ation)",
    r"catalogue", r"centred?", r"licence",
)  # fmt: skip
"""Private words of version 0.1, and British spellings; `HOUSE`-style words have a term of the field instead."""
ALLOWED = re.compile(r"(otherw|prom|surpr|comprom|superv|exerc|adv|rev|dev|prec|conc)is\w*")


def blocks(page: Path, language: str = "") -> list[tuple[str, str]]:
    """The code blocks of a page: what stands behind the fence, and the code."""
    return re.findall(rf"^```({language}[^\n]*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def write_code(page: str, folder: Path) -> None:
    """Every block of a page that has a title, as a file of that name."""
    for head, code in blocks(ROOT / "docs" / page, "python"):
        (folder / re.findall(r'title="(.*?)"', head)[0]).write_text(code)


@pytest.mark.parametrize("page", GUIDES)
def test_the_component_of_a_guide_is_complete_short_and_keeps_every_law(page, tmp_path, nas):
    file, component = GUIDES[page]
    write_code(page, tmp_path)
    code = [line for line in (tmp_path / file).read_text().splitlines() if line.strip()]
    assert len(code) <= 40, f"{file} has {len(code)} lines; a guide shows about thirty"
    checked = nas("check", f"{file}:{component}")
    assert checked.returncode == 0, checked.stdout
    shown = [code for head, code in blocks(ROOT / "docs" / page) if code.startswith(f"{component} is a")]
    assert shown == [checked.stdout], "the page shows what nas check prints"


@pytest.mark.parametrize("page", GUIDES)
def test_the_tests_that_a_guide_shows_are_tests_of_each_law(page, tmp_path, monkeypatch):
    file, component = GUIDES[page]
    write_code(page, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    shown: dict = {}
    exec((tmp_path / f"test_{file}").read_text(), shown)
    (cases,) = [mark for mark in shown["test_laws"].pytestmark if mark.name == "parametrize"]
    assert len(cases.args[1]) == len(list(check(plugins.load("component", f"{tmp_path / file}:{component}"))))


def test_the_controller_of_its_guide_is_searched_with(tmp_path, nas):
    write_code("add_a_controller.md", tmp_path)
    found = nas(
        "search",
        "--task",
        "own201/digits",
        "--controller",
        "my_sa.py:SimulatedAnnealing",
        "--evals",
        50,
        "--name",
        "sa",
    )
    assert found.returncode == 0, found.stderr
    assert float(re.findall(r"score +(\d+\.\d+)", found.stdout)[0]) > 96  # Its first architecture has 94.4.


def test_the_network_predicts_as_the_page_on_data_shows(tmp_path, nas, capsys):
    for shade, name in ((40, "cat"), (200, "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (36, 32), (shade, shade + i, shade)).save(tmp_path / "photos" / name / f"{i}.jpg")
    options = [x for option in ("epochs=1", "final_epochs=8", "final_cells=1") for x in ("-t", option)]
    done = nas(
        "search", "--task", "folder:photos", "--evals", 2, "--batch", 2, "--name", "photos", "--no-comparison", *options
    )
    assert done.returncode == 0, done.stderr
    searched, exported = (code for _, code in blocks(ROOT / "docs" / "your_data.md", "python"))
    shown = subprocess.run([sys.executable, "-c", exported], cwd=tmp_path, capture_output=True, text=True)
    assert re.fullmatch(r"cat \d+%\n", shown.stdout), shown.stdout + shown.stderr
    short = "evals=2, comparison=False, training_options={'epochs': 1, 'final_epochs': 8}"
    exec(searched.replace("minutes=10", short), {})
    first, *answers = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"[\d.]+ 2 # folder:.*photos: [\d.]+% of the test images right", first)
    assert [line.split(" ")[0] for line in answers] == [f"photos/cat/{i}.jpg" for i in range(6)]
    assert (tmp_path / "exported" / "network.py").exists()


COMMANDS = sorted(
    {
        (page.name, " ".join(line.split(" #")[0].split()))
        for page in PAGES
        for _, code in blocks(page)
        for line in code.replace("\\\n", " ").splitlines()
        if line.startswith("nas ")
    }
)
"""Every command that a page shows, without its comment."""


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[line for _, line in COMMANDS])
def test_every_command_of_a_page_has_the_options_that_it_shows(page, line):
    name, *arguments = shlex.split(line)[1:]
    if name == "table":
        name, arguments = arguments[0], arguments[1:]
        command = cli.get_command(click.Context(cli), "table").get_command(click.Context(cli), name)
    else:
        command = cli.get_command(click.Context(cli), name)
    command.make_context(name, arguments)


def sentences(text: str) -> list[str]:
    """The sentences of a page in Markdown, without code blocks, tables, equations, headings and pictures."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->|\$\$.*?\$\$", "", text, flags=re.DOTALL)
    text = re.sub(r"^(\||#|!\[|:::|\[TOC\]).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]*`", lambda code: re.sub(r"[^\w\s]+", "_", code[0]), text)  # Its stops end no sentence.
    text = re.sub(r"\$[^$\n]+\$", "EQUATION", text).replace("*", "")
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"^\s*(?:[-*]|\d+\.)\s+", "\n\n", text, flags=re.MULTILINE)
    parts = [
        part for block in re.split(r"\n\s*\n", text) for part in re.split(r"(?<=[.!?])\s+(?=[\"(]*[A-Z0-9_])", block)
    ]
    return [" ".join(part.split()) for part in parts if re.search(r"\w", part)]


def words(sentence: str) -> int:
    return sum(1 for word in sentence.split() if re.search(r"\w", word))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page):
    lengths = {sentence: words(sentence) for sentence in sentences(page.read_text())}
    if len(lengths) < 5:  # The start page of the site is the README.
        return
    average = sum(lengths.values()) / len(lengths)
    long = [f"{count}: {sentence}" for sentence, count in lengths.items() if count > 35]
    assert 10 <= average <= 20, f"{page.name} has {average:.1f} words a sentence"
    assert len(long) <= 0.05 * len(lengths), "\n".join(long)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_a_private_word(page):
    prose = "\n".join(sentences(page.read_text()))
    found = {m[0] for word in OLD_WORDS for m in re.finditer(rf"\b{word}\b", prose, re.IGNORECASE)}
    assert not {word for word in found if not ALLOWED.fullmatch(word.lower())}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_table_stands_once_and_on_lines_of_its_own(page):
    lines = page.read_text().splitlines()
    heads = [above for above, line in pairwise(lines) if re.fullmatch(r"\|[-:| ]+\|", line)]
    assert [line for line in lines if line.startswith("| ") and not line.endswith("|")] == []
    assert [head for head in heads if not head.startswith("|")] == []


def test_the_measure_counts_words_and_leaves_code_and_tables_out():
    page = (
        "# Head line\n\n**One two.** Four `five. Six`:\n\n- six seven\n\n| a | b |\n|---|---|\n\n```\nlong code\n```\n"
    )
    assert [words(s) for s in sentences(page)] == [2, 3, 2]


def rows(page: str, first: str) -> list[list[str]]:
    """The cells of a page's table whose first heading is `first`, without backticks."""
    text = (ROOT / "docs" / page).read_text()
    (table,) = re.findall(rf"^\| {first} \|[^\n]*\n\|[-:|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_page_of_transfer_bo_has_its_settings_and_defaults():
    known = fields(plugins.load("controller", "transfer_bo"))[1:]
    shown = {name: default for name, default, _ in rows("transfer_bo.md", "setting")}
    assert shown == {field.name: str(field.default).lower() for field in known}


def test_the_page_of_transfer_bo_has_the_numbers_of_every_hypothesis():
    every = gp_members.hypotheses(torch.tensor([1.0]))
    weights = torch.stack([every.w_rbf, every.w_task_rbf, every.w_one_hot, every.w_pairs, every.w_linear], 1)
    shown = torch.tensor([[float(x) for x in row[1:]] for row in rows("transfer_bo.md", "kernel weights")])
    assert torch.equal(weights.unique(dim=0).float(), shown.unique(dim=0))
    several = {f"{index:g}": every.take(every.mean_index == index) for index in (-1, 0)}
    cold, along = (several["-1"].take((several["-1"].component_var > 0) == kind) for kind in (False, True))
    for row, kind in zip(rows("transfer_bo.md", "hypotheses"), (cold, several["0"], along), strict=True):
        for cell, field in zip(row[2:5], (kind.signal_var, kind.component_var, kind.noise_ratio)):
            stated = [float(x) for x in cell.split(",")]
            assert field.tolist() == (stated if len(stated) > 1 else stated * len(field)), row
        assert f"{kind.log_prior.exp().sum():.1f}" == re.findall(r"0\.\d", row[5])[0]


def test_every_tag_of_tensorboard_is_explained(nas, tmp_path):
    done = nas(
        "search", "--task", "own201/digits", "--controller", "reinforce", "--seeds", 2, "--evals", 3, "--name", "r"
    )
    assert done.returncode == 0, done.stderr
    found = EventAccumulator(str(tmp_path / "runs" / "r")).Reload().Tags()
    explained = [
        re.sub("DECISION|OPTION", "[^/]+", tag).replace("/N/", r"/\d+/") for tag, _ in rows("transfer_bo.md", "tag")
    ]
    for tag in (*found["scalars"], *found["images"]):
        assert any(re.fullmatch(pattern, tag) for pattern in explained), tag


def test_the_reference_has_every_component():
    text = (ROOT / "docs" / "api" / "components.md").read_text()
    for kind in plugins.KINDS:
        for name in plugins.names(kind):
            component = plugins.load(kind, name)
            assert f"::: {component.__module__}.{component.__name__}\n" in text, f"{kind} {name} is missing"


def test_every_link_between_pages_leads_to_a_file():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_is_short_and_shows_five_figures_at_most():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 100
    assert len(re.findall(r"^\|[-:| ]+\|$", text, re.MULTILINE)) <= 5
