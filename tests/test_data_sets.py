"""What people bring is trained on as it is meant, or refused in one line that names the culprit."""

from __future__ import annotations

import io
import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from nas import datasets
from search_spaces import UserError

RNG = np.random.default_rng(0)


def _pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape).astype(np.uint8)


def _save_npz(path, **arrays):
    arrays = {"x_train": _pixels(40, 8, 8), "y_train": np.arange(40) % 4} | arrays
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return f"npz:{path}"


def _save_folder(root, classes=("cat", "dog"), each=6, size=(12, 12), mode="RGB"):
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(each):
            Image.fromarray(_pixels(*size[::-1], 3)).convert(mode).save(root / name / f"{i}.png")
    return f"folder:{root}"


def test_digits_are_split_by_class_without_loss_or_overlap():
    data = datasets.load("digits")
    parts = [data.x_train, data.x_valid, data.x_test]
    assert sum(len(x) for x in parts) == 1797
    labels = torch.cat([data.y_train, data.y_valid, data.y_test])
    share = data.y_test.bincount() / labels.bincount()
    assert share.min() > 0.18
    assert share.max() < 0.22
    normalised = (data.x_train.double() / 255 - data.mean) / data.std
    assert normalised.mean().abs() < 1e-6
    assert (normalised.std() - 1).abs() < 1e-6


@pytest.mark.parametrize(
    ("arrays", "shape"),
    [
        ({}, (1, 8, 8)),
        ({"x_train": _pixels(40, 8, 8, 3)}, (3, 8, 8)),
        ({"x_train": _pixels(40, 3, 8, 8)}, (3, 8, 8)),
        ({"x_train": np.concatenate([_pixels(40, 8, 8, 3), np.full((40, 8, 8, 1), 255, np.uint8)], -1)}, (3, 8, 8)),
        ({"x_train": _pixels(40, 64, 48)}, (1, 32, 32)),
        ({"x_train": RNG.random((40, 8, 8))}, (1, 8, 8)),
        ({"x_train": _pixels(40, 8, 8).astype(np.uint16) * 256}, (1, 8, 8)),
    ],
)
def test_arrays_of_any_usual_layout_are_read(arrays, shape, tmp_path):
    data = datasets.load(_save_npz(tmp_path / "a.npz", **arrays))
    assert data.x_train.dtype == torch.uint8
    assert data.x_train.shape[1:] == shape
    assert data.x_train.float().mean() == pytest.approx(127, abs=12)


def test_labels_that_begin_at_one_or_have_gaps_become_ranks(tmp_path):
    y = np.tile([1, 2, 5, 9], 10)
    data = datasets.load(_save_npz(tmp_path / "a.npz", y_train=y))
    assert data.class_names == ("1", "2", "5", "9")
    assert set(data.y_train.tolist()) == {0, 1, 2, 3}


def test_a_brought_split_is_used_as_it_is(tmp_path):
    x = _pixels(7, 8, 8)
    data = datasets.load(_save_npz(tmp_path / "a.npz", x_test=x, y_test=np.arange(7) % 4))
    assert torch.equal(data.x_test[:, 0], torch.from_numpy(x))
    assert len(data.x_train) + len(data.x_valid) == 40


def test_three_pictures_in_a_class_are_enough(tmp_path):
    data = datasets.load(_save_npz(tmp_path / "a.npz", y_train=np.array([0] * 37 + [1] * 3)))
    assert [int((y == 1).sum()) for y in (data.y_train, data.y_valid, data.y_test)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"y_train": None}, "it takes x_train and y_train"),
        ({"y_train": np.zeros(40, int)}, "has 1 class; it takes two or more"),
        ({"y_train": np.arange(39)}, "40 images in x_train and 39 labels"),
        ({"y_train": np.array([0] * 38 + [1] * 2)}, "Class '1'"),
        ({"y_train": np.linspace(0, 1, 40)}, "one whole number or one string for each"),
        ({"x_train": _pixels(40, 64)}, "it takes N x H x W"),
        ({"x_train": _pixels(40, 8, 8) * 1000.0}, "or 0..255, or up to 16 bits"),
        ({"x_train": np.array([{}] * 40)}, "cannot be read as arrays"),
        ({"x_test": _pixels(2, 8, 8), "y_test": np.array([0, 9])}, "class 9 in its test split"),
    ],
)
def test_arrays_that_cannot_be_trained_on_are_refused_by_name(arrays, says, tmp_path):
    name = _save_npz(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=says) as error:
        datasets.load(name)
    assert "a.npz" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_or_broken_file_is_named(tmp_path):
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no archive")
    for file in ("missing.npz", "broken.npz"):
        with pytest.raises(UserError, match=file):
            datasets.load(f"npz:{tmp_path / file}")


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1), ("RGBA", 3), ("P", 3), ("1", 1), ("LA", 1)])
def test_images_of_every_mode_are_read(mode, channels, tmp_path):
    data = datasets.load(_save_folder(tmp_path / "d", mode=mode))
    assert data.x_train.shape[1:] == (channels, 12, 12)
    assert data.class_names == ("cat", "dog")


