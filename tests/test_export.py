"""An exported network computes what the found one computes, from files that hold no code but the Python one."""

from __future__ import annotations

import itertools
import json
import pickletools
import subprocess
import sys
import zipfile

import pytest
import torch

from nas.export import draw, source, source_templates
from nas.export.export import FILES, export
from nas.export.live_edges import live_edges
from nas.export.read_back import TOLERANCE, load_python
from search_spaces import Task, UserError
from search_spaces._cells import EDGES, Cell
from search_spaces.nasbench201 import NasBench201
from search_spaces.natsbench_size import NatsBenchSize
from search_spaces.pipeline import Pipeline

TASK = Task("digits", (1, 8, 8), 10)
SMALL = NasBench201(channels=4, cells=1)
GOOD = torch.tensor([3, 1, 2, 4, 0, 3])
MEAN, STD = torch.tensor([0.3]), torch.tensor([0.2])


def lived_in(network):
    """Batch norm as after training: no statistic is 0 or 1, so that nothing is equal by accident."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                torch.nn.init.normal_(tensor, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


def written(space, arch, folder, onnx=False, **more):
    state = lived_in(space.build(arch, TASK)).state_dict()
    return export(space, arch, TASK, state, folder, mean=MEAN, std=STD, onnx=onnx, **more)


@pytest.mark.parametrize(
    ("space", "arch"),
    [(SMALL, GOOD), (SMALL, torch.tensor([0, 0, 3, 0, 2, 1])), (NatsBenchSize(), torch.tensor([0, 1, 2, 0, 1]))],
    ids=["a cell with all operations", "a cell with convolutions of nothing", "widths that change"],
)
def test_every_file_read_back_gives_the_logits_of_the_network(space, arch, tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    done = written(space, arch, tmp_path / "out", onnx=True)
    assert {f.name for f in done.folder.iterdir()} == set(FILES)
    assert [f.file for f in done.files] == ["network.py", "network.pt2", "network.onnx"]
    assert all(f.difference <= TOLERANCE and f.milliseconds > 0 for f in done.files)
    assert [f.name for f in tmp_path.iterdir()] == ["out"]


def _unwilling(monkeypatch, *, older_too):
    """Torch's exporter to ONNX fails, as that of torch 2.6 does beside newer `onnxscript`."""
    export_to_onnx = torch.onnx.export

    def fail(*args, dynamo, **more):
        if dynamo:
            raise torch.onnx.OnnxExporterError("Failed to convert.\nSee the trace.")
        if older_too:
            args[2].write(b"half a file")
            raise RuntimeError("Failed to write.\nSee the trace.")
        return export_to_onnx(*args, dynamo=dynamo, **more)

    monkeypatch.setattr(torch.onnx, "export", fail)


