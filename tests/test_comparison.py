"""The comparison that a search on images ends with: its rules by hand, and a run where the simpler model wins."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from nas.evaluators.constrained import Constrained
from nas.export import latency
from nas.export.latency import of_networks
from nas.export.read_back import has_onnx
from nas.run import (
    choice,
    comparison,
    final_trainings,
    finish,
    model_card,
    session,
    simpler,
    stages,
    step_log,
    store,
    trained_network,
)
from nas.run.comparison import ENSEMBLE, FOUND, LEARNED, MAJORITY, REFERENCE, Row
from nas.run.config import RunConfig
from nas.run.summary import top_row
from nas.training import compiler, metrics
from nas.types import Comparable, FinalTraining
from search_spaces import UserError

TINY = {
    "epochs": "1",
    "examples": "64",
    "channels": "4",
    "final_epochs": "2",
    "final_channels": "4",
    "final_cells": "1",
}


def row(kind, valid, correct, parameters=None):
    name = {FOUND: "the network found", REFERENCE: "the plain ResNet"}.get(kind, kind)
    return Row(name, kind, None, valid, 0.0, [0.0, 0.0], 0.0, 0.0, parameters, None, 1.0, correct)


def hits(right, total=40):
    """`right` images right, then the wrong ones."""
    return "1" * right + "0" * (total - right)


def test_a_network_that_is_right_where_the_other_is_wrong_was_worth_it():
    rows = [row(MAJORITY, 10, hits(0)), row(REFERENCE, 80, hits(30)), row(FOUND, 90, hits(36))]
    # Six coins that all fall alike: 2 / 64.
    assert comparison.sentence(rows) == (
        "The search was worth it: of 40 test images the network found alone is right on 6, the plain ResNet alone on 0 "
        "(McNemar's exact test, p = 0.031)."
    )


def test_a_search_that_one_simpler_model_levels_was_not_worth_it_whatever_validation_images_prefer():
    # Against the 30 of the plain network six coins fall alike; of six, two and one fall otherwise against the others.
    rows = [
        row(MAJORITY, 10, hits(32)[:-2] + "11"),
        row(LEARNED, 70, hits(31)[:-1] + "1"),
        row(REFERENCE, 80, hits(30)),
        row(FOUND, 90, hits(36)),
    ]
    said = comparison.sentence(rows)
    assert said.startswith("The search was not worth it here, take the simpler one, scikit-learn. ")
    assert "the network found alone is right on 5, scikit-learn alone on 1 " in said


def test_a_difference_that_chance_explains_was_not():
    rows = [row(MAJORITY, 10, hits(0)), row(REFERENCE, 80, hits(31)[:-1] + "1"), row(FOUND, 90, hits(36))]
    assert comparison.sentence(rows) == (
        "The search was not worth it here, take the simpler one, the plain ResNet. The network found is no better beyond "
        "chance: of 40 test images the network found alone is right on 5, the plain ResNet alone on 1 "
        "(McNemar's exact test, p = 0.22)."
    )
    assert "The network found is worse: " in comparison.sentence([row(LEARNED, 95, hits(36)), row(FOUND, 90, hits(30))])


@pytest.mark.parametrize(("found", "plain"), [(hits(36), hits(31)), (hits(31), hits(36)), (hits(4, 4), hits(0, 4))])
def test_where_fewer_than_six_test_images_differ_nothing_is_advised(found, plain):
    said = comparison.sentence([row(MAJORITY, 10, plain), row(REFERENCE, 80, plain), row(FOUND, 90, found)])
    assert said.startswith("The test images are too few to tell whether the search was worth it: of ")
    assert said.endswith("); fewer than 6 such images show nothing.")


def test_the_commonest_class_is_not_advised_where_the_network_is_ahead_of_it():
    def said(valid, test):
        rows = [row(MAJORITY, 50, hits(30)[:-2] + "11"), row(LEARNED, 45, hits(0)), row(FOUND, valid, hits(test))]
        return comparison.sentence(rows)

    # Eight coins against two.
    assert said(60, 38).startswith("The test images are too few to tell whether the search was worth it: of 40 ")
    assert said(60, 38).endswith("(McNemar's exact test, p = 0.11).")
    assert said(None, 38) == said(60, 38)
    assert "take the simpler one, majority. " in said(40, 38)
    assert "take the simpler one, majority. " in said(60, 24)
    # Another simpler model may be.
    rows = [row(MAJORITY, 50, hits(30)[:-2] + "11"), row(LEARNED, 45, hits(31)[:-2] + "11"), row(FOUND, 60, hits(38))]
    assert "take the simpler one, scikit-learn. " in comparison.sentence(rows)


def level(kind):
    """As many right as any other: the networks found on four images that others have wrong, and these on four of theirs."""
    ours, theirs = ("1111", "0000") if kind in (FOUND, ENSEMBLE) else ("0000", "1111")
    return hits(31, 31) + ours + theirs + "0"


def advised(*valid_scores):
    """What the sentence advises where all models are level on the test images, but for those that the network beats."""
    kinds = MAJORITY, LEARNED, REFERENCE, FOUND
    rows = [row(kind, valid, level(kind)) for kind, valid in zip(kinds, valid_scores)]
    return comparison.sentence(rows).partition("take the simpler one, ")[2].partition(". The network")[0]


def test_validation_images_choose_which_simpler_model_is_advised():
    assert advised(50, 70, 60, 65) == LEARNED
    assert advised(50, 70, 71, 65) == "the plain ResNet"
    assert advised(50, 70, 71, 90) == "the plain ResNet"


def test_of_simpler_models_that_tie_on_validation_images_the_exported_one_is_advised_else_the_simplest():
    assert advised(50, 70, 70, 65) == "the plain ResNet", "it is better than the network found, and exported"
    assert advised(50, 70, 70, 70) == "the plain ResNet", "of the same size, it is exported"
    assert advised(50, 70, 70, 75) == LEARNED, "neither is exported"
    assert advised(50, 70, 69.9, 65) == LEARNED, "the exported one is worse"


def test_of_simpler_models_that_tie_beside_an_exported_ensemble_the_simplest_is_advised():
    rows = [row(kind, 70, level(kind)) for kind in (LEARNED, REFERENCE, FOUND, ENSEMBLE)]
    assert "take the simpler one, scikit-learn. " in comparison.sentence(rows, ENSEMBLE)
    assert "take the simpler one, the plain ResNet. " in comparison.sentence(rows[:3])


def test_test_images_never_choose_between_simpler_models():
    scored = [row(LEARNED, 70, hits(39)), row(REFERENCE, 70, hits(34)[:-2] + "11"), row(FOUND, 65, hits(38))]
    assert "take the simpler one, the plain ResNet. " in comparison.sentence(scored)
    assert scored[0].hits.sum() > scored[1].hits.sum()


@pytest.mark.parametrize(
    ("found", "plain", "chosen"),
    [
        ((81, 9), (80, 1), FOUND),
        ((80, 1), (81, 9), REFERENCE),
        ((80, 9), (80, 1), REFERENCE),
        ((80, 1), (80, 9), FOUND),
    ],
)
def test_the_plain_network_is_a_floor(found, plain, chosen):
    rows = [
        row(LEARNED, 99, hits(40)),
        row(REFERENCE, plain[0], hits(9), plain[1]),
        row(FOUND, found[0], hits(9), found[1]),
    ]
    assert comparison.handed_out(rows).kind == chosen


def test_what_it_adds_to_the_time():
    # Two trainings of 150 s and two of 40 s; a tenth of the search for scikit-learn, at most a minute, at least two seconds.
    assert comparison.seconds(150, 300, cores=1) == pytest.approx(230 + 30)
    assert comparison.seconds(150, 9000, cores=2) == pytest.approx(40 + 60)
    assert comparison.seconds(0, 0, cores=8) == 2
    # A space without a plain network: one of 150 s and one of 40 s.
    assert comparison.seconds(150, 300, cores=1, networks=1) == pytest.approx(40 + 30)
    assert comparison.seconds(150, 300, cores=2, networks=1) == 30
    # Three cores have room for the short trainings beside the long ones.
    assert comparison.seconds(150, 300, cores=3) == comparison.seconds(150, 300, cores=8) == 30
    assert (comparison.unjudged(2), comparison.unjudged(3)) == (1 + 0.8 / 3, 1)


def test_a_gpu_trains_the_networks_of_a_comparison_one_after_the_other(made, monkeypatch):
    training = session.load(made[0].config).evaluator.training
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert stages.cores_of(replace(training, device=torch.device("cuda"))) == 1
    # One of somebody's own that does not say it.
    assert [stages.cores_of(SimpleNamespace(device=name)) for name in ("cpu", "cuda")] == [8, 1]


@pytest.mark.skipif(compiler.library() is None, reason="there is no C compiler here")
def test_final_trainings_of_compiled_code_have_a_core_each_and_others_all_of_them(made, monkeypatch):
    training = session.load(made[0].config).evaluator.training
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert stages.cores_of(training) == training.final_cores() == 8
    monkeypatch.setattr(compiler, "library", lambda: None)
    assert training.final_cores() == 1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A hundred digits: as many as a support-vector machine learns something from, and a network in two epochs does not."""
    x, y = load_digits(return_X_y=True)
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, x_train=x[:100].reshape(-1, 8, 8).astype(np.uint8), y_train=y[:100])
    return f"npz:{path}"


