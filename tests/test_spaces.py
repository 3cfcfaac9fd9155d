"""Laws of the spaces found on disk; NAS-Bench-201's against the benchmark's own figures; the noise against its paper's."""

import pytest
import torch
from nats_bench.genotype_utils import topology_str2structure

from nas import plugins
from search_spaces import Task, UserError, _cell_equivalents, _cells, _network_costs, _noise, _ops
from search_spaces.nasbench201 import NasBench201

CIFAR10, CIFAR100 = Task("cifar10", (3, 32, 32), 10), Task("cifar100", (3, 32, 32), 100)
SMALL = Task("small", (1, 12, 9), 7)
NB201 = NasBench201()
EVERY_SPACE = pytest.mark.parametrize("space", [plugins.load("space", n)() for n in plugins.names("space")], ids=str)


def some(space, count):
    """Architectures `[count, D]` at random, valid ones only."""
    archs = _ops.sample_unchecked(torch.tensor([0]), 0, 20 * count, space.choices).squeeze(0)
    return archs[space.valid(archs)][:count]


@EVERY_SPACE
def test_what_is_described_is_parsed_back(space):
    for arch in some(space, 200):
        assert torch.equal(space.parse(space.describe(arch)), arch)


@EVERY_SPACE
def test_canonical_is_valid_and_idempotent(space):
    archs = some(space, 2000)
    once = space.canonical(archs)
    assert space.valid(once).all()
    assert torch.equal(space.canonical(once), once)


@EVERY_SPACE
def test_decisions_are_named_one_by_one(space):
    assert len(space.decisions) == len(space.operations) == len(space.choices)
    assert tuple(map(len, space.operations)) == space.choices


@EVERY_SPACE
def test_built_networks_run_forward_and_backward_on_any_picture(space):
    if space.name == "nasbench-graph":
        pytest.importorskip("torch_geometric", reason="needs PyTorch Geometric")
    for arch in some(space, 3):
        net = space.build(arch, SMALL)
        logits = net(torch.randn(2, *SMALL.input_shape))
        assert logits.shape == (2, SMALL.num_classes)
        logits.sum().backward()


@EVERY_SPACE
def test_ranks_count_the_architectures_in_order(space):
    archs = some(space, 500)
    assert torch.equal(_ops.from_index(_ops.index(archs, space.choices), space.choices), archs)


@EVERY_SPACE
def test_neighbours_differ_in_one_decision_and_are_all_there(space):
    arch = some(space, 1)[0]
    around = _ops.neighbours(arch, space.choices)
    assert ((around != arch).sum(-1) == 1).all()
    assert len({tuple(a) for a in around.tolist()}) == sum(space.choices) - len(space.choices)


def test_canonical_merges_what_the_benchmark_calls_the_same():
    archs = _ops.enumerate_all(NB201.choices)
    theirs = [topology_str2structure(NB201.describe(a)).to_unique_str(consider_zero=True) for a in archs]
    ours = _ops.index(NB201.canonical(archs), NB201.choices).tolist()
    assert len(set(ours)) == len(set(theirs)) == len(set(zip(ours, theirs))) == 6466


