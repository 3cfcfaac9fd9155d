"""What is written beside the curves of a comparison."""

import pytest

from nas.compare import figures


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