@pytest.fixture(scope="module", autouse=True)
def quick():
    """ONNX files take seconds to write, and another test times them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "of_networks", lambda networks, shape: ([0.25] * len(networks), "a test"))
        yield


def test_networks_are_timed_in_onnx_runtime_and_all_by_pytorch_where_one_cannot_be_written():
    networks = [torch.nn.Flatten(), torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(8, 8))]
    times, by = of_networks(networks, (2, 2, 2))
    assert len(times) == 2
    assert min(times) > 0
    if has_onnx():
        assert by.startswith("ONNX Runtime ")
    assert of_networks([*networks, _Unwritable()], (2, 2, 2))[1].startswith("PyTorch ")


class _Unwritable(torch.nn.Module):
    def forward(self, pixels):
        return torch.tensor(np.sort(pixels.detach().numpy()[:, 0, 0]))


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """A finished run with its setup."""
    config = RunConfig(data, "random_search", prior="none", evals=1, comparison=True, training_options=TINY)
    setup = session.load(config)
    with session.start(tmp_path_factory.mktemp("runs") / "one", config, setup) as run:
        list(session.resume(run, setup))
        finish.write_report(run, setup)
        simpler.make(run, setup)
        yield run, setup


def test_a_run_where_the_simpler_model_wins_says_so(made):
    document = comparison.read(made[0])
    rows = {row.kind: row for row in comparison.rows_of(document)}
    assert list(rows) == [MAJORITY, LEARNED, REFERENCE, FOUND]
    assert "take the simpler one, SVC on " in document["sentence"]
    assert rows[LEARNED].test_accuracy > rows[FOUND].test_accuracy
    assert rows[MAJORITY].test_accuracy == pytest.approx(100 * rows[MAJORITY].hits.float().mean().item(), abs=1e-3)
    assert rows[MAJORITY].parameters is rows[LEARNED].parameters is rows[MAJORITY].latency_ms is None
    assert all(rows[kind].latency_ms > 0 for kind in (LEARNED, REFERENCE, FOUND))


def test_the_networks_are_those_of_the_final_training_and_of_one_on_training_images_alone(made):
    run, setup = made
    training = setup.evaluator.training
    assert isinstance(training, Comparable)
    rows = {row.kind: row for row in comparison.rows_of(comparison.read(run))}
    share = store.get_meta(run, comparison.PLAN)["share"]
    for kind, of_final in ((FOUND, 1.0), (REFERENCE, share)):
        arch = training.space.parse(rows[kind].arch)
        asked = [FinalTraining(arch, share=of_final), FinalTraining(arch, share=of_final / 3, held_out=True)]
        final, held_out = training.final_networks(asked)
        assert rows[kind].test_accuracy == final.metrics["test_accuracy"]
        assert rows[kind].valid_score == pytest.approx(held_out.metrics["test_accuracy"], abs=1e-3)
        built = training.final_space.build(arch, training.task)
        assert rows[kind].parameters == sum(weight.numel() for weight in built.parameters())
    # Of the cells that compute what the benchmark's ResNet one does, the one that is trained.
    plain = training.equivalents(training.final_space.reference_arch)
    assert rows[REFERENCE].arch == training.final_space.describe(plain)
    network = trained_network.load(run.folder)
    assert network.arch == next(r.arch for r in rows.values() if r.name == comparison.read(run)["handed_out"])


def test_the_plain_network_has_the_compute_of_the_network_found_whatever_the_load(made, monkeypatch):
    run, setup = made
    training, kept = setup.evaluator.training, store.get_meta(run, comparison.PLAN)
    monkeypatch.setattr(type(training), "final_seconds", None)  # No clock is asked.

    def share(found, plain):
        store.set_meta(run, comparison.PLAN, None)
        return simpler._share(run, training, *(torch.tensor(arch) for arch in (found, plain)))

    # Stem 9*1*4, reductions 9*4*8 + 9*8*8 + 4*8 and 9*8*16 + 9*16*16 + 8*16 at 64, 16 and 4 places, classifier 16*10; a 3x3
    # convolution 9*4*4*64 + 9*8*8*16 + 9*16*16*4 = 27,648.
    rest = 36 * 64 + (288 + 576 + 32) * 16 + (1152 + 2304 + 128) * 4 + 160
    one, two = [0, 0, 0, 3, 0, 0], [3, 0, 3, 0, 0, 3]
    assert training.final_flops(torch.tensor(one)) == (rest + 27648) * 80 * 2, "80 images, two epochs"
    assert share(one, two) == round((rest + 27648) / (rest + 3 * 27648), 2)
    assert share(two, [0] * 6) == round((rest + 3 * 27648) / rest, 2)
    monkeypatch.setattr(simpler, "_MOST", 1.5)
    assert (share(two, [0] * 6), share([0] * 6, two)) == (1.5, round(1 / 1.5, 2))
    monkeypatch.setattr(type(training), "final_flops", lambda self, arch: 1 / 0)
    assert share(one, two) == 1, "somebody's network cannot be counted"
    store.set_meta(run, comparison.PLAN, kept)


def test_what_was_compared_is_not_compared_again(made, monkeypatch):
    run, setup = made
    before = comparison.read(run)
    monkeypatch.setattr(simpler, "train", None)
    simpler.make(run, setup)
    assert comparison.read(run) == before


def test_the_plain_network_is_handed_out_where_validation_says_so_also_after_a_kill(made, monkeypatch):
    run, setup = made
    before = comparison.read(run), trained_network.load(run.folder)
    plain = before[0]["rows"][2]["arch"]
    monkeypatch.setattr(comparison, "handed_out", lambda rows: next(r for r in rows if r.kind == REFERENCE))
    keep = store.set_meta
    monkeypatch.setattr(store, "set_meta", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    keep(run, comparison.KEY, None)
    with pytest.raises(KeyboardInterrupt):
        simpler.make(run, setup)
    assert trained_network.load(run.folder).arch == plain
    monkeypatch.setattr(store, "set_meta", keep)
    simpler.make(run, setup)
    after = comparison.read(run)
    assert [r["arch"] for r in after["rows"]] == [r["arch"] for r in before[0]["rows"]]
    assert after["handed_out"] == "the plain ResNet"
    assert trained_network.load(run.folder).arch == plain
    assert any("The export is the plain ResNet and not the network found" in line for line in comparison.lines(after))
    assert comparison.plain_handed_out(run) in comparison.lines(after)
    exported = []
    monkeypatch.setattr(finish.trained_network, "write_export", lambda *_, **__: exported.append(1))
    monkeypatch.setattr(finish, "_exported_arch", lambda _: plain)
    assert finish._is_exported(run, trained_network.load(run.folder)), "a run of an earlier version"
    finish.finish(run, setup)
    assert not exported
    keep(run, finish.EXPORTED, "another")
    finish.finish(run, setup)
    finish.finish(run, setup)
    assert len(exported) == 1
    assert "The export is the plain ResNet" in (run.folder / finish.PAGE).read_text()
    keep(run, comparison.KEY, before[0])
    trained_network.save(run.folder, before[1])


def test_it_is_shown_in_the_page_and_in_json(made, capsys):
    run, _ = made
    page = "\n\n".join(comparison.section(run))
    document = comparison.brief(run)
    assert document["sentence"].split(",")[0] in page
    assert all(row["name"].split(" (")[0] in page for row in document["rows"])
    assert "correct" not in document["rows"][0]
    assert json.loads(json.dumps(document)) == document


def test_it_is_shown(made, nas):
    run, _ = made
    shown, document = nas("show", run.folder).stdout.splitlines(), comparison.brief(run)
    at = next(n for n, line in enumerate(shown) if line.startswith("model "))
    assert [line.split("  ")[0] for line in shown[at + 1 : at + 5]] == [row["name"] for row in document["rows"]]
    assert shown[at + 5 : at + 5 + len(lines := comparison.lines(comparison.read(run)))] == lines
    assert json.loads(nas("show", run.folder, "--json").stdout)["comparison"] == document
    assert document["sentence"].split(",")[0] in next(
        line for line in (run.folder / finish.PAGE).read_text().splitlines() if line.startswith("The search was")
    )


def test_more_budget_compares_anew(made):
    run, _ = made
    kept = {key: store.get_meta(run, key) for key in ("report", comparison.KEY, comparison.PLAN, "config")}
    session.extend(run, session.load(run.config), evals=2)
    assert comparison.read(run) is None
    for key in ("report", comparison.KEY, comparison.PLAN):
        store.set_meta(run, key, kept[key])
    store.set_config(run, run.config)


_OF_LATE = ("no_plain", "searched", "mirrored_share")
"""What comparisons of earlier versions do not say."""
_MAY_BE_NONE = ("arch", "valid_score", "parameters", "latency_ms", "kind", "name")


def test_a_damaged_comparison_is_one_line(made):
    run, _ = made
    kept = comparison.read(run)
    one, *others = kept["rows"]
    rows = [
        [1],
        [{"name": "x"}],
        [],
        others[:1],
        *([one | {key: None}, *others] for key in one if key not in _MAY_BE_NONE),
    ]
    texts = [{k: v for k, v in kept.items() if k != key} for key in kept if key not in _OF_LATE]
    for damaged in (
        {},
        *(kept | {"rows": each} for each in rows),
        kept | {"sentence": 3},
        kept | {"handed_out": 3},
        *(kept | {key: 3} for key in ("no_plain", "searched")),
        *texts,
    ):
        store.set_meta(run, comparison.KEY, damaged)
        with pytest.raises(UserError, match="keeps a comparison"):
            comparison.read(run)
    store.set_meta(run, comparison.KEY, {k: v for k, v in kept.items() if k not in _OF_LATE})  # As before.
    assert comparison.lines(comparison.read(run)) == comparison.lines(kept)
    store.set_meta(run, comparison.KEY, kept)


def test_a_run_remembers_that_it_ends_with_a_comparison(made):
    run, _ = made
    assert RunConfig.from_json(run.config.to_json()) == run.config
    stored = json.loads(run.config.to_json())
    assert not RunConfig.from_json(json.dumps({k: v for k, v in stored.items() if k != "comparison"})).comparison
    with pytest.raises(UserError, match="for 'comparison', which takes no such value"):
        RunConfig.from_json(json.dumps(stored | {"comparison": 1}))


def test_no_comparison_is_made_where_none_is_asked_for(made):
    run, setup = made
    assert simpler.wanted(replace(run.config, comparison=False), setup) is None
    assert simpler.wanted(run.config, setup) is setup.evaluator.training


def test_where_the_plain_network_is_found_it_stands_there_once(made):
    run, setup = made
    plain = setup.evaluator.training.reference(torch.zeros(6).long())
    assert list(simpler.train(run, setup, plain)) == [FOUND]


def test_a_line_says_why_the_plain_network_is_missing(made, monkeypatch):
    run, setup = made
    kept, training = comparison.read(run), setup.evaluator.training
    plain, other = training.reference(torch.zeros(6).long()), torch.zeros(6).long()
    assert kept["no_plain"] == ""
    assert (
        simpler.why_no_plain(run, setup.evaluator, training, plain)
        == "The plain ResNet has no row: it is what the search found."
    )
    diverged = "The plain ResNet has no row: one of its trainings diverged."
    assert simpler.why_no_plain(run, setup.evaluator, training, other) == diverged
    with monkeypatch.context() as patch:
        patch.setattr(simpler, "_keeps_constraints", lambda *_: False)
        broken = "The plain ResNet has no row: it breaks a constraint."
        assert simpler.why_no_plain(run, setup.evaluator, training, other) == broken
    monkeypatch.setattr(type(training), "reference", lambda self, arch: None)
    said = "The plain ResNet has no row: the space 'nasbench201' has none."
    assert simpler.why_no_plain(run, setup.evaluator, training, other) == said
    assert comparison.lines(kept | {"no_plain": said}) == [
        *comparison.lines(kept)[:-1],
        said,
        comparison.lines(kept)[-1],
    ]


@pytest.fixture
def diverging(made, tmp_path, monkeypatch):
    """A finished run, with or without a comparison, in which the final trainings of some kinds of networks diverge."""
    own = type(made[1].evaluator).each_final_network

    @contextmanager
    def finished(kinds, *, compared=True):
        config = replace(made[0].config, comparison=compared)
        setup = session.load(config)
        plain = setup.evaluator.equivalents(setup.evaluator.space.reference_arch)
        plain = setup.evaluator.space.describe(plain)

        def broken(self, trainings):
            for n, one in own(self, trainings):
                if (REFERENCE if one.arch == plain else FOUND) in kinds:
                    nothing = {name: value * float("nan") for name, value in one.state_dict.items()}
                    logits = torch.full_like(one.metrics["test_probabilities"], torch.nan)
                    measured = metrics.test_metrics(logits, torch.tensor(one.metrics["test_labels"]))
                    one = one._replace(state_dict=nothing, metrics=one.metrics | measured)
                yield n, one

        monkeypatch.setattr(type(setup.evaluator), "each_final_network", broken)
        with session.start(tmp_path / "run", config, setup) as run:
            list(session.resume(run, setup))
            finish.finish(run, setup)
            yield run

    # Files take seconds to write.
    monkeypatch.setattr(trained_network, "write_export", lambda *_, **__: None)
    return finished


def test_where_the_network_found_diverges_the_plain_one_is_handed_out_and_a_line_says_so(diverging, nas):
    with diverging({FOUND}) as run:
        document, report, said = comparison.read(run), store.get_meta(run, "report"), nas("show", run.folder)
        network = trained_network.load(run.folder)
        card = model_card.of(run, network).search
    assert [row["kind"] for row in document["rows"]] == [MAJORITY, LEARNED, REFERENCE]
    assert comparison.lines(document)[:2] == [
        "The network found has no row: one of its trainings diverged. A smaller learning rate (-t lr) trains steadily.",
        "The export is the plain ResNet.",
    ]
    assert card == "The plain ResNet: a training of what random_search in 1 evaluation of metacell found diverged."
    assert not network.diverged
    assert network.arch == document["rows"][-1]["arch"]
    assert report == [None]
    assert "The export is the plain ResNet." in (run.folder / finish.PAGE).read_text()
    assert (said.returncode, "one of its trainings diverged" in said.stdout) == (0, True)


def test_where_the_plain_network_diverges_a_line_says_so(diverging):
    with diverging({REFERENCE}) as run:
        document = comparison.read(run)
    assert [row["kind"] for row in document["rows"]] == [MAJORITY, LEARNED, FOUND]
    assert document["no_plain"] == "The plain ResNet has no row: one of its trainings diverged."


@pytest.mark.parametrize("compared", [True, False])
def test_where_all_diverge_one_error_says_so(diverging, compared):
    says = pytest.raises(UserError, match=r"The final training diverged: .* A smaller learning rate")
    with says, diverging({FOUND, REFERENCE}, compared=compared):
        pass


def test_without_a_comparison_the_best_seed_that_converged_is_handed_out(made, tmp_path, monkeypatch, nas):
    config = replace(made[0].config, comparison=False, seeds=2)
    setup = session.load(config)
    own, training = type(setup.evaluator).each_final_network, setup.evaluator.training
    monkeypatch.setattr(trained_network, "write_export", lambda *_, **__: None)
    with session.start(tmp_path / "run", config, setup) as run:
        list(session.resume(run, setup))
        past = step_log.history(run)
        found = choice.handed_out(run, past, session.best(config, past))
        names = [setup.evaluator.space.describe(training.equivalents(arch)) for arch in found.archs]
        top = choice.top(run, past, found)
        assert names[0] != names[1]

        def broken(self, trainings):
            for n, one in own(self, trainings):
                answers = one.metrics["test_probabilities"] * (torch.nan if one.arch == names[top] else 1)
                yield n, one._replace(metrics=one.metrics | {"test_probabilities": answers})

        monkeypatch.setattr(type(setup.evaluator), "each_final_network", broken)
        finish.finish(run, setup)
        assert trained_network.load(run.folder).arch == names[1 - top]
        assert choice.top(run, past, found) == 1 - top
        reports = store.get_meta(run, "report")
        page = (run.folder / finish.PAGE).read_text()
    assert [value is None for value in reports] == [s == top for s in (0, 1)]
    said = f"Seed {top} is left out: the final training of its best diverged."
    assert said in page
    assert said in nas("show", run.folder).stdout
    assert top_row(json.loads(nas("show", run.folder, "--json").stdout)["best"])["seed"] == 1 - top


def test_a_plain_network_that_breaks_a_constraint_is_not_trained(data, made, tmp_path):
    _, free = made
    space = free.evaluator.training.final_space
    parameters = int(space.cost(space.reference_arch, free.evaluator.task)[0])
    for bound, kept in ((parameters, True), (parameters - 1, False)):
        config = replace(made[0].config, task=f"{data}+params<={bound}")
        setup = session.load(config)
        arch = space.parse("|skip_connect~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
        with session.start(tmp_path / f"run{kept}", config, setup) as run:
            assert (REFERENCE in simpler.train(run, setup, arch)) == kept


def test_a_plain_network_beyond_the_bound_of_a_table_is_not_handed_out(made):
    run, setup = made

    class Bound:
        label, digest, bound, penalty_weight = "table/latency", "", 10.0, 20.0

        def values(self, archs, space):
            return archs.sum(-1).float()

    evaluator = Constrained(setup.evaluator, setup.evaluator.task, (Bound(),))
    assert simpler._keeps_constraints(run, evaluator, torch.tensor([1, 1, 2, 2, 2, 2]))
    assert not simpler._keeps_constraints(run, evaluator, torch.tensor([1, 2, 2, 2, 2, 2]))


def test_a_killed_session_repeats_no_final_training_that_ended(made, tmp_path, monkeypatch):
    config = made[0].config
    setup = session.load(config)
    trained = []
    with session.start(tmp_path / "run", config, setup) as run:
        list(session.resume(run, setup))
        whole = type(setup.evaluator).each_final_network

        def killed(self, trainings):
            yield from whole(self, [one for one in trainings if not one.held_out])
            raise KeyboardInterrupt  # Once the long trainings are done.

        monkeypatch.setattr(type(setup.evaluator), "each_final_network", killed)
        with pytest.raises(KeyboardInterrupt):
            finish.write_report(run, setup)
        again = session.load(config)  # Which remembers nothing.

        def counted(self, trainings):
            trained.extend(trainings)
            return whole(self, trainings)

        monkeypatch.setattr(type(again.evaluator), "each_final_network", counted)
        finish.write_report(run, again)
        simpler.make(run, again)
        assert [one.held_out for one in trained] == [True, True]
        finish.finish(run, again)
        assert not (run.folder / final_trainings.FOLDER).exists()
        first, second = comparison.brief(made[0]), comparison.brief(run)
        for ours, theirs in zip(first["rows"], second["rows"]):
            timeless = ours.keys() - {"seconds", "latency_ms"}
            assert {key: ours[key] for key in timeless} == {key: theirs[key] for key in timeless}
        assert all(row["seconds"] >= 0 for row in second["rows"])


def test_of_trainings_side_by_side_what_has_ended_is_kept_where_another_is_killed(made, tmp_path, monkeypatch):
    setup = session.load(made[0].config)
    training = setup.evaluator.training
    archs = [training.space.parse(row["arch"]) for row in comparison.brief(made[0])["rows"] if row["arch"]]
    asked = [FinalTraining(archs[0], share=0.01), FinalTraining(archs[1], share=0.01)]
    whole = type(training).each_final_network

    def killed(self, trainings):
        yield next(iter(whole(self, trainings)))
        raise KeyboardInterrupt

    with session.start(tmp_path / "run", made[0].config, setup) as run:
        with monkeypatch.context() as patched:
            patched.setattr(type(training), "each_final_network", killed)
            with pytest.raises(KeyboardInterrupt):
                final_trainings.networks(run, training, asked)
        again, trained = session.load(made[0].config).evaluator.training, []
        monkeypatch.setattr(
            type(again), "each_final_network", lambda self, each: (trained.extend(each), whole(self, each))[1]
        )
        found = final_trainings.networks(run, again, asked)
        assert len(trained) == 1
        for ours, theirs in zip(found, training.final_networks(asked)):
            assert all(torch.equal(value, theirs.state_dict[name]) for name, value in ours.state_dict.items())
