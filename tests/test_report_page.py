"""`report.html`: valid, self-contained, and what others named is text in it."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy
import pytest
import torch
from PIL import Image

from nas.run import choice, comparison, finish, front, report, session, step_log, store, test_pictures, trained_network
from nas.run.comparison import FOUND, LEARNED, Row
from nas.run.config import RunConfig
from nas.training import metrics

SMALL = {
    "epochs": "1", "channels": "2", "cells": "1", "examples": "64", "final_epochs": "1", "final_channels": "2",
    "final_cells": "1",
}  # fmt: skip
VOID = {"meta", "link", "br", "hr", "img", "input"}
HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e"


class Page(HTMLParser):
    """Reads a page and keeps what the tests ask for; an element that is not closed, or closed twice, fails."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += "" if self.open[-1:] == ["style"] else data

    @property
    def sections(self):
        return [attrs["id"] for tag, attrs in self.tags if tag == "section"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished run on digits, and what it was made with."""
    asked = RunConfig(controller="random_search", evals=8, batch=4, training_options=SMALL, leaders=2, comparison=False)
    setup = session.load(asked)
    with session.start(tmp_path_factory.mktemp("page") / "run", asked, setup) as run:
        list(session.resume(run, setup))
        with pytest.MonkeyPatch.context() as patch:
            # It takes seconds, and the page shows nothing of it.
            patch.setattr(trained_network, "write_export", lambda *_, **__: None)
            finish.finish(run, setup)
        yield run, setup


def shown(run):
    return Page(report.page(run))


def is_self_contained(page):
    """No element that loads or runs anything, and no address but those of data."""
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form"), tag
        assert not [name for name in attrs if name.startswith("on")], attrs
        assert all(attrs[name].startswith("data:") for name in ("src", "href", "xlink:href", "data") if name in attrs)


def test_a_search_on_images_ends_with_a_page_that_has_all_sections_and_needs_nothing_else(made):
    run, _ = made
    text = (run.folder / report.FILE).read_text(encoding="utf-8")
    page = Page(text)
    assert page.sections == [
        "pictures", "search", "front", "network", "use", "classes", "mistakes", "confusion", "made",
    ]  # fmt: skip
    is_self_contained(page)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    winner = trained_network.load(run.folder)
    assert f"{winner.metrics['test_accuracy']:.2f}% of 359 test images right" in page.text
    assert winner.arch in page.text
    assert store.get_meta(run, "provenance")["data"] in page.text
    assert f"nas export {run.folder} --to network" in page.text
    assert "max-width: 100%" in text or "width=device-width" in text
    assert "prefers-color-scheme: dark" in text


def test_every_evaluation_is_a_point_of_the_search_and_every_function_one_of_the_front(made):
    run, _ = made
    text = report.page(run)
    points = front.points(run)
    curve, sizes = (re.search(rf'<section id="{name}">.*?</svg>', text, re.S).group() for name in ("search", "front"))
    assert curve.count('class="dot"') == step_log.history(run).score.numel() == 6  # Two of the eight train the leaders.
    assert sizes.count('class="dot"') + sizes.count('class="on"') == len(points)
    assert sizes.count('class="on"') == sum(point.on_front for point in points)
    assert sizes.count('class="picked"') == 1


def test_the_score_is_that_of_the_network_found_where_another_one_is_handed_out(made, monkeypatch):
    run, _ = made
    winner, note = trained_network.load(run.folder), "of the network found, at evaluation"
    assert note not in Page(report.page(run)).text
    for other in (
        winner._replace(members=(winner.arch, winner.arch)),
        winner._replace(arch="|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"),
    ):
        monkeypatch.setattr(trained_network, "load", lambda _, other=other: other)
        assert note in Page(report.page(run)).text


def test_the_leaders_stand_with_every_score(made):
    run, _ = made
    (chosen,) = choice.choices(run, step_log.history(run))
    text = Page(report.page(run)).text
    assert len(chosen.leaders) == 2
    for leader in chosen.leaders:
        assert ", ".join(f"{score:.2f}" for score in leader.scores) in text
        assert leader.arch in text
    assert chosen.noise.sentence() in text


def test_the_pictures_are_the_images_with_the_most_probable_mistakes_and_right_answers(made):
    run, setup = made
    winner, data = trained_network.load(run.folder), setup.evaluator.data
    probabilities, seen = winner.metrics["test_probabilities"].max(-1)
    wrong, right = test_pictures.load(run.folder, winner)
    mistaken = (seen != data.y_test).nonzero()[:, 0]
    expected = mistaken[probabilities[mistaken].argsort(descending=True, stable=True)][:12].tolist()
    assert [picture.place for picture in wrong] == expected
    assert len({picture.truth for picture in right}) == len(set(seen[seen == data.y_test].tolist()))
    for picture in wrong + right:
        pixels = Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2])))
        assert numpy.asarray(pixels).tolist() == data.x_test[picture.place, 0].tolist()
        assert picture.truth == data.class_names[data.y_test[picture.place]]
        assert (picture.truth == picture.answer) == (picture in right)
    # Of another network there are none.
    assert test_pictures.load(run.folder, winner._replace(arch="another")) == ([], [])


def named(run, names, monkeypatch):
    """The run as if its network had been tested on two images of each of these classes; every second one is wrong."""
    K = len(names)
    truth = torch.arange(K).repeat_interleave(2)
    logits = torch.zeros(2 * K, K)
    logits[torch.arange(2 * K), torch.where(torch.arange(2 * K) % 2 == 0, truth, (truth + 1) % K)] = 3.0
    winner = trained_network.load(run.folder)
    winner = winner._replace(class_names=tuple(names), metrics=metrics.test_metrics(logits, truth) | {"loss": [1.0]})
    monkeypatch.setattr(trained_network, "load", lambda _folder: winner)


@pytest.mark.parametrize("count", [3, 100])
def test_names_are_text_whatever_they_are(made, count, monkeypatch):
    run, _ = made
    names = [HOSTILE, "ลายไทยภาษา" * 12, *(f"{k} 猫 قطة {'x' * 200}" for k in range(count - 2))]
    named(run, names, monkeypatch)
    page = shown(run)
    is_self_contained(page)
    assert "<script>alert(1)</script>" in page.text
    assert "\u202e" not in page.text
    assert "\\u202e" in page.text
    assert all(name in page.text for name in names[1:])


def test_many_classes_are_squares_and_few_are_numbers(made, monkeypatch):
    run, _ = made
    for count, squares in ((20, False), (21, True)):
        named(run, [f"class {k}" for k in range(count)], monkeypatch)
        text = report.page(run)
        assert ('class="squares"' in text) == squares
        assert ('class="matrix"' in text) != squares
        # Each class is once right, and once taken for the next.
        assert len(re.findall(r'class="right"', text)) == len(re.findall(r'class="wrong"', text)) == count


def test_the_comparison_is_shown_where_there_is_one_and_its_unknown_figures_are_dashes(made, monkeypatch):
    run, _ = made
    assert "comparison" not in shown(run).sections
    rows = [
        Row(HOSTILE, LEARNED, None, 12.5, 10.0, [7.3, 13.5], 10.5, 1.8, None, None, 0.0, "01"),
        Row("the network found", FOUND, "arch", 90.0, 91.25, [88.0, 94.0], 91.0, 90.5, 12345, 0.4567, 130.0, "11"),
    ]
    document = {
        "rows": [row._asdict() for row in rows], "sentence": "The search was worth it.", "handed_out": "the network found",
        "latency_by": "ONNX Runtime", "metric": "accuracy",
    }  # fmt: skip
    monkeypatch.setattr(comparison, "read", lambda _run: document)
    text = report.page(run)
    page = Page(text)
    assert page.sections[0] == "comparison"
    is_self_contained(page)
    for words in ("The search was worth it.", "91.25%", "88.0 to 94.0", "12,345", "2 minutes", "0.457", "ONNX Runtime"):
        assert words in page.text
    cells = re.findall(r'<td class="number">([^<]*)', text[text.index('id="comparison"') : text.index("</section>")])
    assert cells == [
        "12.50", "10.00%", "10.50%", "1.80", "-", "-", "0.0 s", "90.00", "91.25%", "91.00%", "90.50", "12,345", "0.457",
        "2 minutes",
    ]  # fmt: skip
    assert text.count('class="chosen"') == 1


def test_a_run_of_a_table_has_a_page_without_pictures_and_the_command_writes_it_again(nas, tmp_path):
    assert (
        nas("search", "--task", "own201/digits", "--controller", "evolution", "--evals", 12, "--name", "one").returncode
        == 0
    )
    with store.open_run(tmp_path / "runs" / "one") as run:
        own = (run.folder / report.FILE).read_text(encoding="utf-8")
        page = shown(run)
        assert page.sections == ["search", "front", "network", "use", "made"]
        is_self_contained(page)
        assert "rank " in page.text
    done = nas("report", "one", "--to", tmp_path / "page.html")
    assert (done.returncode, done.stdout.strip()) == (0, str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == own


def test_a_page_is_not_written_where_there_is_no_folder(nas, tmp_path):
    asked = RunConfig("own201/digits", "evolution", evals=2)
    setup = session.load(asked)
    with session.start(tmp_path / "run", asked, setup) as run:
        list(session.resume(run, setup))
    done = nas("report", tmp_path / "run", "--to", tmp_path / "none" / "page.html")
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1)
    assert f"There is no folder '{tmp_path / 'none'}'" in done.stderr
    assert not (tmp_path / "none").exists()


def test_of_a_run_without_a_success_there_is_nothing_to_report(nas, tmp_path):
    asked = RunConfig("own201/digits", "evolution", evals=4)
    session.start(tmp_path / "run", asked, session.load(asked)).close()
    done = nas("report", tmp_path / "run")
    assert done.returncode == 2
    assert done.stderr.strip().endswith("has no evaluation that succeeded; there is nothing to report.")
