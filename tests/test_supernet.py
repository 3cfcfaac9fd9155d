"""Shared weights: compiled code and PyTorch agree, slopes are derivatives, seeds stay apart, a run resumes bitwise."""

import pytest
import torch

from controller import Proposal
from nas import loop, plugins
from nas.evaluators import _supernet_images
from nas.evaluators.supernet import Supernet
from nas.run import choice, finish, session, state_tree, step_log, store
from nas.run.config import RunConfig
from nas.testing import check
from nas.training import supernet
from nas.training.supernet_autograd import AutogradSupernet
from nas.training.supernet_program import SupernetPrograms, Weights
from search_spaces import Skeleton, Task, UserError, _noise
from search_spaces.nasbench201 import NasBench201

SPACE, TASK = NasBench201(), Task("small", (3, 7, 5), 4)
SKELETON = Skeleton(4, 1, 1)
FLOAT64 = torch.float64
OPTIONS = {"epochs": "1", "final_epochs": "1", "final_cells": "1", "shared_evals": "4", "shared_steps": "1"}


def _one_hot(arch):
    return torch.nn.functional.one_hot(torch.tensor(arch), 5).to(FLOAT64)


def _mixture(seed=0):
    return torch.rand(6, 5, generator=torch.Generator().manual_seed(seed), dtype=FLOAT64)


MIXTURES = {
    "mixture": _mixture(),
    "resnet": _one_hot([3, 0, 3, 1, 0, 1]),
    "dead edges": _one_hot([0, 1, 4, 3, 0, 0]),
    "nothing": _one_hot([0] * 6),
}


@pytest.fixture
def nets():
    """The two implementations, in float64."""
    compiled = supernet.make(SPACE.operations, TASK, SKELETON, dtype=FLOAT64)
    if not isinstance(compiled, supernet.CompiledSupernet):
        pytest.skip("needs a C compiler")
    return compiled, AutogradSupernet(SupernetPrograms(SPACE.operations, TASK, SKELETON), torch.device("cpu"))


def _given():
    generator = torch.Generator().manual_seed(1)
    params = supernet.initial(SPACE.operations, TASK, SKELETON, torch.tensor([3]))[0].double()
    noise = torch.randn(2, len(params), generator=generator, dtype=FLOAT64)
    x = torch.randn(2, 9, *TASK.input_shape, generator=generator, dtype=FLOAT64)
    return Weights(params + 0.05 * noise[0], 0.1 * noise[1]), x, torch.randint(4, (2, 9), generator=generator)


@pytest.mark.parametrize("name", MIXTURES)
def test_compiled_code_and_pytorch_agree(name, nets):
    weights, x, y = _given()
    ours, theirs = (net.score(weights, MIXTURES[name], x, y, slope=True) for net in nets)
    for one, other in zip(ours, theirs):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)
    (ours, loss), (theirs, other) = (net.learn(weights, MIXTURES[name], x, y, [0.1, 0.05], 0.9, 5e-4) for net in nets)
    torch.testing.assert_close((*ours, loss), (*theirs, other), rtol=0, atol=1e-9)


def test_the_slope_is_the_derivative_of_the_loss_by_each_weight(nets):
    weights, x, y = _given()
    net, mixture, step = nets[0], _mixture(), 1e-5
    slope = net.score(weights, mixture, x, y, slope=True).slope
    for d in range(6):
        for c in range(5):
            moved = torch.zeros_like(mixture)
            moved[d, c] = step
            high, low = (net.score(weights, mixture + s * moved, x, y, slope=False).loss.mean() for s in (1, -1))
            assert (high - low) / (2 * step) == pytest.approx(slope[d, c].item(), abs=1e-7)
    assert (slope[:, 0] == 0).all(), "nothing comes through `none`"


@pytest.mark.parametrize("name", MIXTURES)
def test_the_gradients_of_a_batch_are_what_it_learns_by_and_the_slope_of_its_score(name, nets):
    weights, x, y = _given()
    for net in nets:
        by_weight, by_mixture = net.gradients(weights.params, MIXTURES[name], x[:1], y[:1])
        resting = Weights(weights.params, torch.zeros_like(weights.params))
        learned, _ = net.learn(resting, MIXTURES[name], x[:1], y[:1], [0.1], 0.0, 0.0)
        torch.testing.assert_close(by_weight, learned.momentum, rtol=0, atol=1e-12)
        slope = net.score(weights, MIXTURES[name], x[:1], y[:1], slope=True).slope
        torch.testing.assert_close(by_mixture, slope, rtol=0, atol=1e-12)


