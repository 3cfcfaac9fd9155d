"""What a prior remembers of the architectures of its tables, of tasks like the one at hand, and of a user's own runs."""

import json

import pytest
import torch

from controller import AuxiliaryColumn, Prior, TaskScores, TaskSet
from controller.meta.transfer_gp import TransferGp
from controller.models import features, prior_file, task_features, transfer_model
from controller.models.task_pca import fit_components, normal_scores
from nas import tasks
from nas.meta import finished_runs, from_runs, outer_loop, splits, task_distribution
from nas.run import priors, step_log, store
from nas.tasks import full_columns
from search_spaces import Task, UserError
from search_spaces.nasbench201 import NasBench201
from search_spaces.natsbench_size import NatsBenchSize
from search_spaces.transnas_micro import TransNasMicro

SPACE = NasBench201()
TASK = Task("toy", (3, 32, 32), 10)


def task_set(count=6, auxiliary=()):
    """Tasks that two functions make up, in two families."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(len(features.enumerate_valid(SPACE).archs), 2, generator=generator)
    mixed = parts @ torch.randn(2, count, generator=generator)
    kinds = ["accuracy" if k % 2 else "robustness" for k in range(count)]
    flat = torch.zeros(len(mixed))
    found = [TaskScores(f"t{k}", kinds[k], SPACE, TASK, normal_scores(mixed[:, k]), flat) for k in range(count)]
    spaces = task_distribution.spaces_of(found)
    return TaskSet(tuple(found), spaces, tuple(auxiliary), splits.family_weights())


@pytest.fixture(scope="module")
def prior():
    learner = TransferGp(task_set(), pca_steps=2)
    *_, last = outer_loop.train(learner, outer_loop.untrained(learner, 0), 0)
    return learner.prior(last.state)


def test_a_training_seed_changes_the_encoder_and_nothing_that_is_kept_of_an_architecture(prior):
    learner = TransferGp(task_set(), pca_steps=2)
    *_, last = outer_loop.train(learner, outer_loop.untrained(learner, 1), 1)
    other = learner.prior(last.state).params
    kept = [name for name in other if name.startswith("spaces/")]
    assert kept
    for name in kept:
        torch.testing.assert_close(other[name], prior.params[name], rtol=0, atol=0, equal_nan=True)
    assert any(not torch.equal(other[name], prior.params[name]) for name in other if name.startswith("encoder/"))


def test_an_atlas_holds_every_landscape_along_its_directions():
    known = task_set()
    drawn = fit_components(SPACE, known)
    again = drawn.mean.double()[:, None] + drawn.components.double() @ drawn.task_coords.double().T
    standing = torch.stack([x.normal_scores for x in known.tasks], 1).double()
    assert (again - standing).square().mean() < 0.01
    means = torch.stack([standing[:, 1::2].mean(1), standing[:, ::2].mean(1)], 1)
    means = (means - means.mean(0)) / means.std(0)
    torch.testing.assert_close(drawn.family_means.double(), means, atol=0.02, rtol=0.02)


def test_a_space_within_another_has_the_landscapes_of_the_cells_they_share():
    small = TransNasMicro()
    drawn, known = fit_components(small, task_set()), task_set()
    assert len(drawn.mean) == 4**6
    assert [small.operations[0].index(name) for name in small.operations[0]] == list(range(4))
    shared = features.row_of(SPACE, features.enumerate_valid(small).archs)
    again = drawn.mean.double() + drawn.components.double() @ drawn.task_coords[1].double()
    torch.testing.assert_close(again.float(), normal_scores(known.tasks[1].normal_scores[shared]), atol=0.15, rtol=0.1)


def test_nothing_is_remembered_of_other_spaces_nor_from_few_tasks():
    assert fit_components(NatsBenchSize(), task_set()) is None
    assert fit_components(SPACE, task_set(3)) is None


@pytest.mark.parametrize("space", [SPACE, TransNasMicro()])
def test_tasks_may_differ_along_a_property(space):
    shared = features.row_of(SPACE, features.enumerate_valid(space).archs)
    own = torch.randn(5**6, generator=torch.Generator().manual_seed(1))
    shares = []
    for auxiliary in ((), [AuxiliaryColumn("t/a", SPACE, own)]):
        directions = fit_components(space, task_set(auxiliary=auxiliary)).components.double()
        fit = torch.linalg.lstsq(directions, own[shared].double()[:, None]).solution
        shares.append(float((directions @ fit).var() / own[shared].var()))
    assert shares[0] < 0.1
    assert shares[1] > 0.9


def test_a_property_that_all_tasks_follow_is_no_way_to_differ():
    usual = fit_components(SPACE, task_set()).mean.float()
    spans = []
    for auxiliary in ((), [AuxiliaryColumn("t/b", SPACE, usual / usual.std())]):
        directions = fit_components(SPACE, task_set(auxiliary=auxiliary)).components.double()
        spans.append((usual.double() @ directions).square().sum())
    torch.testing.assert_close(*spans, rtol=0.05, atol=0.0)


@pytest.mark.parametrize("wanted", [True, False])
def test_auxiliary_columns_turn_the_components_of_a_prior_where_they_may_and_it_names_them(wanted):
    own = torch.randn(5**6, generator=torch.Generator().manual_seed(1))
    known = task_set(auxiliary=[AuxiliaryColumn("t/a", SPACE, own)])
    learner = TransferGp(known, pca_steps=1, auxiliary_columns=wanted)
    *_, last = outer_loop.train(learner, outer_loop.untrained(learner, 0), 0)
    found = learner.prior(last.state)
    assert json.loads(found.about["auxiliary_columns"]) == (["t/a"] if wanted else [])
    memory = prior_file.unpack(found.params).spaces[SPACE.name]
    expected = fit_components(SPACE, known if wanted else known._replace(auxiliary=()))
    assert torch.equal(memory.components, expected.components)


@pytest.mark.parametrize("space", [SPACE, TransNasMicro()])
def test_what_devices_take_is_remembered_with_the_covariance_that_they_have(space):
    generator = torch.Generator().manual_seed(1)
    parts = torch.randn(5**6, 3, generator=generator)
    logs = [parts[:, 0] + scale * parts[:, 1 + k % 2] + k for k, scale in enumerate((0.2, -0.2, 0.5, -0.5, 0.1, 0.1))]
    auxiliary = [AuxiliaryColumn(f"t/d{k}", SPACE, normal_scores(x), x) for k, x in enumerate(logs)]
    auxiliary.append(AuxiliaryColumn("t/no value", SPACE, auxiliary[0].normal_scores))
    amounts = fit_components(space, task_set(auxiliary=auxiliary)).constraint_factors.double()
    rows = features.row_of(SPACE, features.enumerate_valid(space).archs)
    if space != SPACE:
        assert fit_components(space, task_set(auxiliary=auxiliary[:3])).constraint_factors is None
    log_NK = torch.stack(logs, 1)[rows].double()
    log_NK = log_NK - log_NK.mean(0)
    torch.testing.assert_close(amounts[:, 0], log_NK.mean(1), atol=2e-3, rtol=1e-3)
    apart = log_NK - log_NK.mean(1, keepdim=True)
    found = amounts[:50, 1:] @ amounts[:50, 1:].T
    torch.testing.assert_close(found, apart[:50] @ apart[:50].T / 6, atol=5e-3, rtol=5e-3)


def test_tasks_are_as_alike_as_what_is_known_of_both():
    described = (1000.0, *[0.5] * 8)
    same, bare = Task("a", (3, 32, 32), 10, described), Task("b", (3, 32, 32), 10)
    far = Task("c", (3, 32, 32), 10, (1000.0, *[-1.5] * 8))
    others = torch.stack(
        [task_features.task_features(x) for x in (same, bare, far, Task("d", (1, 8, 8), 100, described))]
    )
    alike = task_features.task_similarity(task_features.task_features(same), others)
    assert alike[:2].tolist() == [1.0, 1.0]
    torch.testing.assert_close(alike[2], torch.tensor(-(2.0**2) / 2).exp())
    assert alike[3] < 0.01


def test_a_task_told_to_be_like_one_that_the_prior_knows_has_its_landscape(prior):
    changed = prior.params["tasks/features"].clone()
    changed[1:] += 9.0
    alone = Prior(prior.params | {"tasks/features": changed}, prior.about)
    model = transfer_model.make(SPACE, alone, TASK)
    inputs = model.all_features
    assert inputs.mean.shape[1] == 2 + 1
    torch.testing.assert_close(model.means.weights.sum(), torch.tensor(1.0).double())
    follows = torch.corrcoef(torch.stack([inputs.mean[:, 2], task_set().tasks[0].normal_scores.double()]))[0, 1]
    assert follows > 0.98
    assert transfer_model.make(SPACE, alone).fingerprint != model.fingerprint


def test_a_run_teaches_a_landscape_of_its_whole_space(nas, tmp_path):
    made = nas(
        "search", "--task", "own201/digits", "--controller", "random_search", "--evals", 60, "--name", tmp_path / "run"
    )
    assert made.returncode == 0
    prior = from_runs.extend(None, [tmp_path / "run"], "nas meta-train --from-runs run")
    assert json.loads(prior.about["families"])[-1] == "runs"
    learned = prior.params["spaces/nasbench201/family_means"]
    truth = normal_scores(full_columns.everything("own201/digits"))
    before = torch.corrcoef(torch.stack([prior.params["spaces/nasbench201/mean"].float(), truth]))[0, 1]
    after = torch.corrcoef(torch.stack([learned[:, -1].float(), truth]))[0, 1]
    assert after > before + 0.02
    assert json.loads(prior.about["tasks"])[-1] == "own201/digits"
    prior_file.write(tmp_path / "p.safetensors", prior)
    again = from_runs.extend(tmp_path / "p.safetensors", [tmp_path / "run"], "twice")
    same = {n: torch.equal(t.nan_to_num(7), prior.params[n].nan_to_num(7)) for n, t in again.params.items()}
    assert all(same.values()), same


def test_a_run_that_goes_on_after_it_was_learned_from_counts_once_as_it_is_then(nas, tmp_path):
    for name, task in (("a", "own201/digits"), ("b", "own201/rsscn7_aerial")):
        options = ("--task", task, "--controller", "random_search", "--evals", 20, "--name", tmp_path / name)
        assert nas("search", *options).returncode == 0
    early = from_runs.extend(None, [tmp_path / "a", tmp_path / "b"], "early")
    prior_file.write(tmp_path / "p.safetensors", early)
    assert nas("resume", tmp_path / "a", "--evals", 60).returncode == 0
    later = from_runs.extend(tmp_path / "p.safetensors", [tmp_path / "a"], "later")
    fresh = from_runs.extend(None, [tmp_path / "a", tmp_path / "b"], "fresh")
    assert (later.about["runs"], len(json.loads(later.about["runs"]))) == (fresh.about["runs"], 2)
    different = {n for n, t in later.params.items() if not torch.equal(t.nan_to_num(7), fresh.params[n].nan_to_num(7))}
    moved = {n for n, t in early.params.items() if not torch.equal(t.nan_to_num(7), fresh.params[n].nan_to_num(7))}
    assert (different, "runs/coords" in moved) == (set(), True)
    # What an earlier version has learned from is told by all evaluations, and is no other run now.
    run = finished_runs.read(tmp_path / "b", 3)
    prior_file.write(
        tmp_path / "p.safetensors",
        Prior(
            later.params,
            later.about
            | {
                "runs": json.dumps(
                    {
                        digest if name == "a" else run.whole_digest: [name, task]
                        for digest, (name, task) in json.loads(later.about["runs"]).items()
                    }
                )
            },
        ),
    )
    again = from_runs.extend(tmp_path / "p.safetensors", [tmp_path / "b"], "again")
    assert len(json.loads(again.about["runs"])) == len(again.params["runs/share"]) == 2


def test_runs_of_several_tasks_add_up_in_any_order_and_each_is_there_for_tasks_like_it(nas, tmp_path):
    for task, name in (("own201/digits", "a"), ("own201/rsscn7_aerial", "b")):
        options = ("--task", task, "--controller", "random_search", "--evals", 60, "--name", tmp_path / name)
        assert nas("search", *options).returncode == 0
    prior_file.write(tmp_path / "p.safetensors", from_runs.extend(None, [tmp_path / "a"], "first"))
    later = from_runs.extend(tmp_path / "p.safetensors", [tmp_path / "b"], "second")
    together = from_runs.extend(None, [tmp_path / "b", tmp_path / "a"], "both")
    assert sorted(json.loads(later.about["runs"]).values()) == [["a", "own201/digits"], ["b", "own201/rsscn7_aerial"]]
    name = "spaces/nasbench201/family_means"
    torch.testing.assert_close(later.params[name], together.params[name], rtol=0, atol=2e-3)
    torch.testing.assert_close(later.params["families/weights"], together.params["families/weights"])
    shipped = prior_file.read(str(priors.SHIPPED))
    for task in ("own201/digits", "own201/rsscn7_aerial"):
        truth = normal_scores(full_columns.everything(task))
        models = [transfer_model.make(SPACE, x, tasks.find(task).task) for x in (shipped, later)]
        mean = [model.means.kept[:, -1] for model in models]
        before, after = (torch.corrcoef(torch.stack([m, truth.double()]))[0, 1] for m in mean)
        assert after > before + 0.02


def test_a_run_with_a_limit_teaches_what_it_would_have_without(nas, table, tmp_path):
    """Random search proposes the same whatever the scores are."""
    table("nasbench201-hardware")
    prior = prior_file.read(str(priors.SHIPPED))
    options = ("search", "--task", "own201/digits", "--controller", "random_search", "--evals", 40)
    limit = "nasbench201-hardware/pixel3/latency<=q30"
    assert nas(*options, "--name", tmp_path / "plain").returncode == 0
    assert nas(*options, "--limit", limit, "--name", tmp_path / "limited").returncode == 0
    plain, limited = (from_runs.fit(prior, finished_runs.read(tmp_path / name, 3)) for name in ("plain", "limited"))
    torch.testing.assert_close(limited.component_coords, plain.component_coords, rtol=0, atol=1e-4)
    torch.testing.assert_close(limited.network_coords, plain.network_coords, rtol=0, atol=1e-4)


def test_a_prior_whose_network_has_other_shapes_is_refused(prior):
    name = "encoder/readout.0.weight"
    older = Prior(prior.params | {name: prior.params[name][:, :4]}, prior.about)
    with pytest.raises(UserError, match="another version"):
        transfer_model.make(SPACE, older)


def test_runs_that_cannot_be_learned_from_leave_nothing_behind(nas, tmp_path):
    refused = nas("meta-train", "--from-runs", tmp_path / "nope", "--out", tmp_path / "out")
    assert refused.returncode == 2
    assert "There is no run in" in refused.stderr
    for given, said in (
        (("--learner", "rl2"), "leave --learner out"),
        (("--seed", 3), "leave --seed out"),
        (("--task-fraction", 0.5), "leave --task-fraction out"),
        (("--prior", priors.SHIPPED_POLICY), "is a prior of attention_policy"),
    ):
        refused = nas("meta-train", "--from-runs", tmp_path / "nope", *given, "--out", tmp_path / "out")
        assert (refused.returncode, said in refused.stderr, refused.stderr.count("\n")) == (2, True, 1), refused.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_says_nothing_by_failures_alone_and_by_two_whole_trainings(nas, tmp_path, monkeypatch):
    asked = ("search", "--task", "own201/digits", "--controller", "random_search", "--evals", 4)
    assert nas(*asked, "--name", tmp_path / "run").returncode == 0
    with store.open_run(tmp_path / "run") as run:
        past = step_log.history(run)
    for changed, said in (
        ({"score": torch.full((1, 4), torch.nan)}, "has no evaluation that succeeded"),
        ({"epochs": torch.tensor([[1, 3, 3, 1]])}, "has 2 evaluations of its longest training; it takes at least 3"),
    ):
        other = past._replace(**changed)
        monkeypatch.setattr(step_log, "history", lambda _, other=other: other)
        with pytest.raises(UserError, match=said):
            finished_runs.read(tmp_path / "run", 3)
