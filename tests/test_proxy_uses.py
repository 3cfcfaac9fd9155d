"""Zero-cost proxies as features of models and as a filter of candidates."""

import pytest
import torch
from click.testing import CliRunner

from controller import Proposal, Results
from controller.bayesian import Bayesian
from controller.candidates.proxy_filter import ProxyFilter
from controller.evolution import Evolution
from controller.models import gp, transfer_model
from controller.random_search import RandomSearch
from controller.transfer_bo import TransferBO
from nas import tables, tasks
from nas.commands.search import command
from nas.compare import trial
from nas.compare.trial import TrialSpec
from nas.run import step_log, store
from nas.tasks import network_proxies, proxies, table_proxies
from nas.tasks.proxies import Proxy
from nas.testing import toys
from search_spaces import UserError, _figures, _ops, _sampling
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201()


class Sum:
    """A figure by hand: how large an architecture's numbers are, of mean 0 and variance 1 over the space."""

    count = 1

    def __call__(self, archs):
        return ((archs.sum(-1, keepdim=True) - 12) / 12**0.5).float()


KNOWN = _figures.with_figures(SPACE, Sum())


def scores_of(space, weight):
    """A task whose scores are the figure times a weight, and noise of the rest."""

    def evaluate(proposal):
        noise = torch.sin(proposal.archs.double() @ torch.tensor([3.1, 7.7, 1.3, 9.9, 5.3, 2.2], dtype=torch.float64))
        score = 70 + weight * Sum()(proposal.archs)[..., 0] + noise.float()
        return Results(score, torch.ones_like(score))

    return evaluate


@pytest.mark.parametrize("inner", [RandomSearch, Evolution, Bayesian, TransferBO])
def test_a_filter_evaluates_the_best_of_what_its_controller_proposes_and_nothing_twice(inner):
    made, seeds = inner(SPACE), torch.tensor([3, 4])
    filtered = ProxyFilter(KNOWN, made, 4)
    state = filtered.begin(toys.TASK, seeds)
    seen = set()
    for _ in range(4):
        proposed = made.propose(state.inner, 12).archs
        found = filtered.propose(state, 3).archs
        for one, some, known in zip(proposed, found, state.archs):
            new = {tuple(row) for row in one.tolist()} - {tuple(row) for row in known.tolist()}
            best = sorted((sum(row) for row in new), reverse=True)[:3]
            assert sorted((sum(row) for row in some.tolist()), reverse=True) == best
        rows = [tuple(row) for row in found[0].tolist()]
        assert not seen & set(rows)
        # Had these been evaluated, others of the same proposals would be.
        others = filtered.propose(state._replace(archs=torch.cat([state.archs, found], 1)), 3).archs
        assert not {tuple(row) for row in others[0].tolist()} & set(rows)
        seen |= set(rows)
        state = filtered.learn(state, Proposal(found), scores_of(SPACE, 1.0)(Proposal(found)))


def test_a_search_with_proxies_is_alike_alone_and_in_company_and_goes_on_as_if_never_stopped():
    for made in (Bayesian(KNOWN, num_initial=3), TransferBO(KNOWN), ProxyFilter(KNOWN, Evolution(SPACE))):
        together, _, _ = toys.walk(made, scores_of(SPACE, 1.0), torch.tensor([1, 5, 9]), 2, steps=6)
        alone, _, state = toys.walk(made, scores_of(SPACE, 1.0), torch.tensor([5]), 2, steps=6)
        assert torch.equal(together[1], alone[0])
        again = made.propose(state, 2).archs
        assert torch.equal(again, made.propose(state, 2).archs)


def predicted(controller, space, first, score, ahead):
    """What the controller's model expects of `ahead`, from normal scores."""
    targets = torch.special.ndtri((score.argsort().argsort() + 0.5) / score.shape[1])
    if controller is Bayesian:
        return gp.GaussianProcess(space)._posterior(first, targets.float(), ahead)[0]
    model = transfer_model.make(space)
    posterior = model.posterior(transfer_model.History(first, targets.double()), model.features(ahead))
    return (posterior.weight[..., None] * posterior.mean).sum(1)


@pytest.mark.parametrize("controller", [Bayesian, TransferBO])
def test_a_model_that_knows_a_figure_follows_it_where_scores_do(controller):
    archs = _sampling.sample(SPACE, torch.tensor([0]), 0, 200)
    first, ahead = archs[:, :16], archs[:, 16:]
    figure = Sum()(ahead)[0, :, 0].double()
    slope = {}
    for weight in (3.0, 0.0):
        score = scores_of(SPACE, weight)(Proposal(first)).score
        known, plain = (predicted(controller, space, first, score, ahead)[0].double() for space in (KNOWN, SPACE))
        slope[weight] = ((known * figure).mean() / figure.square().mean()).item()
        if weight:
            truth = scores_of(SPACE, weight)(Proposal(ahead)).score[0].double()
            fit_known, fit_plain = (torch.corrcoef(torch.stack([each, truth]))[0, 1] for each in (known, plain))
            assert fit_known > fit_plain
    assert abs(slope[0.0]) < slope[3.0] / 2


def test_a_space_without_figures_is_searched_as_before_and_figures_change_no_draw():
    plain, _, _ = toys.walk(RandomSearch(SPACE), scores_of(SPACE, 1.0), torch.tensor([1, 2]), 2, steps=4)
    known, _, _ = toys.walk(RandomSearch(KNOWN), scores_of(SPACE, 1.0), torch.tensor([1, 2]), 2, steps=4)
    assert torch.equal(plain, known)


