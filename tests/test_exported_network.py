"""An exported network in use: what it takes, and what it refuses by name."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys

import pytest
import torch
from torch import nn

from nas.export import formats, loader, read_back, source
from nas.export.classify_source import Reading
from nas.export.export import export
from search_spaces import Task
from search_spaces.nasbench201 import NasBench201

TASK = Task("pets", (3, 12, 12), 3)
SPACE = NasBench201(channels=4, cells=1)
ARCH = torch.tensor([3, 1, 2, 4, 0, 3])
MEAN, STD = torch.full((3,), 0.4), torch.full((3,), 0.2)
READING = Reading(("a", "b", "c"), TASK.input_shape, None)
PIXELS = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """The module of a Python file, and the file's own class."""
    torch.manual_seed(0)
    network = SPACE.build(ARCH, TASK).eval()
    path = tmp_path_factory.mktemp("export") / "exported_network.py"
    path.write_text(source.write(network, TASK, SPACE.describe(ARCH), READING))
    # Imported, as users do: scripting looks for the source of a class.
    spec = importlib.util.spec_from_file_location("exported_network", path)
    module_type = sys.modules["exported_network"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module_type)
    module = module_type.Network().eval()
    module.load_state_dict(source.weights(network, MEAN, STD))
    return module


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """The same for a space whose networks have no source: a program, and the file that loads it."""
    folder = tmp_path_factory.mktemp("export")
    module = loader.of_module(SPACE.build(ARCH, TASK).eval(), MEAN, STD)
    formats.save(formats.trace(module, PIXELS[:2]), folder / "network.pt2")
    (folder / "network.py").write_text(loader.write_loader(TASK, SPACE, ARCH, READING))
    return read_back.load_python(folder)


@pytest.mark.parametrize("which", ["ours", "theirs"])
@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ((PIXELS * 255).byte(), TypeError, "pixels / 255, floats, not torch.uint8"),
        (PIXELS * 255, ValueError, r"pixels / 255, from 0 to 1, not from [0-9.]+ to 25"),
        ((PIXELS - 0.5) / 0.2, ValueError, r"from 0 to 1, not from -2\.5 to 2"),
        (PIXELS[:, :1], ValueError, r"images \[N, 3, 12, 12\], not \[4, 1, 12, 12\]"),
        (PIXELS.permute(0, 2, 3, 1), ValueError, r"not \[4, 12, 12, 3\]"),
        (PIXELS[0], ValueError, r"not \[3, 12, 12\]"),
    ],
)
def test_other_images_than_it_was_trained_on_are_an_error(which, wrong, error, says, request):
    with pytest.raises(error, match=says):
        request.getfixturevalue(which)(wrong)


def test_it_is_used_as_modules_are(ours):
    expected = ours(PIXELS)
    for count in (0, 1, 3, 4):
        assert torch.allclose(ours(PIXELS[:count]), expected[:count], atol=1e-5)
    assert torch.equal(copy.deepcopy(ours)(PIXELS), expected)
    for dtype, near in ((torch.half, 1e-2), (torch.bfloat16, 0.1), (torch.double, 1e-5)):
        assert torch.allclose(copy.deepcopy(ours).to(dtype)(PIXELS.to(dtype)).float(), expected, atol=near, rtol=0.05)
    # What interpolation adds beyond black and white is no error.
    assert ours(PIXELS * 1.2 - 0.1).isfinite().all()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_can_be_scripted_traced_and_exported(ours):
    expected = ours(PIXELS)
    program = formats.trace(ours, PIXELS[:2]).module()
    for run in (torch.jit.script(ours), torch.jit.trace(ours, PIXELS[:2]), program):
        assert torch.allclose(run(PIXELS), expected, atol=1e-5)
    with pytest.raises(Exception, match=r"takes images \[N, 3, 12, 12\]"):
        torch.jit.script(ours)(PIXELS[:, :1])


class _Loud(nn.Module):
    def forward(self, x):
        return 1e4 * x.flatten(1)[:, :3]


def test_the_tolerance_grows_with_the_logits():
    pixels = PIXELS[:5]
    expected = _Loud()(pixels)
    read_back.compare("network.py", lambda x: _Loud()(x) + 0.5, pixels, expected)
    with pytest.raises(Exception, match=r"logits 2\.0e\+00 away"):
        read_back.compare("network.py", lambda x: _Loud()(x) + 2, pixels, expected)
    # Where logits are small it does not shrink to nothing.
    read_back.compare("network.py", lambda x: 0 * x.flatten(1)[:, :3] + 5e-5, pixels, 0 * expected)
    with pytest.raises(Exception, match="nan away"):
        read_back.compare("network.py", lambda x: _Loud()(x) * float("nan"), pixels, expected)


def test_an_onnx_file_with_other_logits_costs_no_other_file(tmp_path, monkeypatch):
    monkeypatch.setattr(read_back, "has_onnx", lambda: True)
    monkeypatch.setattr(formats, "save_onnx", lambda *args: args[-1].write_bytes(b"onnx"))
    monkeypatch.setattr(formats, "complete_onnx", lambda *args, **more: None)
    monkeypatch.setattr(formats, "load_onnx", lambda path: lambda pixels: torch.ones(len(pixels), 3))
    done = export(SPACE, ARCH, TASK, None, tmp_path / "out", onnx=None)
    assert [f.file for f in done.files] == ["network.py", "network.pt2"]
    assert not (tmp_path / "out/network.onnx").exists()
    assert [(f.file, f.failed) for f in done.left_out] == [("network.onnx", True)]
    assert done.left_out[0].reason.startswith("network.onnx gives logits")


def test_a_program_with_other_logits_costs_no_other_file(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "load", lambda path: lambda pixels: torch.ones(len(pixels), 3))
    done = export(SPACE, ARCH, TASK, None, tmp_path / "out", onnx=False)
    assert [f.file for f in done.files] == ["network.py"]
    assert {f.name for f in done.folder.iterdir()} == {"network.py", "network.safetensors"}
    assert [(f.file, f.failed) for f in done.left_out] == [("network.pt2", True)]
    assert done.left_out[0].reason.startswith("network.pt2 gives logits")


def test_on_a_full_disk_nothing_is_left_out_and_nothing_is_left(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "save", full)
    with pytest.raises(OSError, match="No space left"):
        export(SPACE, ARCH, TASK, None, tmp_path / "out", onnx=False)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_was_left_out_and_its_status_tells(tmp_path, monkeypatch, nas):
    def broken(*args):
        raise RuntimeError("no kernel for it\nA long trace.")

    monkeypatch.setattr(formats, "save", broken)
    nas("search", "--task", "own201/digits", "--controller", "random_search", "--evals", "3", "--name", "one")
    done, as_json = (
        nas("export", "one", "--to", more[0], "--no-onnx", *more[1:]) for more in (["out"], ["o", "--json"])
    )
    assert done.returncode == as_json.returncode == 1
    assert "  no network.pt2: no kernel for it\n" in done.stdout
    assert json.loads(as_json.stdout)["left_out"] == [
        {"file": "network.pt2", "reason": "no kernel for it", "failed": True}
    ]