def test_where_the_exporter_fails_torchs_older_one_writes_the_onnx_file(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    _unwilling(monkeypatch, older_too=False)
    done = written(SMALL, GOOD, tmp_path / "out", onnx=True)
    assert {f.name for f in done.folder.iterdir()} == set(FILES)
    assert done.files[-1].file == "network.onnx"
    assert done.files[-1].difference <= TOLERANCE


def test_an_onnx_file_that_cannot_be_written_costs_no_other_file(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    _unwilling(monkeypatch, older_too=True)
    for asked in (None, True):
        done = written(SMALL, GOOD, tmp_path / str(asked), onnx=asked)
        assert [f.file for f in done.files] == ["network.py", "network.pt2"]
        assert {f.name for f in done.folder.iterdir()} == set(FILES) - {"network.onnx", "classify_onnx.py"}
        assert done.left_out == (("network.onnx", "Failed to write.", True),)


def test_the_cell_of_the_file_computes_the_same_for_every_pattern_of_live_edges():
    x = torch.rand(2, 3, 5, 5)
    for pattern in itertools.product(("none", "skip_connect", "nor_conv_1x1"), repeat=len(EDGES)):
        cell = lived_in(Cell(pattern, 3, 3))
        edges = live_edges(pattern)
        module = {}
        exec("import torch\nfrom torch import Tensor, nn", module)
        exec(source_templates.RELU_CONV_BN + source._cell(edges, wider=False), module)
        twin = module["Cell"](3, 3).eval()
        twin.load_state_dict(source._cell_weights(cell))
        with torch.no_grad():
            torch.testing.assert_close(twin(x), cell(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("cell", "live"),
    [
        (("nor_conv_3x3", "none", "none", "skip_connect", "none", "none"), ["skip_03"]),
        (("nor_conv_3x3", "skip_connect", "none", "none", "none", "none"), []),
        (("none", "none", "nor_conv_1x1", "avg_pool_3x3", "none", "none"), ["pool3x3_03"]),
        (("none", "none", "nor_conv_1x1", "none", "none", "skip_connect"), ["shift_12", "skip_23"]),
        (("none", "none", "avg_pool_3x3", "none", "nor_conv_3x3", "skip_connect"), ["shift_13"]),
        (
            ("skip_connect", "none", "nor_conv_1x1", "none", "none", "nor_conv_3x3"),
            ["skip_01", "conv1x1_12", "conv3x3_23"],
        ),
    ],
)
def test_edges_are_kept_whose_result_reaches_the_output(cell, live):
    """What comes from a node that nothing reaches is nothing; a convolution of nothing is a shift, and rests on no other edge."""
    assert [edge.name for edge in live_edges(cell)] == live


def test_the_python_file_needs_only_torch_and_names_only_what_the_cell_uses(tmp_path):
    folder = written(SMALL, GOOD, tmp_path / "out", class_names=("zero", 'the "one"')).folder
    text = (folder / "network.py").read_text()
    assert "conv3x3_01" in text
    assert "13" not in text.split("class Network")[0], "edge 1-3 is none"
    block = "import sys; sys.modules.update(dict.fromkeys(['safetensors', 'numpy', 'nas', 'search_spaces']))\n"
    use = "import network; print(network.load()(__import__('torch').zeros(3, 1, 8, 8)).shape, network.CLASS_NAMES[1])"
    done = subprocess.run([sys.executable, "-c", block + use], cwd=folder, capture_output=True, text=True)
    assert done.stdout == 'torch.Size([3, 10]) the "one"\n', done.stderr


def test_the_python_file_keeps_our_own_style(tmp_path):
    for number, (space, arch) in enumerate([(SMALL, GOOD), (NatsBenchSize(), torch.tensor([0, 1, 2, 0, 1]))]):
        folder = written(space, arch, tmp_path / str(number), class_names=("a", "b")).folder
        for check in (["check", "--select", "E,F,I,B,UP"], ["format", "--check", "--diff"]):
            command = [sys.executable, "-m", "ruff", *check, "--line-length", "120", str(folder / "network.py")]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_exported_is_a_pickle(tmp_path):
    folder = written(SMALL, GOOD, tmp_path / "out").folder
    with zipfile.ZipFile(folder / "network.pt2") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if "serialized_state_dict.pt" in parts:
        pytest.skip("the .pt2 format of torch 2.6 itself holds pickles")
    assert not any(data[:2] == b"PK" for data in parts.values()), "torch.save writes zips"
    for name, data in parts.items():
        if data[:1] == b"\x80":
            with pytest.raises(ValueError, match=r".*"):
                list(pickletools.genops(data))
        assert not name.endswith(".pkl")


def test_pixels_are_normalised_inside_and_weights_are_those_given(tmp_path):
    network = lived_in(SMALL.build(GOOD, TASK))
    folder = export(SMALL, GOOD, TASK, network.state_dict(), tmp_path / "o", mean=MEAN, std=STD, onnx=False).folder
    x = torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(load_python(folder)(x), network((x - 0.3) / 0.2))


def test_a_taken_folder_is_refused_and_force_replaces_only_an_export(tmp_path):
    folder = written(SMALL, GOOD, tmp_path / "out").folder
    before = (folder / "network.py").read_text()
    with pytest.raises(UserError, match="holds an export already; --force"):
        written(SMALL, torch.tensor([3] * 6), folder)
    assert (folder / "network.py").read_text() == before
    written(SMALL, torch.tensor([3] * 6), folder, force=True)
    assert (folder / "network.py").read_text() != before
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"'thesis.tex', which is of no export"):
        written(SMALL, GOOD, folder, force=True)
    assert (folder / "thesis.tex").read_text() == "years of work"


def test_a_file_that_computes_something_else_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "weights", lambda *a, f=source.weights: {k: v * 1.01 for k, v in f(*a).items()})
    with pytest.raises(UserError, match=r"network.py gives logits .* away"):
        written(SMALL, GOOD, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_cell_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="do not fit"):
        export(SMALL, GOOD, TASK, SMALL.build(torch.zeros(6).long(), TASK).state_dict(), tmp_path / "out")


def test_the_drawing_names_every_operation_that_the_cell_has_and_no_other():
    drawn = draw.text(SMALL, GOOD)
    assert drawn.splitlines()[-1].strip() == "output = avg pool 3x3(input) + conv 3x3(node 2)"
    labels = [t.get_text() for t in draw.figure(SMALL, GOOD).axes[0].texts]
    assert sorted(labels) == sorted(
        ["conv 3x3", "skip", "conv 1x1", "avg pool 3x3", "conv 3x3", "input", "1", "2", "output"]
    )
    assert "64" in draw.text(NatsBenchSize(), torch.tensor([0, 1, 2, 3, 7]))


def test_a_run_on_a_table_is_exported_untrained_and_says_so(nasbench201, nas):
    nas("search", "--task", "nasbench201/cifar10", "--controller", "random_search", "--evals", "5", "--name", "one")
    assert "untrained" in nas("export", "one", "--to", "out", "--no-onnx").stdout
    document = json.loads(nas("export", "one", "--to", "out", "--no-onnx", "--force", "--json").stdout)
    assert document["trained"] is False
    assert [f["file"] for f in document["files"]] == ["network.py", "network.pt2"]


def test_a_pipeline_is_drawn_as_its_cell_and_the_rest_of_it_named():
    space = Pipeline()
    arch = space.reference_arch
    lines = draw.text(space, arch).splitlines()
    assert lines[:3] == [
        "  node 1 = conv 3x3(input)",
        "  node 2 = conv 3x3(node 1)",
        "  output = skip(input) + skip(node 2)",
    ]
    assert "width=16, cells=1" in " ".join(lines[3:])
    assert draw.cell_of(space, arch) == ["nor_conv_3x3", "none", "nor_conv_3x3", "skip_connect", "none", "skip_connect"]
    assert [name for name, _ in draw.decisions_of(space, arch)] == list(space.decisions[6:])
    labels = {label.get_text() for label in draw.figure(space, arch).axes[0].texts}
    assert labels == {"input", "1", "2", "output", "conv 3x3", "skip"}
