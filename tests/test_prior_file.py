"""A prior's file: what is written is read, whole or not at all, and what version 0.1 wrote is read under today's names."""

import pytest
import torch
from safetensors.torch import save_file

from controller import Prior
from controller.models import legacy, prior_file
from controller.models.prior_file import Contents, Families, Runs, SpaceMemory, Tasks
from search_spaces import UserError
from search_spaces._files import atomic_write

ABOUT = {"controller": "transfer_bo", "tasks": "[]"}


def contents():
    torch.manual_seed(0)
    coords = torch.randn(5, 3)
    coords[1] = torch.nan
    columns = (torch.randn(7, n).half() for n in (3, 2, 4))
    memory = SpaceMemory(torch.randn(7).half(), next(columns), next(columns), coords, next(columns))
    bare = SpaceMemory(torch.randn(4), torch.randn(4, 2), torch.randn(4, 1), torch.randn(5, 2))
    tasks, runs = (Tasks(torch.randn(k, 14), torch.rand(k), torch.randn(k, 16)) for k in (5, 1))
    return Contents(
        encoder={"readout.0.weight": torch.randn(2, 2)},
        policy={"layers.0.mlp.0.bias": torch.randn(3)},
        families=Families(torch.randn(2, 16), torch.eye(16), torch.tensor([0.5, 0.5])),
        tasks=tasks,
        spaces={"my.space/v2": memory, "small": bare},
        runs=Runs(runs, {"my.space/v2": torch.randn(1, 3)}),
    )


def flat(held):
    """Bytes by name, so that NaN equals NaN."""
    return {name: (t.dtype, t.shape, t.numpy().tobytes()) for name, t in prior_file.pack(held).items()}


def test_what_is_written_is_read_also_of_a_space_whose_name_has_dots_and_slashes(tmp_path):
    held = contents()
    prior_file.write(tmp_path / "p.safetensors", Prior(prior_file.pack(held), ABOUT))
    again = prior_file.read(str(tmp_path / "p.safetensors"))
    read = prior_file.unpack(again.params)
    assert flat(read) == flat(held)
    assert read.spaces.keys() == held.spaces.keys()
    assert read.spaces["small"].constraint_factors is None
    assert again.about == ABOUT | {"format": "nas-prior/2"}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "p.safetensors"
    prior_file.write(path, Prior(prior_file.pack(contents()), ABOUT))
    before = path.read_bytes()
    unwritable = Prior({"encoder/x": torch.zeros(2, device="meta")}, ABOUT)
    with pytest.raises(Exception, match="meta"):
        prior_file.write(path, unwritable)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("name", "tensor", "said"),
    [
        ("families/weights", torch.rand(3), "does not fit"),
        ("families/weights", torch.tensor([1, 0]), "not fractions"),
        ("spaces/small/mean", torch.full((4,), torch.nan), "NaN"),
        ("spaces/small/mean", torch.rand(5), "does not fit"),
        ("spaces/small/mean", None, "there is no tensor 'spaces/small/mean'"),
        ("runs/share", None, "there is no tensor 'runs/share'"),
        ("runs/spaces/my.space/v2/task_coords", torch.rand(1, 4), "does not fit"),
        ("families/scale", None, "there is no tensor 'families/scale'"),
        ("spaces/small/maen", torch.rand(4), "no prior has a tensor 'spaces/small/maen'"),
    ],
)
def test_a_file_that_is_no_prior_is_refused_in_a_line_that_names_the_tensor(tmp_path, name, tensor, said):
    params = prior_file.pack(contents()) | {name: tensor}
    path = tmp_path / "p.safetensors"
    save_file({n: t for n, t in params.items() if t is not None}, path, ABOUT | {"format": prior_file.FORMAT})
    with pytest.raises(UserError, match=said) as error:
        prior_file.read(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("tasks", '{"a": "b"}', "'tasks' that is no list of names"),
        ("families", "[1]", "'families' that is no list of names"),
        ("runs", "not JSON", "'runs' that are no names"),
        ("runs", '{"digest": ["name"]}', "'runs' that are no names"),
        ("runs", '["digest"]', "'runs' that are no names"),
    ],
)
def test_a_header_that_is_damaged_is_refused_in_a_line_that_names_the_key(tmp_path, key, text, said):
    path = tmp_path / "p.safetensors"
    prior_file.write(path, Prior(prior_file.pack(contents()), ABOUT | {"runs": '{"digest": ["name", "task"]}'}))
    assert prior_file.read(str(path)).about["tasks"] == "[]"
    prior_file.write(path, Prior(prior_file.pack(contents()), ABOUT | {key: text}))
    with pytest.raises(UserError, match=said):
        prior_file.read(str(path))


def test_a_prior_of_version_0_1_is_read_under_todays_names(tmp_path):
    held = contents()
    old = {
        "reader.cells.read.0.weight": held.encoder["readout.0.weight"],
        "reader.layers.0.think.0.bias": held.policy["layers.0.mlp.0.bias"],
        **dict(zip(("centre", "mix", "weight"), held.families)),
        **dict(zip(("told", "share", "coefficients"), held.tasks)),
        **dict(zip(("runs.told", "runs.share", "runs.coefficients"), held.runs.tasks)),
        "runs.atlas.my.space/v2.places": held.runs.task_coords["my.space/v2"],
    }
    words = ("usual", "directions", "landscapes", "places", "amounts")
    for space, memory in held.spaces.items():
        old |= {f"atlas.{space}.{word}": t for word, t in zip(words, memory) if t is not None}
        old |= {
            f"atlas.{space}.columns": torch.randn(7, 2),
            f"atlas.{space}.likely": torch.rand(2),
        }  # Nothing reads them.
    about = {"format": legacy.PRIOR_FORMAT, "controller": "in_context", "leave": "[]", "tasks": "[]"}
    save_file({n: t.contiguous() for n, t in old.items()}, tmp_path / "p.safetensors", about)
    prior = prior_file.read(str(tmp_path / "p.safetensors"))
    assert flat(prior_file.unpack(prior.params)) == flat(held)
    assert prior.about["controller"] == "transfer_bo"
    assert prior.about["held_out"] == "[]"


def test_a_file_that_was_half_written_is_taken_away_and_the_old_one_stays(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), atomic_write(path) as partial:
        [partial.write_text(text, encoding="ascii") for text in ("ha", "\u00e9")]
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"
