"""What a run keeps is looked at all the way down: anything missing or of another type is one line."""

import copy
import random

import pytest

from nas.run.kept_shapes import KEPT, is_of

NOISE = {"distinct": 3, "tied": 1, "within": 2, "margin": 1.5, "validation": 0.5, "seeds": None, "images": 40}
WHOLE = {
    "test_place": {"functions": 9, "seeds": [[0.5, 3], None]},
    "leaders": {
        "evaluations": 8, "wall": 1, "searches": [{"leaders": [{"arch": "a", "at": 2, "scores": [1.0, None]}], "noise": NOISE}],
    },
    "provenance": {"version": "1", "data": None, "prior": "x", "engines": ["e"], "task": "t", "prior_file": "shipped"},
    "report": [1.5, None],
    "comparison_plan": {"share": 1.0},
    "final_shares": [0.25, 1.0],
}  # fmt: skip


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@pytest.mark.parametrize("key", WHOLE)
def test_what_is_whole_is_taken_and_every_other_type_at_every_place_is_not(key):
    whole = WHOLE[key]
    assert is_of(whole, KEPT[key])
    for path in places(whole):
        damaged = {"_": copy.deepcopy(whole)}
        at, last = damaged, "_"
        for step in path:
            at, last = at[last], step
        at[last] = random.Random(str(path)).choice([True, object(), {"no": "such"}])
        assert not is_of(damaged["_"], KEPT[key]), path
        if isinstance(at, dict) and last != "_":
            del at[last]
            assert not is_of(damaged["_"], KEPT[key]), path
