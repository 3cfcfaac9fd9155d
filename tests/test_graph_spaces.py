"""The spaces whose cells are graphs, DARTS and NAS-Bench-101: published sizes, isomorphic cells, the field's texts."""

import itertools

import pytest
import torch

from search_spaces import Task, UserError, _nasbench101_network, _ops
from search_spaces.darts import Darts
from search_spaces.nasbench101 import NasBench101

DARTS, NB101 = Darts(), NasBench101()
CIFAR10 = Task("cifar10", (3, 32, 32), 10)
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', "
    "2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
INCEPTION = (
    "ModelSpec(matrix=[[0, 1, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0, 0], "
    "[0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0]], ops=['input', 'conv1x1-bn-relu', 'conv3x3-bn-relu', "
    "'conv3x3-bn-relu', 'conv3x3-bn-relu', 'maxpool3x3', 'output'])"
)
LAYERS = NB101.operations[-1]
NODE = "|skip_connect~0|skip_connect~1|"


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_the_paper_s_cells_have_the_parameters_that_its_repository_prints():
    """`param size = 3.349342MB` in the README's log of `DARTS_V2` with 36 channels and 20 cells on CIFAR-10."""
    arch = DARTS.parse(DARTS_V2)
    assert DARTS.describe(arch).startswith(
        "normal |sep_conv_3x3~0|sep_conv_3x3~1|+|sep_conv_3x3~0|sep_conv_3x3~1|+|skip"
    )
    assert parameters(Darts(36, 20).build(arch, CIFAR10)) == 3_349_342


def test_the_benchmark_s_example_has_the_parameters_that_it_prints():
    """`trainable_parameters: 2694282` of the Inception-like cell in NAS-Bench-101's README."""
    assert parameters(NasBench101(128, 3).build(NB101.parse(INCEPTION), CIFAR10)) == 2_694_282


def test_channels_are_shared_as_by_hand():
    """Vertices 1 to 3 lead to the output, 10 channels: 4, 3 and 3. Vertex 4 leads to 1 and to 3... as wide as the wider."""
    matrix = torch.zeros(6, 6, dtype=torch.long)
    for i, j in ((0, 1), (1, 2), (1, 3), (0, 4), (2, 5), (3, 5), (4, 5)):
        matrix[i, j] = 1
    assert _nasbench101_network.vertex_channels(matrix.tolist(), 10) == [0, 4, 4, 3, 3, 10]


def weisfeiler_lehman(matrix, labels):
    """The benchmark's hash of a graph (`graph_util.hash_module`), with tuples in place of digests."""
    V = len(matrix)
    hashes = [hash((sum(matrix[v]), sum(row[v] for row in matrix), labels[v])) for v in range(V)]
    for _ in range(V):
        around = [
            (sorted(hashes[w] for w in range(V) if matrix[w][v]), sorted(hashes[w] for w in range(V) if matrix[v][w]))
            for v in range(V)
        ]
        hashes = [hash((tuple(i), tuple(o), h)) for (i, o), h in zip(around, hashes)]
    return hash(tuple(sorted(hashes)))


def kept(arch):
    """Matrix and labels of what lies on a way from the input to the output, worked out vertex by vertex."""
    ones = {(i, j) for (i, j), e in zip(itertools.combinations(range(7), 2), arch[:21]) if e}
    every = [(0, *inner, 6) for n in range(6) for inner in itertools.combinations(range(1, 6), n)]
    ways = [way for way in every if ones.issuperset(itertools.pairwise(way))]
    vertices = sorted({v for way in ways for v in way})
    labels = [-1, *(arch[20 + v] for v in vertices[1:-1]), -2]
    return [[int((a, b) in ones) for b in vertices] for a in vertices], labels


def test_canonical_merges_what_the_benchmark_s_hash_merges():
    archs = _ops.sample_unchecked(torch.tensor([5]), 0, 1500, NB101.choices)[0]
    archs = archs[NB101.valid(archs)]
    theirs = [weisfeiler_lehman(*kept(arch)) for arch in archs.tolist()]
    ours = list(map(tuple, NB101.canonical(archs).tolist()))
    assert len(set(ours)) == len(set(theirs)) == len(set(zip(ours, theirs))) < len(ours)


