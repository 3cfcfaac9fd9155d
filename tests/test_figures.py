"""What is written beside the curves of a comparison."""

import numpy
import pytest

from nas.compare import curves, figures
from nas.compare.summary import TrialSummary
from nas.compare.trial import TrialSpec


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("evolution", "evolution"),
        ("in_context:prior=shipped", "in_context:prior=shipped"),
        ("in_context:prior=runs/mine/prior.safetensors", "in_context:prior=mine"),
        ("in_context:trust=false:prior=/a/b/c/prior.safetensors", "in_context:trust=false:prior=c"),
        ("in_context:prior=runs/a/prior.safetensors:doubt=0", "in_context:prior=a:doubt=0"),
    ],
)
def test_a_prior_is_named_by_its_folder(name, shown):
    assert figures._short(name) == shown


@pytest.mark.parametrize(
    ("places", "gap", "apart"),
    [
        ([0.5], 0.1, [0.5]),
        ([0.1, 0.5, 0.9], 0.1, [0.1, 0.5, 0.9]),
        ([0.5, 0.5], 0.2, [0.4, 0.6]),
        ([0.0, 0.0, 0.0], 0.2, [0.0, 0.2, 0.4]),
        ([0.2, 1.0, 1.0], 0.1, [0.2, 0.9, 1.0]),
        ([0.3, 0.35, 0.4, 0.9], 0.1, [0.25, 0.35, 0.45, 0.9]),
        ([0.5] * 5, 0.5, [0.0, 0.25, 0.5, 0.75, 1.0]),
    ],
)
def test_names_lie_as_near_to_their_lines_as_a_gap_between_them_allows(places, gap, apart):
    assert figures._spread(places, gap) == pytest.approx(apart)


def summaries():
    """Two controllers of three seeds and four evaluations on one task; one pair of nine ends the other way round."""
    made = []
    for name, best in (
        ("one", [[0, 2, 4, 6], [0, 2, 6, 8], [0, 0, 0, 4]]),
        ("two", [[5, 5, 9, 9], [0, 6, 6, 10], [0, 1, 2, 7]]),
    ):
        best = numpy.array(best, float)
        rows = {"tried": best, "best": best, "report": 100 - best, "seconds": numpy.tile(numpy.arange(1.0, 5), (3, 1))}
        rows |= {"test_regret": 20 - best, "test_rank": 11 - best}
        least = {"top_threshold": numpy.full(3, 9.0), "optimum": numpy.full(3, 10.0), "median": numpy.zeros(3)}
        spec = TrialSpec("own201/digits", name, 3, 4, None)
        empty = dict.fromkeys(TrialSummary._fields) | {"spec": spec, "family": "own201"}
        made.append(TrialSummary(**(empty | rows | least)))
    return made


def test_lines_and_percents_of_the_figures_are_those_of_the_curves(tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(figures, "_save", lambda figure, stem: drawn.update({stem.name: figure}) or [])
    found = summaries()
    figures.draw(found, tmp_path)
    assert set(drawn) == {"regret", "reached", "profile", "report", "test_regret", "seconds", "improvement"}
    kinds = {
        "report": curves.reported,
        "reached": curves.reached,
        "profile": curves.profile,
        "test_regret": curves.test_regret,
    }
    for name, curve in kinds.items():
        (axes,) = drawn[name].axes
        for line, one in zip(axes.lines, found, strict=True):
            x, y, *_ = curve([one])
            assert line.get_xdata().tolist() == pytest.approx(list(x))
            assert line.get_ydata().tolist() == pytest.approx(list(y))
    (axes,) = drawn["regret"].axes
    for line, one in zip(axes.lines, found, strict=True):
        assert line.get_ydata().tolist() == pytest.approx(curves.regret([one])[1].clip(1e-3).tolist())
    assert axes.get_title("left") == "digits"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("evaluations", "regret (1: median of the space)")
    assert not any(text.get_annotation_clip() for text in axes.texts), "names stand outside of the axes"
    assert [band.get_facecolor()[0][3] for band in axes.collections] == [0.15, 0.15]
    (shares,) = drawn["profile"].axes
    assert (shares.get_xscale(), shares.get_yscale()) == ("linear", "linear")
    assert not shares.collections, "a share has no band"
    assert [text.get_text() for text in axes.texts] == ["two", "one"], "named from the bottom up"
    colors = {line.get_color() for line in axes.lines}
    assert len(colors) == 2
    (matrix,) = drawn["improvement"].axes
    assert [text.get_text() for text in matrix.texts] == ["11", "89"]


def test_many_tasks_share_a_panel_by_family():
    one, two = summaries()
    many = [one._replace(spec=one.spec.__class__(f"own201/task{k}", "one", 3, 4, None)) for k in range(7)]
    assert list(figures._panels([one, two])) == ["digits"]
    assert list(figures._panels(many[:6])) == [f"task{k}" for k in range(6)]
    assert {panel: len(members["one"]) for panel, members in figures._panels(many).items()} == {"own201": 7}


def test_panels_stand_three_in_a_row_and_what_is_left_over_is_blank():
    figure, axes = figures._grid(4)
    assert figure.axes[0].get_gridspec().get_geometry() == (2, 3)
    assert [ax.axison for ax in axes] == [True] * 4 + [False] * 2
    assert figures._grid(2)[0].axes[0].get_gridspec().get_geometry() == (1, 2)
