"""One name for an architecture wherever a run speaks of it: that of the network that is trained and exported."""

from __future__ import annotations

import json

import pytest

from nas.run import choice, finish, names, session, step_log, subject, trained_network
from nas.run.config import RunConfig
from nas.run.names import Name
from nas.run.summary import summary

TINY = {
    "epochs": "1",
    "examples": "64",
    "channels": "4",
    "final_epochs": "1",
    "final_channels": "4",
    "final_cells": "1",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    config = RunConfig("digits", "random_search", prior="none", evals=10, leaders=2, training_options=TINY)
    setup = session.load(config)
    with session.start(tmp_path_factory.mktemp("runs") / "one", config, setup) as run:
        list(session.resume(run, setup))
        finish.write_report(run, setup)
        yield run, setup


def test_rows_have_the_name_of_what_is_trained_and_what_was_proposed_beside_it(made):
    run, setup = made
    space, training = setup.evaluator.space, setup.evaluator.training
    past, rows = step_log.history(run), names.trials_of(run)
    assert len(rows) == past.archs.shape[1]
    for arch, row in zip(past.archs[0], rows):
        trained, proposed = space.describe(training.equivalents(arch)), space.describe(arch)
        assert (row.architecture, row.proposed_as) == (trained, None if trained == proposed else proposed)
    assert any(row.proposed_as for row in rows)
    assert [row.architecture for row in subject.trials_of(run)] == [space.describe(arch) for arch in past.archs[0]]


def test_all_that_a_run_writes_and_prints_names_its_network_alike(made, nas):
    run, setup = made
    winner, (row,) = trained_network.load(run.folder), summary(run)["best"]
    assert row["arch"] == winner.arch
    leader = choice.choices(run, step_log.history(run))[0].leaders[0]
    assert leader.arch == winner.arch
    name = Name(row["arch"], row["proposed_as"])
    shown = nas("show", run.folder).stdout.splitlines()
    assert f"best    {name.sentence()}" in shown
    assert any(line.endswith(name.sentence()) for line in nas("trials", run.folder).stdout.splitlines())
    points = json.loads(nas("show", run.folder, "--front", "--json").stdout)["points"]
    assert sum(point["arch"] == winner.arch for point in points) == 1
    assert f"Architecture: `{winner.arch}`" in finish.page(run, setup, winner)


def test_the_page_says_both_names(made, monkeypatch):
    run, setup = made
    winner = trained_network.load(run.folder)
    monkeypatch.setattr(names, "of", lambda *_: Name(winner.arch, "another"))
    assert f"\nArchitecture: `{winner.arch}`, proposed as `another`\n" in finish.page(run, setup, winner)
    both = finish.page(run, setup, winner._replace(members=("one", "two")))
    assert "\nArchitectures of the ensemble: `one`, `two`. The search found `" in both
    monkeypatch.setattr(finish.comparison, "plain_handed_out", lambda _: "The export is the plain ResNet.")
    monkeypatch.setattr(names, "of", lambda *_: Name("found", None))
    said = f"\nArchitecture: `{winner.arch}`, the plain ResNet. The search found `found`.\n"
    assert said in finish.page(run, setup, winner)


def test_a_table_has_a_score_for_each_architecture_and_names_it_as_it_was_proposed(table, tmp_path):
    table("own201")
    config = RunConfig("own201/digits", "random_search", prior="none", evals=20)
    setup = session.load(config)
    with session.start(tmp_path / "run", config, setup) as run:
        list(session.resume(run, setup))
        assert names.trials_of(run) == subject.trials_of(run)
        assert {row.proposed_as for row in names.trials_of(run)} == {None}
        assert summary(run)["best"][0]["proposed_as"] is None