def test_canonical_twins_compute_the_same_once_weights_are_carried_over():
    archs = _ops.enumerate_all(NB201.choices)
    changed = archs[(NB201.canonical(archs) != archs).any(-1)]
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    for arch in changed[:: len(changed) // 300]:
        ours, twins = (cell_with_named_weights(a)(x) for a in (arch, NB201.canonical(arch)))
        torch.testing.assert_close(ours, twins, rtol=1e-4, atol=1e-5)


def cell_with_named_weights(arch):
    """A cell whose convolutions' weights belong to what they compute: the same expression, the same weights."""
    names = [NB201.operations[0][c] for c in arch.tolist()]
    computes = _cell_equivalents.node_strings(arch.tolist(), NB201.operations[0])
    cell = _cells.Cell(names, 4, 4).eval()
    for edge, (name, (i, _)) in enumerate(zip(names, _cells.EDGES)):
        if name.startswith("nor_conv"):
            words = f"{name} of {computes[i]}"
            generator = torch.Generator().manual_seed(sum(ord(c) * 31**k for k, c in enumerate(words)) % 2**40)
            for weight in cell.edges[edge].parameters():
                if weight.dim() == 4:
                    weight.data.normal_(generator=generator)
    return cell


def test_parameters_equal_the_tables_for_every_architecture(table):
    known = table("nasbench201").by_index("cifar10/params", NB201.choices)
    params, _ = NB201.cost(_ops.enumerate_all(NB201.choices), CIFAR10)
    torch.testing.assert_close(params / 1e6, known.double(), rtol=0, atol=1e-6, check_dtype=False)


def test_flops_equal_the_tables_for_every_architecture_but_the_benchmarks_150_odd_ones(table):
    """The table is rounded to 0.01 million; in 150 rows the original benchmark counted another network's operations."""
    known = table("nasbench201").by_index("cifar100/flops", NB201.choices)
    _, flops = NB201.cost(_ops.enumerate_all(NB201.choices), CIFAR100)
    assert ((flops / 1e6 - known).abs() > 0.0051).sum() == 150


def test_counted_parameters_are_those_of_built_networks():
    for arch in some(NB201, 8):
        for space, task in ((NB201, CIFAR10), (NasBench201(channels=6, cells=2, stem_stride=2), SMALL)):
            built = sum(p.numel() for p in space.build(arch, task).parameters())
            assert built == space.cost(arch, task)[0]


def test_with_no_cells_a_stage_there_is_one_in_all():
    space = NasBench201(channels=8, cells=0)
    bodies = [NasBench201(8, cells).build(space.reference_arch, SMALL).body for cells in (0, 1)]
    assert [sum(isinstance(part, _cells.Cell) for part in body) for body in bodies] == [1, 3]
    for arch in some(NB201, 4):
        assert [int(n) for n in space.cost(arch, SMALL)] == list(_network_costs.counts(space, arch, SMALL))


BAD = {
    "|none~0|": "nodes joined by",
    "|none~0|+|none~0|+|none~0|none~1|none~2|": "Node 2",
    "|none~0|+|none~0|conv~1|+|none~0|none~1|none~2|": "Edge 1-2",
    "|none~0|+|none~0|none~0|+|none~0|none~1|none~2|": "Edge 1-2",
    "": "nodes joined by",
}


@pytest.mark.parametrize(("text", "says"), BAD.items())
def test_a_malformed_string_is_told_where(text, says):
    with pytest.raises(UserError, match=says):
        NB201.parse(text)


@pytest.mark.parametrize("text", ["8:8:8:8", "8:8:8:8:9", "8:8:8:8:x", "0:8:8:8:8"])
def test_a_malformed_size_is_told(text):
    with pytest.raises(UserError, match="width"):
        plugins.load("space", "natsbench_size")().parse(text)


ONES = 0xFFFFFFFF
KNOWN_ANSWERS = [
    ((0, 0, 0), (0xFF1DAE59, 0x6CD10DF2)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E), (0xDD7CE038, 0xF62A4C12)),
    ((ONES, ONES, ONES), (0x2C3F628B, 0xAB4FD7AD)),
]


@pytest.mark.parametrize(("asked", "answer"), KNOWN_ANSWERS)
def test_philox_gives_its_authors_answers(asked, answer):
    """The vectors of Random123's kat_vectors, philox2x32 with ten rounds."""
    words = _noise.philox(*(torch.tensor([word]) for word in asked))
    assert tuple(w.item() for w in words) == answer


def test_noise_is_uniform_and_streams_are_apart():
    seeds = torch.arange(200)
    u = _noise.uniform(seeds, 3, 50)
    assert abs(u.mean().item() - 0.5) < 0.01
    assert abs(u.var().item() - 1 / 12) < 0.002
    others = [_noise.uniform(seeds, 3, 50, stream=1), _noise.uniform(seeds, 4, 50), _noise.uniform(seeds + 1, 3, 50)]
    for other in others:
        assert abs(torch.corrcoef(torch.stack([u.flatten(), other.flatten()]))[0, 1].item()) < 0.05