def test_the_prior_s_weight_is_not_that_of_figures():
    model = transfer_model.make(KNOWN)
    assert model.num_figures == 1
    assert not model.ensemble.uses_prior.any()
    assert len(model.ensemble.uses_prior) == len(transfer_model.make(SPACE).ensemble.uses_prior) + 3


def test_columns_become_normal_scores_and_what_is_not_measured_the_mean_of_its_equivalents():
    evaluator = tasks.find("own201/digits")
    found = proxies.of("params,own201/digits/params", evaluator)
    archs = _ops.enumerate_all(SPACE.choices)
    score = found(archs)
    assert score.shape == (15_625, 2)
    # Parameters promise more; of a column the table says what is wanted, of parameters the fewest.
    counted, column = score.T
    by_table = tables.find("own201").by_index("digits/params", SPACE.choices)
    parameters, _ = evaluator.space.cost(evaluator.space.equivalents(archs, deep=True), evaluator.task)
    for figure, value in ((counted, parameters), (column, -by_table)):
        order = value.argsort(stable=True)
        assert (figure[order].diff() >= 0).all()
        assert torch.equal(figure[order].diff() == 0, value[order].diff() == 0)


def test_what_a_table_did_not_measure_has_the_mean_of_its_equivalents_or_the_middle():
    value = torch.tensor([1.0, torch.nan, 3.0, 5.0, torch.nan], dtype=torch.float64)
    same = torch.tensor([0, 0, 1, 1, 2])
    found = table_proxies._filled_scores(value, same)
    assert found[0] == found[1] < found[2] < found[3]
    assert found[4] == 0


def test_on_images_a_proxy_is_that_of_the_network_that_is_trained_and_computed_once():
    evaluator = tasks.find("digits", channels="4", epochs="1")
    found = network_proxies.of(("params",), evaluator)
    archs = _sampling.sample(evaluator.space, torch.tensor([1]), 0, 5)[0]
    first = found(archs)
    known = len(found.known)
    assert torch.equal(found(archs[None])[0], first)
    assert len(found.known) == known
    trained = evaluator.equivalents(archs)
    networks = [evaluator.space.build(arch, evaluator.task) for arch in trained]
    by_hand = torch.tensor([sum(p.numel() for p in network.parameters()) for network in networks])
    values = torch.tensor([found.known[index][0] for index in _ops.whole_indices(trained, SPACE.choices)])
    assert torch.equal(values.long(), by_hand)
    assert torch.equal(first[:, 0].argsort(stable=True), by_hand.argsort(stable=True))


REFUSED = [
    (["--task", "own201/digits", "--proxy", "naswot"], "say --proxy-as feature or --proxy-as filter"),
    (["--task", "own201/digits", "--proxy-as", "filter"], "no --proxy says of what"),
    (["--task", "own201/digits", "--proxy", "smell", "--proxy-as", "filter"], "which no table of space"),
    (["--task", "own201/digits", "--proxy", "own201/digits/valid_accuracy@4", "--proxy-as", "filter"], "without training"),
    (["--task", "own201/digits", "--proxy", "params", "--proxy-as", "feature", "--controller", "evolution"], "reads no features"),
    (["--task", "own201/digits", "--proxy", "params", "--proxy-as", "filter", "--controller", "hyperband"], "proposals counts"),
    (["--task", "digits", "--proxy", "smell", "--proxy-as", "filter"], "zero-cost proxy is called"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "says"), REFUSED)
def test_what_leads_nowhere_is_refused_in_a_line(options, says):
    with pytest.raises(UserError, match=says) as error:
        CliRunner().invoke(command, options, catch_exceptions=False, standalone_mode=False)
    assert "\n" not in str(error.value)


def test_a_run_keeps_its_proxy_and_goes_on(nas, tmp_path):
    asked = ("--task", "own201/digits", "--controller", "bayesian", "--proxy", "params,flops", "--proxy-as", "filter")
    assert nas("search", *asked, "--evals", 16, "--name", "whole").returncode == 0
    assert nas("search", *asked, "--evals", 11, "--name", "parts").returncode == 0
    assert nas("resume", "parts", "--evals", 16).returncode == 0
    archs = []
    for name in ("whole", "parts"):
        with store.open_run(tmp_path / "runs" / name) as run:
            archs.append(step_log.history(run).archs)
    assert torch.equal(*archs)
    assert len(archs[0][0].unique(dim=0)) == 16


def test_a_comparison_takes_proxies_as_settings():
    plain, known = (
        trial.run(TrialSpec("own201/digits", f"evolution{more}", 20, 20, None))[0].score.amax(1).mean()
        for more in ("", ":proxy=params:proxy_as=filter")
    )
    assert plain != known
    for wrong in ("proxy=params", "proxy_as=filter", "proxy=params:proxy_as=filter:proxy_proposed=0"):
        with pytest.raises(UserError, match="proxy"):
            trial.check(f"evolution:{wrong}")


def test_a_controller_without_a_proxy_is_the_plain_one():
    evaluator = tasks.find("own201/digits")
    assert proxies.controller_on(evaluator, Evolution, {}, "evolution", None, Proxy("", "score")) == Evolution(
        evaluator.space
    )
