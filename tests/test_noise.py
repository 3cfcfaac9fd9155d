"""The noise ceiling of a table: against numbers made with a known noise, against scipy, against the published table."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr

from nas.tables.seed_noise import noise


def test_the_noise_of_made_up_figures_is_the_noise_they_were_made_with():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4000, 1, generator=generator) * 3 + 2 * torch.randn(4000, 3, generator=generator)
    found = noise(values)
    assert found.deviation == pytest.approx(2, rel=0.03)
    assert found.ceiling == pytest.approx(6 / torch.pi * torch.asin(torch.tensor(9 / 13 / 2)).item(), abs=0.02)


def test_ties_and_missing_seeds_are_treated_as_scipy_does():
    generator = torch.Generator().manual_seed(1)
    values = torch.randint(0, 5, (60, 2), generator=generator).float()
    expected = spearmanr(values[10:, 0], values[10:, 1])[0]
    values[:10, 1] = torch.nan
    found = noise(values)
    assert found.archs == 50
    assert found.ceiling == pytest.approx(expected, abs=1e-9)


def test_one_seed_has_no_noise_to_tell():
    assert noise(torch.randn(10)) is None
    assert noise(torch.randn(10, 1)) is None
