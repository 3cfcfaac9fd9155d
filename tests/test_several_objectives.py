"""Several objectives in one search: dominance and hypervolume by hand, fronts, resumption, each door."""

import itertools
import json

import pytest
import torch

from controller import Proposal, Results
from controller.candidates.scalarization import Scalarization
from controller.models import pareto
from nas import plugins, tasks
from nas.compare import front_share
from nas.compare.trial import Trial, TrialSpec
from nas.export.device import Device
from nas.run import evaluators, objective_front, session, step_log, store
from nas.run.config import RunConfig
from nas.tasks import aims, full_columns
from nas.tasks.network_bound import Measurements
from search_spaces import Task, UserError, _network_costs, _ops, representatives
from search_spaces.nasbench201 import NasBench201

TASK = "own201/digits"
AIM = "accuracy,params"


def random_points(seed, count, aims_):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 6, (3, count, aims_), generator=generator).float()


def test_a_front_is_what_no_other_point_dominates_said_in_a_loop():
    points = random_points(0, 30, 3)
    points[0, 3, 1] = torch.nan
    for one, found in zip(points, pareto.non_dominated(points)):
        for i, point in enumerate(one):
            beaten = any((other >= point).all() and (other > point).any() for other in one)
            assert found[i] == (not beaten and not point.isnan().any())


def test_the_fronts_peel_off_one_by_one():
    points = random_points(1, 25, 2)
    number = pareto.front_number(points)
    for s in range(3):
        left = torch.arange(25)
        for front in range(int(number[s].max()) + 1):
            on = pareto.non_dominated(points[s, left])
            assert sorted(left[on].tolist()) == (number[s] == front).nonzero().squeeze(-1).tolist()
            left = left[~on]
        assert not len(left)


def test_crowding_is_that_of_a_front_worked_by_hand():
    # One front of four: (0, 10), (2, 6), (5, 5), (10, 0); ranges 10 and 10. The last point is behind them all.
    points = torch.tensor([[[0.0, 10.0], [2.0, 6.0], [5.0, 5.0], [10.0, 0.0], [-1.0, -1.0]]])
    front = pareto.front_number(points)
    assert front.tolist() == [[0, 0, 0, 0, 1]]
    inf = float("inf")
    expected = [inf, 5 / 10 + 5 / 10, 8 / 10 + 6 / 10, inf, inf]
    assert torch.allclose(pareto.crowding_distance(points, front)[0], torch.tensor(expected).double())


def test_the_hypervolume_is_that_of_cases_worked_by_hand():
    # Stairs of (1, 3), (2, 2), (3, 1) above the origin: 3 + 2 + 1; (1, 1) is below them, (4, -1) not above the reference.
    points = torch.tensor([[1.0, 3], [2, 2], [3, 1], [1, 1], [4, -1]])
    assert pareto.hypervolume(points, torch.zeros(2)) == 6
    assert pareto.hypervolume(points, torch.full((2,), 1.0)) == 1
    assert pareto.hypervolume(points[4:], torch.zeros(2)) == 0
    # Two boxes 1 x 2 x 3 and 2 x 1 x 2, whose overlap is 1 x 1 x 2: 6 + 4 - 2.
    assert pareto.hypervolume(torch.tensor([[1.0, 2, 3], [2, 1, 2]]), torch.zeros(3)) == 8


@pytest.mark.parametrize("count_of_aims", [2, 3, 4])
def test_the_hypervolume_is_the_number_of_unit_boxes_below_the_points(count_of_aims):
    points = random_points(2, 12, count_of_aims)[0]
    boxes = itertools.product(range(6), repeat=count_of_aims)
    below = sum(bool((points >= torch.tensor(box) + 1).all(-1).any()) for box in boxes)
    assert pareto.hypervolume(points, torch.zeros(count_of_aims)) == below


def test_a_scalarization_is_highest_on_the_front_whatever_the_weights():
    points = random_points(3, 40, 2) + torch.arange(40)[:, None] * 0.01
    points[:, 0] = torch.nan
    front = pareto.non_dominated(points)
    for weight in (0.01, 0.3, 0.5, 0.99):
        score = pareto.chebyshev(points, torch.tensor([weight, 1 - weight]).expand(3, 2))
        assert score[:, 0].isnan().all()
        best = score.nan_to_num(-torch.inf).argmax(1)
        assert front[torch.arange(3), best].all()


def test_a_scalarization_sees_the_order_of_values_alone():
    points = random_points(4, 20, 2)
    weights = torch.tensor([[0.4, 0.6]]).expand(3, 2)
    other = torch.stack([points[..., 0].exp(), points[..., 1] ** 3], -1)
    assert torch.equal(pareto.chebyshev(points, weights), pareto.chebyshev(other, weights))


def evaluator_of(text=AIM, task=TASK):
    return aims.several(text, tasks.find(task), Measurements(Device("")))


