"""A trained network is asked about image files: by `nas predict`, by each exported file alone, all with the same answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from safetensors import safe_open

from nas import datasets, image_reading
from nas.export import export, formats
from nas.export.hugging_face import Card, export_hugging_face
from nas.export.read_back import load_python
from nas.run import classify
from search_spaces import Task, UserError
from search_spaces.nasbench201 import NasBench201

SPACE = NasBench201(channels=4, cells=1)
ARCH = torch.tensor([3, 1, 2, 4, 0, 3])
NAMES = ("cat", "dog", "fox")


def smooth(height, width, channels=3, levels=255):
    """Waves that differ by channel: no two places or orientations look alike."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (5 + c)) + np.cos(y / (7 - c)) + x / width for c in range(channels)]
    found = (np.stack(waves, -1) + 2) / 5 * levels
    return found.astype(np.uint8 if levels == 255 else np.uint16)


def write_images(folder):
    """Files as people have them; `odd` is not square and `large` is scaled down a lot."""
    folder.mkdir()
    color = Image.fromarray(smooth(40, 61))
    color.save(folder / "odd.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    color.save(folder / "turned.jpg", exif=exif, quality=95)
    color.convert("CMYK").save(folder / "cmyk.jpg")
    color.convert("P").save(folder / "palette.gif")
    color.convert("L").save(folder / "gray.png")
    color.convert("1").save(folder / "ink.png")
    alpha = smooth(40, 61, 1)
    Image.fromarray(np.concatenate([smooth(40, 61), alpha], 2)).save(folder / "clear.png")
    Image.fromarray(smooth(311, 250)).save(folder / "large.bmp")
    Image.fromarray(smooth(7, 9)).save(folder / "small.webp", lossless=True)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images") / "new")


def export_to(folder, *, shape=(3, 12, 12), **options):
    task = Task("folder:/data/somebody/pets", shape, 3)
    torch.manual_seed(1)
    state = SPACE.build(ARCH, task).state_dict()
    mean, std = torch.linspace(0.3, 0.5, shape[0]), torch.full((shape[0],), 0.05)
    more = {"mean": mean, "std": std, "class_names": NAMES} | options
    return export(SPACE, ARCH, task, state, folder, **more)


VARIANTS = {
    "color": {},
    "any size": {"onnx_input": "uint8"},
    "mirrored, scaled twice": {"mirror": True, "read_at": (18, 18), "onnx_input": "uint8"},
    "16 bits": {"shape": (1, 12, 12), "deep": (0, 65535), "onnx": False},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Exports of all kinds by name."""
    folder = tmp_path_factory.mktemp("exports")
    return {name: export_to(folder / name, **options).folder for name, options in VARIANTS.items()}


@pytest.fixture(scope="module")
def with_onnx(exported):
    """Those that have an ONNX file."""
    pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    found = {name: folder for name, folder in exported.items() if (folder / "network.onnx").exists()}
    assert [*found] == ["color", "any size", "mirrored, scaled twice"]
    return found


ALONE = """
import importlib.util, json, sys
sys.modules.update(dict.fromkeys({blocked}))
answers = {{}}
for path in {paths}:
    spec = importlib.util.spec_from_file_location(str(len(answers)), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    answers[path] = module.classify(sys.argv[1:])
print(json.dumps(answers))
"""


def answers_alone(paths, blocked, files):
    """What each exported Python file answers in a process that has not these packages."""
    code = ALONE.format(paths=[*map(str, paths)], blocked=blocked)
    done = subprocess.run([sys.executable, "-c", code, *map(str, files)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def ask(folder, files):
    return [each.probabilities for each in classify.classify(classify.find(folder), [(file, file) for file in files])]


def module_of(folder):
    names = {"__file__": str(folder / "network.py"), "__name__": "network"}
    exec(compile((folder / "network.py").read_text(), "network.py", "exec"), names)
    return names


def matrix(answers):
    return torch.tensor([[answer[name] for name in NAMES] for answer in answers])


def test_the_python_file_alone_answers_as_nas_predict_does(exported, files):
    others = ["numpy", "nas", "search_spaces", "controller", "safetensors"]
    alone = answers_alone([folder / "network.py" for folder in exported.values()], others, files)
    for folder in exported.values():
        ours, theirs = ask(folder, files), alone[str(folder / "network.py")]
        torch.testing.assert_close(matrix(theirs), matrix(ours), atol=1e-5, rtol=0)
        assert all([*one] == sorted(one, key=lambda name: -one[name]) for one in theirs)
        assert len({tuple(row) for row in matrix(ours).round(decimals=3).tolist()}) > 5, "answers that do not differ"


def test_files_of_more_than_8_bits_are_on_the_scale_of_training_or_refused(exported, tmp_path):
    deep = tmp_path / "deep.png"
    Image.fromarray(smooth(30, 20, 1, 60000)[..., 0]).save(deep)
    ours, theirs = ask(exported["16 bits"], [deep]), module_of(exported["16 bits"])["classify"]([deep])
    torch.testing.assert_close(matrix(theirs), matrix(ours), atol=1e-5, rtol=0)
    Image.fromarray((smooth(30, 20, 1, 60000)[..., 0] // 256).astype(np.uint8)).save(tmp_path / "bytes.png")
    assert ask(exported["16 bits"], [tmp_path / "bytes.png"]) == ours
    (refused,) = classify.classify(classify.find(exported["color"]), [(deep, deep)])
    assert refused.failure == "it has more than 8 bits a channel; the network was trained on images of 8 bits"
    with pytest.raises(ValueError, match="more than 8 bits"):
        module_of(exported["color"])["classify"](deep)


def test_an_export_of_an_earlier_version_is_asked_as_well(exported, files, tmp_path):
    """Its header has only the classes and the shape, and its program no extra file."""
    old = tmp_path / "old"
    shutil.copytree(exported["color"], old)
    with safe_open(old / "network.safetensors", framework="pt") as file:
        tensors, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    kept = {key: about[key] for key in ("format", "arch", "space", "task", "class_names", "input_shape")}
    (old / "network.safetensors").write_bytes(safetensors.torch.save(tensors, kept))
    formats.save(formats.trace(load_python(old), PIXELS), old / "network.pt2")
    assert formats.pt2_lines(old / "network.pt2") == {}
    torch.testing.assert_close(matrix(ask(old, files)), matrix(ask(exported["color"], files)))


@pytest.fixture(scope="module")
def onnx_alone(with_onnx, files):
    others = ["torch", "nas", "search_spaces", "controller", "onnx", "safetensors"]
    return answers_alone([folder / "classify_onnx.py" for folder in with_onnx.values()], others, files)


@pytest.mark.parametrize(("form", "near"), [("color", 1e-5), ("any size", 0.02), ("mirrored, scaled twice", 0.02)])
def test_the_onnx_file_alone_answers_as_nas_predict_does(form, near, with_onnx, onnx_alone, files):
    """Where it resizes itself a pixel may differ by one level of 255."""
    alone = onnx_alone[str(with_onnx[form] / "classify_onnx.py")]
    torch.testing.assert_close(matrix(alone), matrix(ask(with_onnx[form], files)), atol=near, rtol=0)


@pytest.mark.parametrize("size", [(12, 12), (40, 61), (311, 250), (7, 9), (500, 13)])
def test_the_onnx_file_resizes_as_pillow_does_but_for_one_level(size, with_onnx):
    import onnx
    import onnxruntime

    for form, sizes in (("any size", [(12, 12)]), ("mirrored, scaled twice", [(18, 18), (12, 12)])):
        model = onnx.load(with_onnx[form] / "network.onnx")
        model.graph.output.append(onnx.helper.make_tensor_value_info("prepared", onnx.TensorProto.FLOAT, None))
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        images = smooth(*size)
        (levels,) = session.run(["prepared"], {"images": images[None]})
        pillow = np.asarray(image_reading.prepared(Image.fromarray(images), 3, sizes, None), np.int64)
        apart = np.abs(np.round(levels[0].transpose(1, 2, 0) * 255).astype(np.int64) - pillow)
        assert apart.max() <= 1


PIXELS = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
WRONG = {
    "0 to 255": PIXELS * 255,
    "normalized already": (PIXELS - 0.45) / 0.2,
    "channels last": PIXELS.permute(0, 2, 3, 1).contiguous(),
    "one channel": PIXELS[:, :1].contiguous(),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_each_wrong_way_to_feed_an_export_is_an_error_in_every_file(wrong, with_onnx):
    folder = with_onnx["color"]
    for run in (load_python(folder), formats.load(folder / "network.pt2"), formats.load_onnx(folder / "network.onnx")):
        assert run(PIXELS).shape == (2, 3)
        with pytest.raises(
            Exception, match=r"from 0 to 1|\[N, 3, 12, 12\]|\[1\] == 3|equal to 3|Got invalid dimensions"
        ):
            run(WRONG[wrong])


def test_an_onnx_file_that_takes_images_refuses_floats_and_other_channels(with_onnx):
    import onnxruntime

    session = onnxruntime.InferenceSession(with_onnx["any size"] / "network.onnx", providers=["CPUExecutionProvider"])
    assert session.run(None, {"images": smooth(30, 40)[None]})[0].shape == (1, 3)
    for wrong in (smooth(30, 40)[None].astype(np.float32), smooth(30, 40, 4)[None], smooth(30, 40)):
        with pytest.raises(Exception, match=r"Unexpected input data type|Got invalid dimensions|Invalid rank"):
            session.run(None, {"images": wrong})


def test_every_exported_file_says_what_it_takes_and_names_no_folder(with_onnx):
    import onnx

    folder = with_onnx["mirrored, scaled twice"]
    (model,) = (onnx.load(folder / "network.onnx"),)
    in_onnx = {each.key: each.value for each in model.metadata_props}
    in_pt2 = formats.pt2_lines(folder / "network.pt2")
    assert json.loads(in_pt2["class_names"]) == [*NAMES]
    assert json.loads(in_pt2["mean"]) == pytest.approx([0.3, 0.4, 0.5])
    assert json.loads(in_pt2["std"]) == pytest.approx([0.05] * 3)
    assert json.loads(in_pt2["sizes"]) == [[18, 18], [12, 12]]
    assert json.loads(in_pt2["input_shape"]) == [3, 12, 12]
    assert json.loads(in_pt2["mirror"]) is True
    assert in_pt2.pop("input").startswith("float32 [N, 3, 12, 12], RGB, pixels / 255")
    assert in_onnx.pop("input").startswith("uint8 [N, height, width, 3], RGB")
    assert in_onnx == in_pt2
    assert in_pt2["task"] == "folder:pets"
    assert not any(b"somebody" in file.read_bytes() for file in folder.iterdir())


def test_the_logits_are_the_mean_over_the_image_and_its_mirror_image(exported):
    plain, both = (load_python(exported[name]) for name in ("color", "mirrored, scaled twice"))
    with torch.no_grad():
        torch.testing.assert_close(both(PIXELS), (plain(PIXELS) + plain(PIXELS.flip(3))) / 2)
        torch.testing.assert_close(both(PIXELS), both(PIXELS.flip(3)))


def test_files_are_resized_by_pillow_as_an_image_processor_does():
    """Shorter side to the size, the longer rounded down, the middle cut rounded down: what `transformers` does with Pillow."""
    image = Image.fromarray(smooth(40, 61))
    scaled = image.resize((int(12 * 61 / 40), 12), Image.Resampling.BILINEAR)
    left = (scaled.width - 12) // 2
    assert np.array_equal(image_reading.middle(image, 12, 12), scaled.crop((left, 0, left + 12, 12)))


def test_training_reads_image_files_as_predictions_do(tmp_path, exported, files):
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(2):
            for file in files:
                shutil.copy(file, tmp_path / "data" / name / f"{number}{file.name}")
    data = datasets.load(f"folder:{tmp_path}/data", 12)
    every = torch.cat([data.x_train, data.x_valid, data.x_test])
    read = module_of(exported["color"])["read"]
    for file in files:
        pixels = (read(file)[0] * 255).round().byte()
        assert (every == pixels).flatten(1).all(1).sum() == 4, file.name


CARD = Card(91.25, ("Test accuracy 91.25%.",), ("2 classes | of 'pets'",), "Found by transfer_bo.")


def test_the_layout_of_the_hub_is_loaded_by_its_python_file_and_named_as_image_processors_do(tmp_path, exported, files):
    task = Task("folder:/data/somebody/pets", (3, 12, 12), 3)
    torch.manual_seed(1)
    state = SPACE.build(ARCH, task).state_dict()
    about = {"mean": torch.linspace(0.3, 0.5, 3), "std": torch.full((3,), 0.05), "class_names": NAMES}
    about |= {"mirror": True, "read_at": (18, 18)}
    hub = export_hugging_face(SPACE, ARCH, task, state, tmp_path / "hub", CARD, **about)
    assert {file.name for file in hub.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "network.py", "preprocessor_config.json"
    }  # fmt: skip
    whole = exported["mirrored, scaled twice"]
    assert module_of(hub)["classify"](files) == module_of(whole)["classify"](files)
    config, processor = (json.loads((hub / f"{n}.json").read_text()) for n in ("config", "preprocessor_config"))
    assert (config["num_labels"], config["id2label"], config["label2id"]["fox"]) == (3, dict(zip("012", NAMES)), 2)
    assert processor["image_mean"] == pytest.approx([0.3, 0.4, 0.5])
    kept = ("do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "do_normalize")
    square = {"height": 12, "width": 12}
    assert [processor[key] for key in kept] == [True, {"shortest_edge": 12}, 2, True, square, True, False]
    assert processor["rescale_factor"] == 1 / 255
    card = (hub / "README.md").read_text()
    assert "value: 91.25" in card
    assert "- 2 classes \\| of 'pets'" in card
    assert "somebody" not in card + json.dumps(config)
    assert "which scale in one step: what they hand out is nearly the same" in card
    once = export_hugging_face(SPACE, ARCH, task, state, tmp_path / "once", CARD, **about | {"read_at": None})
    assert "`preprocessor_config.json` says the same to image processors." in (once / "README.md").read_text()
    with pytest.raises(UserError, match="holds an export already; --force"):
        export_hugging_face(SPACE, ARCH, task, state, hub, CARD, **about)