def test_a_path_is_the_network_of_its_cell(nets):
    """With the supernet's weights in the space's own network, in training mode."""
    weights, x, y = _given()
    arch = torch.tensor([3, 2, 4, 1, 0, 3])
    network = NasBench201(*SKELETON).build(arch, TASK).double().train()
    shared = nets[0].programs.whole.program.views(weights.params)
    state = network.state_dict()
    for name in state:
        place, _, end = name.partition(".edges.")
        edge = end.partition(".")[0]
        key = f"{place}.edges.{edge}.{SPACE.operations[0][arch[int(edge)]]}{end[len(edge) :]}" if end else name
        if key in shared:
            state[name] = shared[key]
    network.load_state_dict(state)
    scored = nets[0].score(weights, torch.nn.functional.one_hot(arch, 5).to(FLOAT64), x[:1], y[:1], slope=False)
    torch.testing.assert_close(scored.logits[0], network(x[0]).detach(), rtol=0, atol=1e-9)


def test_what_a_path_does_not_use_rests(nets):
    weights, x, y = _given()
    mixture = MIXTURES["resnet"]
    after, _ = nets[0].learn(weights, mixture, x, y, [0.1, 0.1], 0.9, 5e-4)
    for was, now in zip(weights, after):
        moved = nets[0].programs.whole.program.views(was != now)
        for name, places in moved.items():
            used = ".edges." not in name or any(f".edges.{e}.nor_conv_3x3." in name for e in (0, 2))
            assert bool(places.any()) == used, name


def test_the_evaluator_keeps_every_law():
    assert [each for each in check(Supernet) if each.failure] == []


def test_weights_train_by_the_first_evaluations_and_then_rest():
    evaluator = Supernet.of("digits", **OPTIONS)
    seeds, archs = torch.arange(2), torch.tensor([[[3, 0, 3, 1, 0, 1], [1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2]]] * 2)
    evaluate, memory = evaluator.load_with_memory(seeds), evaluator.begin(seeds)
    results, after = evaluate(Proposal(archs), memory)
    assert results.provisional.all()
    assert not torch.equal(after.weights, memory.weights)
    results, last = evaluate(Proposal(archs), after)
    assert results.provisional.tolist() == [[True, False, False]] * 2
    results, same = evaluate(Proposal(archs), last)
    assert not results.provisional.any()
    assert torch.equal(same.weights, last.weights)
    again, _ = evaluate(Proposal(archs.flip(1)), same)
    assert torch.equal(again.score.flip(1), results.score), (
        "one-shot scores are of the weights and the architecture alone"
    )
    # All validation images, each once: a score is a whole number of them.
    hits = results.score / 100 * len(evaluator.alone.data.y_valid)
    torch.testing.assert_close(hits, hits.round(), rtol=0, atol=1e-3)


def test_a_search_is_stored_with_its_weights_resumed_bitwise_and_trained_to_the_end(tmp_path):
    config = RunConfig(
        task="digits", evaluator="supernet", controller="gdas", evals=6, seeds=2, training_options=OPTIONS,
        controller_options={"steps": "4"},
    )  # fmt: skip
    found = []
    for name, stop in (("whole", 0), ("parts", 3)):
        session.start(tmp_path / name, config, session.load(config)).close()
        for most in (stop, 100):
            with store.open_run(tmp_path / name, write=True) as run:
                setup = session.load(config)
                for step, _ in enumerate(session.resume(run, setup) if most else (), 1):
                    if step == most:
                        break
                memory = step_log.memory(run, setup.evaluator.begin(setup.seeds))
                found.append((step_log.history(run), memory, step_log.state(run, session.initial_state(setup))))
    (_, (past, memory, state)), (_, (parts, again, resumed)) = found[:2], found[2:]
    assert torch.equal(past.archs, parts.archs)
    assert torch.equal(past.score, parts.score)
    ours, theirs = state_tree.leaves(state, memory), state_tree.leaves(resumed, again)
    assert all(torch.equal(leaf.nan_to_num(-1), theirs[path].nan_to_num(-1)) for path, leaf in ours.items())
    with store.open_run(tmp_path / "parts", write=True) as run:
        finish.write_report(run, session.load(config))
        handed_out = choice.handed_out(run, past, session.best(config, past))
        assert (handed_out.at > 4).all(), "no score of weights under training is chosen by"
        assert all(0 <= accuracy <= 100 for accuracy in store.get_meta(run, "report"))


