"""A space as a user writes it, a chain of layers and no cells: it is searched, trained and described like ours."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from controller.models import encodings, features
from nas import plugins, tasks
from nas.export import draw, formats
from nas.export.export import export
from nas.loop import search
from nas.training import Images
from search_spaces import Space, Task, UserError, as_cell_space
from search_spaces.transnas_micro import TransNasMicro

_LAYERS = ("conv3", "conv5", "fused_conv9", "pool")


@dataclass(frozen=True)
class Chain:
    """Three layers, one after the other; the second differs from the first, and the last is no pooling. It has no cells."""

    width: int = 4

    name = "chain"
    choices = (4, 4, 3)
    decisions = ("0-1", "1-2", "2-3")
    operations = (_LAYERS, _LAYERS, _LAYERS[:3])

    def valid(self, archs: Tensor) -> Tensor:
        return ((archs >= 0) & (archs < torch.tensor(self.choices))).all(-1) & (archs[..., 0] != archs[..., 1])

    def canonical(self, archs: Tensor) -> Tensor:
        return archs

    def build(self, arch: Tensor, task: Task) -> nn.Module:
        inputs, layers = task.input_shape[0], []
        for choice in arch.tolist():
            if _LAYERS[choice] == "pool":
                layers.append(nn.AvgPool2d(3, 1, 1))
                continue
            kernel = int(_LAYERS[choice][-1])
            layers += [
                nn.Conv2d(inputs, self.width, kernel, padding=kernel // 2),
                nn.BatchNorm2d(self.width),
                nn.ReLU(),
            ]
            inputs = self.width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * inputs, task.num_classes))

    def describe(self, arch: Tensor) -> str:
        return " > ".join(_LAYERS[c] for c in arch.tolist())

    def parse(self, text: str) -> Tensor:
        return torch.tensor([_LAYERS.index(word) for word in text.split(" > ")])


SPACE: Space = Chain()
CONTROLLERS = [name for name in plugins.names("controller") if name not in ("tpe",)]


@pytest.fixture(scope="module")
def digits():
    evaluator = tasks.find("digits", epochs="2", examples="256", final_epochs="2")
    return replace(evaluator, space=SPACE, final_space=SPACE)


def test_it_is_no_cell_space_and_no_model_reads_its_names():
    assert as_cell_space(SPACE) is None
    assert features.edges(SPACE) == ((0, 1), (1, 2), (2, 3))
    other = features.OPERATION_FEATURES.index("other")
    table = features.operation_feature_table(SPACE)
    assert bool((table[..., other] == table.sum(-1)).all())
    assert table.sum() == 4 + 4 + 3


@pytest.mark.parametrize("name", CONTROLLERS)
def test_every_controller_searches_it_by_training(name, digits):
    controller, seeds = plugins.load("controller", name)(SPACE), torch.arange(2)
    steps = search(controller, digits.load(seeds), controller.begin(digits.task, seeds), 2)
    for _, step in zip(range(3), steps):
        assert SPACE.valid(step.proposal.archs).all()
        assert not step.results.score.isnan().any()


def test_the_winner_is_trained_to_the_end_and_its_weights_are_the_network_tested(digits):
    arch = SPACE.parse("conv3 > pool > conv5")
    trained, data = digits.final_network(arch), digits.data
    network = SPACE.build(arch, digits.task).eval()
    network.load_state_dict(trained.state_dict)
    images = Images(data.x_test, data.y_test, trained.mean, trained.std)
    with torch.no_grad():
        right = (network(images.normalised(slice(None))).argmax(-1) == images.y).float().mean()
    assert abs(100 * right.item() - trained.metrics["test_accuracy"]) < 0.5
    assert trained.metrics["test_accuracy"] == round(digits.report(arch[None]).item(), 3)


@pytest.mark.parametrize("space", [SPACE, TransNasMicro(channels=4, stem_stride=1)])
def test_a_network_whose_source_is_not_known_leaves_as_weights_and_a_program(space, tmp_path):
    arch = torch.tensor([0, 3, 1] if space is SPACE else [3, 1, 2, 3, 0, 1])
    task = Task("small", (3, 16, 16), 5)
    network = space.build(arch, task)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.1])
    done = export(space, arch, task, network.state_dict(), tmp_path / "out", mean=mean, std=std, onnx=False)
    assert "network.pt2" in [file.file for file in done.files]
    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    program, plain = formats.load(tmp_path / "out" / "network.pt2"), network.eval()
    with torch.no_grad():
        expected = plain((pixels - mean.view(-1, 1, 1)) / std.view(-1, 1, 1))
        torch.testing.assert_close(program(pixels), expected, atol=1e-5, rtol=1e-4)
    weights = load_file(tmp_path / "out" / "network.safetensors")
    kept = [value for name, value in weights.items() if name.split(".")[-1] not in ("mean", "std")]
    assert sum(map(torch.numel, kept)) == sum(map(torch.numel, network.state_dict().values()))


class Untraceable(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :5] if x.sum() > 0 else x.flatten(1)[:, 5:10]


def test_a_network_that_cannot_be_traced_leaves_as_its_weights_with_a_line_that_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(Chain, "build", lambda self, arch, task: Untraceable())
    done = export(SPACE, torch.tensor([0, 3, 1]), Task("small", (3, 16, 16), 5), None, tmp_path / "out", onnx=False)
    assert not done.files
    assert {f.name for f in done.folder.iterdir()} == {"network.safetensors", "space.py"}
    (program, why, _), (python, because, _) = done.left_out
    assert (program, python) == ("network.pt2", "network.py")
    assert re.match(r"torch\.export cannot trace Untraceable[^\n]*$", why)
    assert because.startswith("it loads network.pt2")


def test_it_is_drawn_as_the_list_of_its_decisions():
    assert draw.text(SPACE, torch.tensor([0, 3, 1])).splitlines() == ["0-1  conv3", "1-2  pool", "2-3  conv5"]


def test_paths_of_a_space_without_cells_are_refused():
    with pytest.raises(UserError, match="Space 'chain' has no paths"):
        encodings.paths(torch.tensor([[0, 3, 1]]), SPACE)