def test_sixteen_bit_images_keep_their_brightness(tmp_path):
    name = _save_folder(tmp_path / "d", mode="L")
    for path in (tmp_path / "d").rglob("*.png"):
        Image.fromarray(np.full((12, 12), 200 * 256, np.uint16)).save(path)
    assert datasets.load(name).x_train.unique().tolist() == [200]


def test_what_is_transparent_is_white(tmp_path):
    name = _save_folder(tmp_path / "d")
    for path in (tmp_path / "d").rglob("*.png"):
        Image.new("RGBA", (12, 12), (255, 0, 0, 0)).save(path)
    assert datasets.load(name).x_train.unique().tolist() == [255]


def test_mixed_sizes_and_modes_become_one(tmp_path):
    name = _save_folder(tmp_path / "d", size=(20, 30))
    Image.fromarray(_pixels(50, 10)).save(tmp_path / "d/cat/grey.png")
    Image.fromarray(_pixels(5, 70, 3)).save(tmp_path / "d/dog/wide.jpg")
    assert datasets.load(name).x_train.shape[1:] == (3, 20, 20)
    assert datasets.load(name, image_size=16).x_train.shape[1:] == (3, 16, 16)


def test_split_folders_are_used_as_they_are(tmp_path):
    for split, each in (("train", 5), ("val", 2), ("test", 3)):
        _save_folder(tmp_path / split, each=each)
    data = datasets.load(f"folder:{tmp_path}")
    assert [len(y) for y in (data.y_train, data.y_valid, data.y_test)] == [10, 4, 6]


def test_other_files_in_the_folders_are_passed_over(tmp_path):
    name = _save_folder(tmp_path / "d")
    (tmp_path / "d/cat/notes.txt").write_text("not an image")
    (tmp_path / "d/.cache").mkdir()
    assert sum(len(y) for y in datasets.load(name)[2:7:2]) == 12


def _truncate(root):
    path = root / "cat/0.png"
    path.write_bytes(path.read_bytes()[:-200])
    return "0.png"


def _no_image(root):
    (root / "dog/bad.jpg").write_bytes(b"no image")
    return "bad.jpg"


def _empty_class(root):
    (root / "empty").mkdir()
    return "empty"


def _lonely(root):
    for i in range(1, 6):
        (root / f"dog/{i}.png").unlink()
    return "dog"


@pytest.mark.parametrize("spoil", [_truncate, _no_image, _empty_class, _lonely])
def test_a_folder_with_a_fault_is_refused_by_the_name_of_the_file(spoil, tmp_path):
    name = _save_folder(tmp_path / "d")
    culprit = spoil(tmp_path / "d")
    with pytest.raises(UserError, match=culprit) as error:
        datasets.load(name)
    assert "\n" not in str(error.value)


def test_a_class_of_the_test_folder_that_training_lacks_is_named(tmp_path):
    _save_folder(tmp_path / "train")
    _save_folder(tmp_path / "test", classes=("cat", "fox"))
    with pytest.raises(UserError, match="fox"):
        datasets.load(f"folder:{tmp_path}")


@pytest.mark.parametrize("name", ["folder:nowhere", "npz:nowhere.npz", "digitz", "folder:."])
def test_a_name_that_leads_nowhere_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        datasets.load(name)


class _Hub(list):
    """As much of a Hugging Face split as the reader uses."""

    def __init__(self, count):
        self.features = {"img": type("Image", (), {})(), "label": type("ClassLabel", (), {"names": ["a", "b"]})()}
        self.columns = {
            "img": [Image.fromarray(_pixels(10 + i % 3, 12, 3)) for i in range(count)],
            "label": [i % 2 for i in range(count)],
        }

    def __getitem__(self, column):
        return self.columns[column]