@pytest.mark.parametrize(("vertices", "graphs"), [(2, 1), (3, 6), (4, 84)])
def test_there_are_as_many_cells_as_the_benchmark_counts(vertices, graphs):
    """Of two to seven vertices 1, 6, 84, 2,441, 62,010 and 359,082: 423,624 together. `runs/nasbench101_count.py` counts all."""
    places = list(itertools.combinations(range(vertices), 2))
    names = ["input", *[""] * (vertices - 2), "output"]
    archs = []
    for bits in itertools.product((0, 1), repeat=len(places)):
        matrix = [[0] * vertices for _ in range(vertices)]
        for (i, j), bit in zip(places, bits):
            matrix[i][j] = bit
        for inner in itertools.product(LAYERS, repeat=vertices - 2):
            archs.append(NB101.parse(f"{matrix} {[names[0], *inner, names[-1]]}"))
    archs = torch.stack(archs)
    found = NB101.canonical(archs[NB101.valid(archs)]).unique(dim=0).tolist()
    assert sum(len(kept(arch)[0]) == vertices for arch in found) == graphs


def test_an_edge_too_many_is_not_valid_unless_it_leads_nowhere():
    full = NB101.parse(INCEPTION)
    assert NB101.valid(full)
    more = full.clone()
    more[[NB101.decisions.index(edge) for edge in ("1-2", "0-6")]] = 1  # Nine edges and two.
    assert not NB101.valid(more)
    dead = torch.zeros_like(full)
    dead[NB101.decisions.index("0-6")] = 1
    dead[[NB101.decisions.index(f"{i}-{j}") for i in range(1, 5) for j in range(i + 1, 6)]] = (
        1  # Ten that no way leads to.
    )
    assert NB101.valid(dead)
    assert NB101.canonical(dead).sum() == 1
    assert not NB101.valid(torch.zeros_like(full))


def test_cells_of_darts_that_differ_in_the_order_of_nodes_are_one():
    first, second = "|sep_conv_3x3~0|skip_connect~1|", "|sep_conv_5x5~0|max_pool_3x3~1|"
    one = f"{first}+{second}+|avg_pool_3x3~2|skip_connect~3|+{NODE}"
    other = f"{second}+{first}+{NODE}+|skip_connect~2|avg_pool_3x3~3|"
    a, b = (DARTS.parse(f"normal {cell} reduce {one}") for cell in (one, other))
    assert not torch.equal(a, b)
    assert torch.equal(DARTS.canonical(a), DARTS.canonical(b))
    swapped = DARTS.parse(f"normal {one} reduce {one.replace('sep_conv_3x3~0', 'sep_conv_5x5~0')}")
    assert not torch.equal(DARTS.canonical(a), DARTS.canonical(swapped))


@pytest.mark.parametrize("space", [DARTS, NB101], ids=lambda space: space.name)
def test_canonical_cells_are_no_larger_and_no_smaller(space):
    archs = _ops.sample_unchecked(torch.tensor([1]), 0, 12, space.choices)[0]
    for arch in archs[space.valid(archs)]:
        one, other = (parameters(space.build(a, CIFAR10)) for a in (arch, space.canonical(arch)))
        assert one == other


BAD_DARTS = {
    "": "takes the form",
    f"normal {NODE} reduce {NODE}": "takes 4 nodes",
    f"normal {'+'.join([NODE] * 4)} reduce {'+'.join([NODE] * 3)}+|none~0|skip_connect~1|": "operation 'none'",
    f"normal {'+'.join([NODE] * 4)} reduce {'+'.join([NODE] * 3)}+|skip_connect~1|skip_connect~1|": "two of 0 to 4",
    f"normal |skip_connect~0|skip_connect~2|+{'+'.join([NODE] * 3)} reduce {'+'.join([NODE] * 4)}": "two of 0 to 1",
    DARTS_V2.replace("reduce", "reduction"): r"names no 'reduce=\[...\]'",
    DARTS_V2.replace("[2, 3, 4, 5]", "[4, 5]"): "not all four nodes",
}
BAD_NB101 = {
    "": "takes the form",
    "100001 00000 0000 000 00 1": "takes the form",
    "100001 00000 0000 000 00 1 conv maxpool3x3 maxpool3x3 maxpool3x3 maxpool3x3": "No operation is called 'conv'",
    "[[0, 1], [1, 0]] ['input', 'output']": "below the diagonal",
    "[[0, 1], [0, 0]] ['input', 'maxpool3x3', 'output']": "takes 2 operations",
    "[[0, 1], [0, __import__('os')]] ['input', 'output']": "a matrix and a list",
    "[]": "a matrix and a list",
}


@pytest.mark.parametrize(
    ("space", "text", "says"),
    [(space, *bad) for space, cases in ((DARTS, BAD_DARTS), (NB101, BAD_NB101)) for bad in cases.items()],
    ids=str,
)
def test_what_is_no_cell_is_told_in_a_line(space, text, says):
    with pytest.raises(UserError, match=says) as error:
        space.parse(text)
    assert "\n" not in str(error.value)