def walk(controller, evaluator, seeds, steps, state=None, batch=1):
    state = controller.begin(evaluator.task, seeds) if state is None else state
    evaluate, archs, found = evaluator.load(seeds), [], []
    for _ in range(steps):
        proposal = controller.propose(state, batch)
        results = evaluate(proposal)
        state = controller.learn(state, proposal, results)
        archs.append(proposal.archs)
        found.append(results.objectives)
    return torch.cat(archs, 1), torch.cat(found, 1), state


def controller_of(name, evaluator, **options):
    made = plugins.load("controller", name)(evaluator.space, **options)
    return made if name == "nsga2" else Scalarization(evaluator.space, made, evaluator.task)


@pytest.mark.parametrize(("name", "batch"), [("nsga2", 1), ("nsga2", 7), ("evolution", 1), ("transfer_bo", 2)])
def test_a_search_goes_on_from_its_state_and_alone_as_in_a_batch_of_seeds(name, batch):
    evaluator = evaluator_of()
    options = {"population": 4} if name == "nsga2" else {}
    controller, seeds = controller_of(name, evaluator, **options), torch.arange(3)
    whole, _, _ = walk(controller, evaluator, seeds, 10, batch=batch)
    _, _, state = walk(controller, evaluator, seeds, 6, batch=batch)
    rest, _, _ = walk(controller, evaluator, seeds, 4, state, batch=batch)
    assert torch.equal(rest, whole[:, 6 * batch :])
    alone, _, _ = walk(controller, evaluator, seeds[1:2], 10, batch=batch)
    assert torch.equal(alone, whole[1:2])


def test_the_next_parents_are_the_best_fronts_of_parents_and_children():
    evaluator = evaluator_of()
    controller = controller_of("nsga2", evaluator, population=8)
    archs, objectives, state = walk(controller, evaluator, torch.arange(4), 16)
    for s in range(4):
        keys = archs[s].unique(dim=0, return_inverse=True)[1].tolist()
        first = [i for i, key in enumerate(keys) if key not in keys[:i]]
        fronts = pareto.front_number(objectives[s, first])
        kept = [archs[s, first].tolist().index(arch) for arch in state.archs[s].tolist()]
        assert len(set(kept)) == 8
        last = fronts[kept].max()
        # Whole fronts but the last.
        assert set((fronts < last).nonzero().squeeze(-1).tolist()) <= set(kept)


def test_the_weights_of_a_step_are_positive_and_add_up_to_one():
    evaluator = evaluator_of()
    controller = controller_of("random_search", evaluator)
    _, _, state = walk(controller, evaluator, torch.arange(50), 2)
    weights = controller.weights(state)
    assert (weights > 0).all()
    assert torch.allclose(weights.sum(-1), torch.ones(50))
    assert not torch.equal(weights, controller.weights(state._replace(step=state.step + 1)))


def test_an_evaluation_without_one_of_its_figures_has_failed():
    evaluator = evaluator_of()
    proposal = Proposal(torch.zeros(1, 2, 6, dtype=torch.long))
    given = Results(torch.tensor([[90.0, torch.nan]]), torch.zeros(1, 2))
    found = evaluator.with_objectives(proposal, given, torch.tensor([0]))
    assert found.objectives[0, 0, 0] == 90
    assert found.objectives[0, 1].isnan().all()


def test_figures_of_a_table_and_of_the_network_have_their_direction():
    evaluator = evaluator_of("accuracy,flops,params:max")
    archs = _ops.enumerate_all(evaluator.space.choices)[None, ::1000]
    found = evaluator.load(torch.tensor([0]))(Proposal(archs))
    assert torch.equal(found.objectives[..., 0], found.score)
    # A network that is built, as export does, says the same as the closed form and as the table: operations that reach no output
    # are none of its own. FLOPs here are of the benchmark's size, parameters of the size that the table trained.
    functions = representatives(evaluator.space, archs[0, :3])
    built = [_network_costs.counts(evaluator.space, arch, evaluator.task)[1] for arch in functions]
    assert (-found.objectives[0, :3, 1]).tolist() == built
    trained = NasBench201(4, 2, 1), Task("digits", (1, 8, 8), 10)
    parameters = [_network_costs.counts(trained[0], arch, trained[1])[0] for arch in functions]
    assert found.objectives[0, :3, 2].tolist() == pytest.approx(parameters)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("accuracy", "two objectives"),
        ("params,accuracy", "the first is the task's score"),
        ("accuracy,params,params", "each objective once"),
        ("accuracy,smell", "it takes params, flops"),
        ("accuracy,own201/digits/test_accuracy@4", "no search may see"),
    ],
)
def test_what_is_no_objective_is_refused_in_a_line(text, says):
    with pytest.raises(UserError, match=says):
        evaluator_of(text)


