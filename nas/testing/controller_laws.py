"""Laws of controllers, on a synthetic task in the space of NAS-Bench-201.

A component is a class; what is built from it is `component(space)`.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from safetensors.torch import load, save

from nas import plugins
from nas.testing import synthetic_scores, toys
from nas.testing.large_space import LargeSpace
from nas.testing.sign_test import ERROR, p_value

_BATCHES = (1, 3, 40)
_LOOKS = (16, 64, 256)
"""Searches after which it is asked whether they are better than random ones; slow controllers are told by the first few."""


def _made(component: Any) -> Any:
    return component(plugins.load("space", "nasbench201")())


def fields_have_defaults(component: Any) -> None:
    """Its first field is the space; every other field has a default."""
    first, *others = inspect.signature(component).parameters.values()
    assert first.name == "space", f"the first field is '{first.name}', not 'space'"
    bare = [p.name for p in others if p.default is p.empty]
    assert not bare, f"field '{bare[0]}' has no default"


def state_is_tensors(component: Any) -> None:
    """Every leaf of its state is a tensor that leads with the seeds; `seeds` and `step` are int64 [S]."""
    controller = _made(component)
    _, _, state = toys.walk(controller, toys.evaluate(controller.space), torch.arange(5), 2, steps=3)
    for path, leaf in toys.leaves(state):
        assert leaf is None or torch.is_tensor(leaf), f"state.{path} is a {type(leaf).__name__}, not a tensor"
        assert leaf is None or leaf.shape[:1] == (5,), f"state.{path} has shape {list(leaf.shape)} for 5 seeds"
    for name in ("seeds", "step"):
        leaf = getattr(state, name, None)
        assert leaf is not None, f"the state has no '{name}'"
        assert leaf.dtype == torch.int64, f"state.{name} is {leaf.dtype}, not int64"
        assert leaf.shape == (5,), f"state.{name} has shape {list(leaf.shape)} for 5 seeds"


def proposals_are_valid(component: Any) -> None:
    """Every proposed architecture is int64 [S, B, D] and valid, also where evaluations fail."""
    for name in plugins.names("space"):
        controller = component(plugins.load("space", name)())
        run = toys.evaluate(controller.space, failing=0.1)
        archs, *_ = toys.walk(controller, run, torch.arange(3), 4, steps=12)
        assert archs.dtype == torch.int64, f"archs are {archs.dtype}, not int64"
        assert archs.shape == (3, 12, 4, len(controller.space.choices)), f"archs have shape {list(archs.shape)}"
        assert controller.space.valid(archs).all(), f"an architecture of space {name} is not valid"


def spaces_without_a_list_are_searched(component: Any) -> None:
    """It searches a space of 5^40 architectures, which cannot be listed and have no index, and resumes there bitwise."""
    controller = component(LargeSpace())
    run, seeds = toys.evaluate(controller.space, failing=0.1), torch.arange(2)
    archs, _, last = toys.walk(controller, run, seeds, 3, steps=6)
    assert controller.space.valid(archs).all(), "an architecture of the large space is not valid"
    _, _, state = toys.walk(controller, run, seeds, 3, steps=4)
    rest, _, again = toys.walk(controller, run, seeds, 3, steps=2, state=state)
    _same(rest, archs[:, 4:], "other architectures after a stop at step 4 in the large space")
    for (path, ours), (_, theirs) in zip(toys.leaves(again), toys.leaves(last)):
        if ours is not None:
            _same(ours, theirs, f"state.{path} differs after a stop at step 4 in the large space")


def proposals_are_functions_of_the_state(component: Any) -> None:
    """A proposal is a function of the state alone: asked twice, it is the same."""
    controller = _made(component)
    _, _, state = toys.walk(controller, toys.evaluate(controller.space), torch.arange(5), 2, steps=5)
    again = [controller.propose(state, 3).archs for _ in range(2)]
    assert torch.equal(*again), (
        "the same state gave two proposals; take noise from (seed, step), never a global generator"
    )


def seeds_search_alike_alone_and_in_a_batch(component: Any) -> None:
    """A seed searches alike alone and in a batch of seeds, bitwise."""
    controller = _made(component)
    run, seeds = toys.evaluate(controller.space), torch.arange(100, 119)
    for batch in _BATCHES:
        steps = 14 if batch < 40 else 3
        archs, _, state = toys.walk(controller, run, seeds, batch, steps)
        for some in (slice(0, 1), slice(5, 12), slice(18, 19)):
            fewer, _, smaller = toys.walk(controller, run, seeds[some], batch, steps)
            _same(fewer, archs[some], f"{len(fewer)} seeds propose other architectures than among 19, batch {batch}")
            for (path, ours), (_, theirs) in zip(toys.leaves(smaller), toys.leaves(state)):
                if ours is not None:
                    _same(ours, theirs[some], f"state.{path} differs between {len(fewer)} seeds and 19, batch {batch}")


def seeds_do_not_depend_on_their_place(component: Any) -> None:
    """A seed does not depend on its place among the seeds."""
    controller = _made(component)
    run, seeds = toys.evaluate(controller.space), torch.tensor([3, 1, 4, 15, 9, 2, 6])
    archs, *_ = toys.walk(controller, run, seeds, 2, steps=12)
    turned, *_ = toys.walk(controller, run, seeds.flip(0), 2, steps=12)
    _same(turned.flip(0), archs, "the seeds in reverse order search otherwise")


def seeds_differ(component: Any) -> None:
    """Noise comes from the seed: a controller that draws at all draws otherwise for another seed."""
    controller = _made(component)
    run = toys.evaluate(controller.space)
    archs, *_ = toys.walk(controller, run, torch.arange(8), 2, steps=12)
    apart = torch.tensor([not torch.equal(archs[0], other) for other in archs[1:]])
    assert apart.all() or not apart.any(), f"{int((~apart).sum())} of 7 other seeds search just as seed 0 does"


def resumes_bitwise(component: Any) -> None:
    """A search resumes from a saved state as if it had never stopped, bitwise."""
    controller = _made(component)
    run, seeds = toys.evaluate(controller.space, failing=0.1), torch.arange(3)
    for batch in _BATCHES:
        before, after = (9, 7) if batch < 40 else (2, 2)
        whole, _, last = toys.walk(controller, run, seeds, batch, before + after)
        _, _, state = toys.walk(controller, run, seeds, batch, before)
        held = {path: leaf.contiguous() for path, leaf in toys.leaves(state) if leaf is not None}
        stored, paths = load(save(held)), iter(held)
        restored = toys.rebuild(state, lambda _, stored=stored, paths=paths: stored[next(paths)])
        rest, _, again = toys.walk(controller, run, seeds, batch, after, state=restored)
        _same(rest, whole[:, before:], f"other architectures after a stop at step {before}, batch {batch}")
        for (path, ours), (_, theirs) in zip(toys.leaves(again), toys.leaves(last)):
            if ours is not None:
                _same(ours, theirs, f"state.{path} differs after a stop at step {before}, batch {batch}")


def failures_are_survived(component: Any) -> None:
    """A NaN score, a failed evaluation, is survived; also where every evaluation fails."""
    controller = _made(component)
    for failing in (0.5, 1.1):
        run = toys.evaluate(controller.space, failing=failing)
        archs, *_ = toys.walk(controller, run, torch.arange(3), 2, steps=15)
        assert controller.space.valid(archs).all(), "an architecture is not valid once evaluations have failed"


def learning_ends_above_random_search(component: Any) -> None:
    """One that learns from scores proposes better ones in the end than random search, in more searches than luck explains."""
    if learns_from_scores(component):
        ends_above_random_search(component)


def failures_are_not_sought(component: Any) -> None:
    """A NaN score is never the best: in the end no more proposals fail than those of random search."""
    more = fewer = done = 0
    for count in _LOOKS[:2]:
        (_, ours), (_, random) = _two_searches(component, torch.arange(done, count), failing=True)
        more, fewer = more + int((ours.failed > random.failed).sum()), fewer + int((ours.failed < random.failed).sum())
        done = count
        assert p_value(more, fewer) >= ERROR / 2, (
            f"in the last quarter of {synthetic_scores.EVALS} evaluations, more proposals fail than those of random search in "
            f"{more} of {count} searches, and fewer in {fewer}"
        )
        if more <= fewer:
            return


def learns_from_scores(component: Any) -> bool:
    """Whether a controller without a prior proposes otherwise where worst and best are exchanged."""
    controller, seeds = _made(component), torch.arange(4)
    runs = (synthetic_scores.evaluate(controller.space, seeds, sign=sign) for sign in (1.0, -1.0))
    (archs, _), (turned, _) = (synthetic_scores.walk(controller, run, seeds) for run in runs)
    return not torch.equal(archs, turned)


def ends_above_random_search(component: Any) -> None:
    """Raises `AssertionError` unless a sign test says so, after as few searches as it can."""
    better = worse = done = 0
    for count in _LOOKS:
        (_, ours), (_, random) = _two_searches(component, torch.arange(done, count))
        better, worse = better + int((ours.score > random.score).sum()), worse + int((ours.score < random.score).sum())
        done = count
        # Each look has its share of the error, as each may be taken in by luck.
        if p_value(better, worse) < ERROR / len(_LOOKS):
            return
        if p_value(worse, better) < ERROR / len(_LOOKS):
            break
    raise AssertionError(
        f"in the last quarter of {synthetic_scores.EVALS} evaluations, proposals score above those of random search in {better} "
        f"searches of synthetic tasks and below in {worse}"
    )


def _two_searches(component: Any, seeds: torch.Tensor, **options: bool) -> Any:
    """Of a controller and of random search, on the same synthetic tasks."""
    made = (_made(each) for each in (component, plugins.load("controller", "random_search")))
    return [synthetic_scores.walk(c, synthetic_scores.evaluate(c.space, seeds, **options), seeds) for c in made]


def _same(ours: torch.Tensor, theirs: torch.Tensor, failure: str) -> None:
    assert torch.equal(ours.nan_to_num(-1), theirs.nan_to_num(-1)), failure


LAWS = [
    fields_have_defaults,
    state_is_tensors,
    proposals_are_valid,
    spaces_without_a_list_are_searched,
    proposals_are_functions_of_the_state,
    seeds_search_alike_alone_and_in_a_batch,
    seeds_do_not_depend_on_their_place,
    seeds_differ,
    resumes_bitwise,
    failures_are_survived,
    failures_are_not_sought,
    learning_ends_above_random_search,
]
