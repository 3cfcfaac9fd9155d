"""NAS-Bench-Graph's space: which architectures the benchmark has, and what it writes as one."""

import importlib.util

import pytest
import torch

from nas import tables, tasks
from nas.testing import space_laws
from search_spaces import Task, UserError, _ops
from search_spaces.nasbench_graph import NasBenchGraph

SPACE = NasBenchGraph()
EVERY = _ops.enumerate_all(SPACE.choices)
VALID = EVERY[SPACE.valid(EVERY)]


def same(one, other):
    return torch.equal(SPACE.canonical(SPACE.parse(one)), SPACE.canonical(SPACE.parse(other)))


def test_there_are_as_many_architectures_as_the_paper_says():
    assert len(VALID) == 26_206


def test_they_are_those_of_the_table():
    if "nasbench-graph" not in tables.names():
        pytest.skip("no table of NAS-Bench-Graph")
    archs = tables.find("nasbench-graph").archs.long()
    assert torch.equal(_ops.index(archs, SPACE.choices).sort().values, _ops.index(VALID, SPACE.choices).sort().values)


def test_a_search_of_the_table_reports_the_test_accuracy():
    if "nasbench-graph" not in tables.names():
        pytest.skip("no table of NAS-Bench-Graph")
    evaluator = tasks.find("nasbench-graph/cora")
    expected = tables.find("nasbench-graph").column("cora/test_accuracy")[:5]
    assert torch.equal(evaluator.report(tables.find("nasbench-graph").archs[:5].long()), expected)


def test_one_architecture_is_written_in_one_way():
    # The nodes in any order.
    assert same("0 gcn, 1 gin, 2 fc, 1 cheb", "0 gcn, 1 gin, 1 cheb, 2 fc")
    # A skip that others read does nothing, wherever it stands.
    assert same("0 gcn, 1 skip, 2 gat, 3 fc", "0 skip, 1 gcn, 2 gat, 3 fc")
    # So does one at the end that no other reads beside, and one that would hand the input to the output.
    assert same("0 gcn, 1 gat, 2 fc, 3 skip", "0 skip, 1 gcn, 2 gat, 3 fc")
    assert same("0 gcn, 1 gat, 2 fc, 0 skip", "0 skip, 1 gcn, 2 gat, 3 fc")
    # One beside another hands on what that one reads.
    assert not same("0 gcn, 1 gat, 1 skip, 2 fc", "0 skip, 1 gcn, 2 gat, 3 fc")
    assert not same("0 gcn, 1 gat, 2 fc, 3 gin", "0 gcn, 1 fc, 2 gat, 3 gin")


def test_every_combination_is_written_as_one_that_is_valid_but_skips_alone():
    written = SPACE.canonical(EVERY)
    skips_alone = (EVERY[:, 4:] == SPACE.operations[-1].index("skip")).all(-1)
    assert torch.equal(SPACE.valid(written), ~skips_alone)
    assert torch.equal(SPACE.canonical(written), written)


@pytest.mark.parametrize("text", ["0 gcn", "0 gcn, 2 gat, 0 fc, 0 fc", "0 gcn, 0 none, 0 fc, 0 fc", ""])
def test_what_is_no_architecture_is_refused_in_a_line(text):
    with pytest.raises(UserError, match="takes four nodes"):
        SPACE.parse(text)


def test_networks_are_refused_in_a_line_where_their_package_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "search_spaces._graph_network", None)
    with pytest.raises(UserError, match=r"pip install 'metacell\[graph\]'"):
        SPACE.build(VALID[0], Task("small", (1, 8, 8), 3))
    space_laws.networks_run(NasBenchGraph)


@pytest.mark.skipif(importlib.util.find_spec("torch_geometric") is None, reason="needs PyTorch Geometric")
@pytest.mark.filterwarnings("ignore")  # PyTorch Geometric imports what PyTorch deprecates.
def test_a_network_computes_its_tree():
    task, text = Task("small", (3, 4, 5), 7), "0 gcn, 1 gat, 1 skip, 2 fc"
    network = SPACE.build(SPACE.parse(text), task)
    features, edges = torch.randn(4, 3), torch.tensor([[0, 1, 2], [1, 2, 3]])
    gcn, gat, _, fc = network.operations
    first = gcn(network.first(features), edges).relu()
    last = fc(gat(first, edges).relu()).relu()
    expected = network.classify(torch.cat([first, last], -1))
    torch.testing.assert_close(network.nodes(features, edges), expected)
    # Neighbors are read, and pixels that are none are not.
    assert network(torch.randn(2, 3, 4, 5)).shape == (2, 7)


@pytest.mark.skipif(importlib.util.find_spec("torch_geometric") is None, reason="needs PyTorch Geometric")
@pytest.mark.filterwarnings("ignore")  # PyTorch Geometric imports what PyTorch deprecates.
def test_the_cost_is_that_of_the_networks():
    task, some = Task("small", (3, 4, 5), 7), VALID[::2000]
    parameters, _ = SPACE.cost(some, task)
    networks = [SPACE.build(arch, task) for arch in some]
    assert parameters.tolist() == [sum(p.numel() for p in network.parameters()) for network in networks]


def test_the_cost_of_a_network_worked_by_hand():
    """A chain of two `fc` behind skips: 3 x 8 + 8, twice 8 x 8 + 8, and 8 x 7 + 7 weights; 20 pixels."""
    parameters, flops = NasBenchGraph(8).cost(SPACE.parse("0 skip, 1 skip, 2 fc, 3 fc"), Task("small", (3, 4, 5), 7))
    assert (int(parameters), int(flops)) == (32 + 2 * 72 + 63, 20 * (24 + 128) + 56)
