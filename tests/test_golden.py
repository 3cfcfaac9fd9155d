"""What the algorithms give at fixed inputs is what `data/golden.json` keeps; see `golden.py`."""

from __future__ import annotations

import json

import pytest

from tests import golden

KEPT = json.loads(golden.FILE.read_text())


@pytest.mark.parametrize("name", golden.WHOLE_NUMBERS)
def test_a_search_by_whole_numbers_proposes_what_it_proposed(name):
    assert golden.proposals(*golden.WHOLE_NUMBERS[name]) == KEPT["proposals"][name]


@pytest.mark.parametrize("name", golden.NUMBERS)
def test_numbers_at_fixed_inputs_are_those_kept(name):
    found = golden.NUMBERS[name]().double().flatten().tolist()
    assert found == pytest.approx(KEPT["numbers"][name], rel=1e-3, abs=1e-5)
