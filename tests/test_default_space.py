"""Which space a search gets that names none: whole pipelines for somebody's own images within minutes."""

from __future__ import annotations

import pytest

from nas.commands import _default_space
from nas.run import priors

MINUTES = {"minutes": 10.0, "controller": None, "evaluator": None, "aim": ""}


@pytest.mark.parametrize("task", ["folder:photos", "npz:photos.npz", "hf:somebody/photos", "npz:a.npz@params<=20k"])
def test_own_images_within_minutes_get_whole_pipelines(task):
    assert _default_space.named(task, MINUTES, {}) == {"space": "pipeline"}
    assert _default_space.named(task, MINUTES, {"metric": "macro_f1", "seed": "3"}) == {"space": "pipeline"}
    assert _default_space.named(task, MINUTES, {"balanced": "true"}) == {"space": "pipeline"}


@pytest.mark.parametrize("task", ["digits", "own201/digits", "few_shot:photos", "evaluator:my.py:Mine/x"])
def test_what_is_not_somebodys_images_keeps_its_own(task):
    assert _default_space.named(task, MINUTES, {}) == {}


@pytest.mark.parametrize(
    "more", [{"minutes": None}, {"controller": "evolution"}, {"evaluator": "supernet"}, {"aim": "accuracy,params"}]
)
def test_who_asks_for_another_search_of_cells_gets_it(more):
    assert _default_space.named("folder:photos", MINUTES | more, {}) == {}


@pytest.mark.parametrize(
    "setting", [{"epochs": "3"}, {"teacher": "wide"}, {"space": "nasbench201"}, {"final_epochs": "9"}]
)
def test_who_sets_what_trainings_of_cells_have_gets_cells(setting):
    assert _default_space.named("folder:photos", MINUTES, setting) == {}


@pytest.mark.parametrize("minutes", [None, 10.0])
def test_a_prior_from_a_file_asks_for_the_space_that_it_was_learned_on(minutes):
    asked = MINUTES | {"minutes": minutes}
    of_pipelines, of_cells = (asked | {"prior": str(file)} for file in (priors.SHIPPED_PIPELINES, priors.SHIPPED))
    assert _default_space.named("folder:photos", of_pipelines, {}) == {"space": "pipeline"}
    assert _default_space.named("folder:photos", of_cells, {}) == {}
    assert _default_space.named("folder:photos", of_pipelines | {"controller": "evolution"}, {}) == {}
    for name in ("shipped", "none"):
        assert bool(_default_space.named("folder:photos", asked | {"prior": name}, {})) == bool(minutes)