def test_a_slope_that_is_not_read_is_not_computed_and_changes_no_score():
    for settings in ({}, {"slope_order": "2"}):
        evaluator, seeds = Supernet.of("digits", **OPTIONS, **settings), torch.arange(2)
        evaluate, memory = evaluator.load_with_memory(seeds), evaluator.begin(seeds)
        whole = Proposal(torch.zeros(2, 2, 6, dtype=torch.long), weights=_mixture().float().expand(2, 2, 6, 5))
        read = torch.tensor([[True, False], [False, True]])
        (every, after), (some, same) = (evaluate(p, memory) for p in (whole, whole._replace(slopes=read)))
        assert torch.equal(every.score, some.score)
        assert torch.equal(after.weights, same.weights)
        assert torch.equal(every.slope[read], some.slope[read])
        assert some.slope[~read].isnan().all()
        assert torch.equal(every.provisional, some.provisional)


def test_the_order_of_an_epoch_is_drawn_once_and_steps_in_pieces_see_the_same_images(monkeypatch):
    data, drawn, bits = Supernet.of("digits", **OPTIONS).images.data, [], _noise.bits
    images = _supernet_images.SupernetImages(data, 60, 16, 0)
    assert len(images.learned[1]) == 60

    def counted(seeds, epoch, *shape, stream):
        drawn.append(epoch)
        return bits(seeds, epoch, *shape, stream=stream)

    monkeypatch.setattr(_noise, "bits", counted)
    _supernet_images._order.cache_clear()
    whole = images.training(5, range(9))
    pieces = [images.training(5, range(step, step + 1)) for step in range(9)]
    assert drawn == [0, 1, 2], "three batches of 16 of 60 images are an epoch"
    for part, together in zip(zip(*pieces), whole):
        assert torch.equal(torch.cat(part), together)
    # Every image at most once in an epoch.
    assert len(whole[0][:3].flatten(0, 1).flatten(1).unique(dim=0)) == 48


def test_weights_rest_where_a_proposal_asks_for_it_and_are_scored_by_all_images():
    evaluator, seeds = Supernet.of("digits", **OPTIONS), torch.arange(2)
    weights = torch.full((2, 1, 6, 5), 0.2)
    proposal = Proposal(
        torch.zeros(2, 1, 6, dtype=torch.long), weights=weights, resting=torch.tensor([[True], [False]])
    )
    evaluate, memory = evaluator.load_with_memory(seeds), evaluator.begin(seeds)
    results, after = evaluate(proposal, memory)
    assert torch.equal(after.weights[0], memory.weights[0])
    assert not torch.equal(after.weights[1], memory.weights[1])
    hits = results.score[0] / 100 * len(evaluator.alone.data.y_valid)
    torch.testing.assert_close(hits, hits.round(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("settings", [{"slope_order": "2"}, {"partial_channels": "4"}], ids="".join)
def test_seeds_stay_apart_and_resume_bitwise_by_every_kind_of_slope(settings):
    evaluator, controller = (
        Supernet.of("digits", **OPTIONS, **settings),
        plugins.load("controller", "darts")(SPACE, steps=4),
    )

    def searched(seeds, steps, state=None, memory=None):
        evaluate, fresh = loop.load(evaluator, seeds)
        state = controller.begin(evaluator.task, seeds) if state is None else state
        for number, step in enumerate(loop.search(controller, evaluate, state, memory=memory or fresh), 1):
            if number == steps:
                return step.state, step.memory
        return None

    seeds = torch.tensor([7, 2])
    half, whole = searched(seeds, 2), searched(seeds, 4)
    alone, again = searched(seeds[1:], 4), searched(seeds, 2, *half)
    for path, leaf in state_tree.leaves(*whole).items():
        assert torch.equal(leaf.nan_to_num(-1), state_tree.leaves(*again)[path].nan_to_num(-1)), path
        assert torch.equal(leaf[1:].nan_to_num(-1), state_tree.leaves(*alone)[path].nan_to_num(-1)), path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--task", "own201/digits"), "trains on images; task 'own201/digits' looks its scores up"),
        (("--constraint", "params<=20k"), "knows no constraint, and 'params<=20k' is one"),
        (("--leaders", "3"), "scores by shared weights and by trainings do not compare"),
        (("--space", "mobile"), "space 'mobile' has no such network"),
        (("-t", "shared_steps=0"), "--training-option shared_steps is 0; it takes a number above zero"),
    ],
)
def test_what_a_supernet_cannot_do_is_said_in_a_line(options, said, nas, tmp_path):
    done = nas("search", "--task", "digits", "--evaluator", "supernet", "--name", "s", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs" / "s").exists()


def test_a_space_without_cells_is_refused_before_anything_is_read():
    with pytest.raises(UserError, match="has no such network"):
        plugins.load("evaluator", "supernet").of("digits", space="natsbench_size")