def test_a_controller_of_rungs_takes_one_objective():
    config = RunConfig(task=TASK, controller="hyperband", aim=AIM, evals=4)
    with pytest.raises(UserError, match="takes one objective"):
        session.initial_state(session.load(config))


def test_a_run_with_several_objectives_resumes_shows_its_front_and_gives_one_away(nas, tmp_path):
    options = ("--task", TASK, "--aim", AIM, "--controller", "nsga2", "-c", "population=5")
    assert nas("search", *options, "--evals", 20, "--name", "whole").returncode == 0
    assert nas("search", *options, "--evals", 9, "--name", "cut").returncode == 0
    resumed = nas("resume", "cut", "--evals", 20)
    assert resumed.returncode == 0, resumed.stderr
    pasts = []
    for name in ("whole", "cut"):
        with store.open_run(tmp_path / "runs" / name) as run:
            pasts.append(step_log.history(run))
            points = objective_front.points(run)
    assert torch.equal(pasts[0].archs, pasts[1].archs)
    assert torch.equal(pasts[0].objectives, pasts[1].objectives)
    # Exactly those on the front that a loop over all pairs finds.
    values = [(p.values[0], -p.values[1]) for p in points]
    for point, own in zip(points, values):
        assert point.on_front == (not any(o != own and o[0] >= own[0] and o[1] >= own[1] for o in values))
    shown = nas("show", "whole", "--front")
    assert shown.stdout.splitlines()[1].split() == ["accuracy", "params", "evaluation", "architecture"]
    assert (tmp_path / "runs" / "whole" / "front.svg").is_file()
    document = json.loads(nas("show", "whole", "--json").stdout)["objectives"]
    front = [p for p in points if p.on_front]
    assert [row["params"] for row in document["front"]] == [p.values[1] for p in front]
    bound = front[-1].values[1]
    picked = nas("export", "whole", "--pick", f"params<={bound:.9g}", "--to", "net", "--no-onnx")
    assert picked.returncode == 0, picked.stderr
    assert front[-1].arch in picked.stderr
    refused = nas("export", "whole", "--pick", "params<=1", "--to", "net2")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_a_function_s_own_figure_is_an_objective_also_in_worker_processes(nas, tmp_path):
    (tmp_path / "f.py").write_text(
        "def evaluate(arch):\n    n = len(set(arch.indices))\n    return {'score': n, 'size': sum(arch.indices)}\n"
    )
    done = nas("search", "--objective", "f.py:evaluate", "--aim", "score,size:max", "--controller", "evolution", "--workers", 2,
               "--evals", 12, "--name", "f")  # fmt: skip
    assert done.returncode == 0, done.stderr
    with store.open_run(tmp_path / "runs" / "f") as run:
        past = step_log.history(run)
    assert past.objectives.shape == (1, 12, 2)
    assert torch.equal(past.objectives[0, :, 1], past.archs[0].sum(-1).float())
    missing = nas("search", "--objective", "f.py:evaluate", "--aim", "score,weight", "--evals", 2, "--name", "g")
    assert (
        "No evaluation has succeeded: the first failed with the function returned no number 'weight'" in missing.stderr
    )
    assert "no number 'weight' beside its score (size) (2)" in nas("show", "g").stdout


def test_the_evaluator_of_a_run_is_found_again_with_its_objectives():
    config = RunConfig(task=TASK, aim=AIM)
    assert RunConfig.from_json(config.to_json()) == config
    assert evaluators.find(config).task.aims == ("accuracy", "params")


def test_a_comparison_has_the_share_of_the_front_that_a_search_of_all_finds_whole(nas, tmp_path):
    options = ("--tasks", f"{TASK}~mean", "--aim", AIM, "--controllers", "random_search,nsga2", "--seeds", 3)
    done = nas("compare", *options, "--evals", 40, "--jobs", 1, "--no-figures", "--out", "c", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["aim"] == AIM
    for row in document["rows"]:
        means = [share["mean"] for share in row["front_share"].values()]
        assert list(row["front_share"]) == ["1", "5", "10", "30", "40"]
        assert means == sorted(means)
        assert means[0] >= 0
        assert means[-1] < 1
    assert "Front of accuracy,params" in nas("compare", *options, "--evals", 40, "--no-figures", "--out", "c").stdout
    value = front_share.yardstick(f"{TASK}~mean", AIM).value_NA
    every = (value >= 0).all(-1).nonzero().T.int()  # No architecture of the front is below its worst.
    score = full_columns.everything(f"{TASK}~mean")[every.long()]
    whole = Trial(every, score, torch.zeros_like(score), score)
    spec = TrialSpec(f"{TASK}~mean", "all", 1, every.shape[1], None, aim=AIM)
    assert front_share.shares(spec, whole, (every.shape[1],)).item() == pytest.approx(1, abs=1e-7)