def test_a_hugging_face_data_set_is_read_by_its_features(monkeypatch):
    hub = types.SimpleNamespace(__version__="4.0.1", load_dataset=lambda name: {"train": _Hub(20), "test": _Hub(6)})
    monkeypatch.setitem(sys.modules, "datasets", hub)
    data = datasets.load("hf:someone/letters")
    assert data.class_names == ("a", "b")
    assert data.x_test.shape == (6, 3, 11, 11)


def _loaded(monkeypatch, **splits):
    hub = types.SimpleNamespace(__version__="4.0.1", load_dataset=lambda name: splits)
    monkeypatch.setitem(sys.modules, "datasets", hub)
    return datasets.load("hf:someone/letters")


def test_a_thumbnail_of_the_hub_does_not_decide_the_size_of_all(monkeypatch):
    train, test = _Hub(20), _Hub(6)
    train.columns["img"][3] = Image.fromarray(_pixels(5, 5, 3))
    test.columns["img"] = [Image.fromarray(_pixels(4, 4, 3))] * 6
    assert _loaded(monkeypatch, train=train, test=test).x_test.shape == (6, 3, 11, 11)


def test_a_row_of_the_hub_that_is_no_picture_is_passed_over_with_its_label(monkeypatch):
    train, test = _Hub(20), _Hub(7)
    test.columns["img"][2] = Image.fromarray(_pixels(2, 500, 3))
    test.columns["label"][2] = 1
    data = _loaded(monkeypatch, train=train, test=test)
    assert data.y_test.tolist() == [0, 1, 1, 0, 1, 0]
    assert data.notes[1:] == ("1 images passed over for their size, as 'row 2 of test' (500 x 2 pixels)",)


def test_a_split_of_the_hub_that_keeps_its_labels_is_not_used(monkeypatch):
    kept = _Hub(6)
    kept.columns["label"] = [-1] * 6
    hub = types.SimpleNamespace(
        __version__="4.0.1", load_dataset=lambda name: {"training": _Hub(20), "test": kept, "unsupervised": _Hub(2)}
    )
    monkeypatch.setitem(sys.modules, "datasets", hub)
    data = datasets.load("hf:someone/letters")
    assert [len(y) for y in (data.y_train, data.y_valid, data.y_test)] == [12, 4, 4]
    assert data.notes[1:] == ("split 'unsupervised' is not used", "split 'test' is unlabeled and not used")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda hub: hub.columns["img"].__setitem__(3, None), "Row 3 of split 'test' .* has no image that can be read"),
        (
            lambda hub: hub.columns["img"].__setitem__(2, Image.open(io.BytesIO(_cut_png()))),
            "Row 2 of split 'test' of Hug",
        ),
        (lambda hub: hub.columns["label"].__setitem__(5, -1), "Row 5 of split 'test' .* the label -1; it takes 0 to 1"),
        (lambda hub: hub.columns["label"].__setitem__(4, None), "Row 4 of split 'test' .* the label None"),
    ],
    ids=["no image", "an image cut short", "a label of no class", "no label"],
)
def test_a_row_of_the_hub_that_cannot_be_used_is_named(spoil, says, monkeypatch):
    spoilt = _Hub(6)
    spoil(spoilt)
    hub = types.SimpleNamespace(__version__="4.0.1", load_dataset=lambda name: {"train": _Hub(20), "test": spoilt})
    monkeypatch.setitem(sys.modules, "datasets", hub)
    with pytest.raises(UserError, match=says) as error:
        datasets.load("hf:someone/letters")
    assert "\n" not in str(error.value)


def _cut_png():
    whole = io.BytesIO()
    Image.fromarray(_pixels(64, 64, 3)).save(whole, "png")
    return whole.getvalue()[:-200]


def test_without_the_extra_hugging_face_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="metacell\\[hf\\]"):
        datasets.load("hf:mnist")


def test_a_version_of_datasets_that_runs_code_of_a_dataset_is_refused(monkeypatch):
    loaded = []
    hub = types.SimpleNamespace(__version__="3.6.0", load_dataset=loaded.append)
    monkeypatch.setitem(sys.modules, "datasets", hub)
    with pytest.raises(UserError, match=r"from 4\.0 on, which runs no code of a dataset; this is 3\.6\.0"):
        datasets.load("hf:anything")
    assert loaded == []
