"""Arrays as people have them: one scale for all splits, labels of any kind, the names of Keras and MedMNIST, files cut short."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from nas import datasets, image_reading
from nas.datasets import memory
from search_spaces import UserError

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (60, 8, 8)).astype(np.uint8)
CLASS = np.arange(60) % 3


def load(path, **arrays):
    arrays = {"x_train": BYTES, "y_train": CLASS} | arrays
    np.savez(path / "a.npz", **{k: v for k, v in arrays.items() if v is not None})
    return datasets.load(f"npz:{path / 'a.npz'}")


def pixels(data):
    """All images of a dataset without a test split of its own, sorted: the split is none of these tests' matter."""
    return torch.cat([data.x_train, data.x_valid, data.x_test]).flatten().sort().values


@pytest.mark.parametrize(
    "x",
    [
        BYTES.astype(np.uint16), BYTES.astype(np.int64), BYTES.astype(np.float32), BYTES / 255, BYTES / 127.5 - 1,
        (BYTES / 255).astype(np.float32), BYTES.astype(np.uint16) * 257, BYTES.astype(np.int32) * 16 + 15,
        BYTES.astype(np.uint16) * 4 + 3, BYTES.astype(np.float64) * 64 + 63,
    ],
    ids=["uint16 of bytes", "int64", "float32 of bytes", "0..1", "-1..1", "float32 0..1", "16", "12", "10", "14 bits"],
)  # fmt: skip
def test_the_range_says_the_scale_and_not_the_type(x, tmp_path):
    assert torch.equal(pixels(load(tmp_path, x_train=x)), torch.from_numpy(BYTES).flatten().sort().values)


def test_a_mask_of_ones_is_white(tmp_path):
    for x in (BYTES > 99, (BYTES > 99).astype(np.uint8)):
        assert pixels(load(tmp_path, x_train=x)).unique().tolist() == [0, 255]


def test_the_scale_is_said_where_it_is_no_usual_one(tmp_path):
    x = BYTES.astype(np.uint16) * 16
    assert load(tmp_path, x_train=x).notes[1:] == ("pixels from 0 to 4080 (uint16) are read on the scale 0 to 4095",)
    assert load(tmp_path).notes[1:] == load(tmp_path, x_train=BYTES / 255).notes[1:] == ()


@pytest.mark.parametrize("white", [1023, 4095, 65535])
def test_a_file_of_more_than_eight_bits_is_read_as_the_array_was(white, tmp_path):
    x = BYTES.astype(np.uint16) * ((white + 1) // 256)
    data = load(tmp_path, x_train=x, x_test=x[:9], y_test=CLASS[:9])
    image = image_reading.prepared(Image.fromarray(x[5]), 1, ((8, 8),), data.deep)
    assert np.array_equal(np.asarray(image), data.x_test[5, 0].numpy())


def test_of_eight_bits_or_shares_of_light_no_scale_of_deeper_files_is_known(tmp_path):
    assert (
        load(tmp_path).deep
        is load(tmp_path, x_train=BYTES / 255).deep
        is load(tmp_path, x_train=BYTES / 1.0).deep
        is None
    )


def test_a_file_larger_than_the_memory_is_refused_before_it_is_loaded(tmp_path, monkeypatch):
    load(tmp_path)
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path) as parts:
        size = sum(part.file_size for part in parts.infolist())
    monkeypatch.setattr(memory, "available", lambda: size)
    datasets.load(f"npz:{path}")
    monkeypatch.setattr(memory, "available", lambda: size - 1)
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda *_: pytest.fail("an array was loaded"))
    with pytest.raises(
        UserError, match=r"a\.npz' takes 0\.0 GiB of memory, and 0\.0 GiB are free\. Store fewer or smaller"
    ):
        datasets.load(f"npz:{path}")


def test_the_memory_is_what_linux_says_and_no_more_than_a_container_may_use(tmp_path, monkeypatch):
    meminfo, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_MEMINFO", meminfo)
    monkeypatch.setattr(memory, "_LIMITS", (limit,))
    assert memory.available() is None
    meminfo.write_text("MemTotal:    9000 kB\nMemAvailable:    5000 kB\nSwapFree:      10 kB\n")
    for text, expected in (("max\n", 5010 * 1024), ("4096\n", 4096), (f"{2**62}\n", 5010 * 1024)):
        limit.write_text(text)
        assert memory.available() == expected


TEST = BYTES[:6]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (BYTES, TEST / 255), (BYTES / 255, TEST), (BYTES.astype(float), TEST / 255), (BYTES / 255, TEST / 127.5 - 1),
        (BYTES / 127.5 - 1, TEST / 255), (BYTES, TEST.astype(np.uint16) * 257), (BYTES.astype(np.uint16), TEST * np.uint16(9)),
    ],
)  # fmt: skip
def test_a_test_split_on_another_scale_is_refused(train, test, tmp_path):
    with pytest.raises(UserError, match=r"x_test has values from .*, where training has .* Save both alike") as error:
        load(tmp_path, x_train=train, x_test=test, y_test=CLASS[:6])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (BYTES, TEST // 200), (BYTES, TEST.astype(np.int64)), (BYTES.astype(np.uint16) * 257, TEST * np.uint16(2)),
        (BYTES / 255, TEST / 400), (BYTES / 127.5 - 1, TEST / 127.5 - 1),
    ],
)  # fmt: skip
def test_a_dim_test_split_stays_dim(train, test, tmp_path):
    data = load(tmp_path, x_train=train, x_test=test, y_test=CLASS[:6])
    assert data.x_test.float().mean() <= data.x_train.float().mean() + 10


@pytest.mark.parametrize(
    ("y", "names"),
    [
        (np.eye(3)[CLASS], ("0", "1", "2")),
        (np.eye(3, dtype=bool)[CLASS], ("0", "1", "2")),
        (np.eye(5)[CLASS + 1], ("1", "2", "3")),
        (np.array(["cat", "dog", "fox"])[CLASS], ("cat", "dog", "fox")),
        (np.array([b"cat", b"dog", b"fox"])[CLASS], ("cat", "dog", "fox")),
        (CLASS == 0, ("False", "True")),
        (CLASS[:, None], ("0", "1", "2")),
        (CLASS.astype(np.float32), ("0", "1", "2")),
        (CLASS.astype(np.uint64) + 7, ("7", "8", "9")),
        (CLASS * 10 - 10, ("-10", "0", "10")),
    ],
)
def test_labels_of_any_kind_are_classes(y, names, tmp_path):
    data = load(tmp_path, y_train=y, x_test=BYTES[:7], y_test=y[:7])
    assert data.class_names == names
    ranks = (CLASS == 0).astype(int) if y.dtype == bool and y.ndim == 1 else CLASS
    assert data.y_test.tolist() == ranks[:7].tolist()


@pytest.mark.parametrize(
    "y",
    [
        np.linspace(0, 1, 60), np.full(60, np.nan), np.eye(3)[CLASS] * 0.5, np.ones((60, 3)), np.zeros((60, 2, 2)),
        CLASS.astype(complex), CLASS.astype("datetime64[D]"), np.full(60, 1e300),
    ],
)  # fmt: skip
def test_what_is_no_label_is_refused(y, tmp_path):
    with pytest.raises(UserError, match="is no label for each image") as error:
        load(tmp_path, y_train=y)
    assert "\n" not in str(error.value)


def test_labels_of_another_kind_in_test_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"labels as .* in its test split and as .* in training"):
        load(tmp_path, x_test=BYTES[:3], y_test=np.array(["0", "1", "2"]))


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("x_{}", "y_{}"), ("X_{}", "Y_{}"), ("{}_images", "{}_labels"), ("x{}", "y{}"), ("{}X", "{}Y"),
        ("{}-data", "{}-targets"), ("images_{}", "label_{}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("valid", "test"), [("val", "test"), ("valid", "testing"), ("dev", "holdout")])
def test_arrays_are_found_by_their_usual_names(images, labels, valid, test, tmp_path):
    arrays = {"x_train": None, "y_train": None}
    for split, count in (("train", 60), (valid, 13), (test, 9)):
        arrays |= {images.format(split): BYTES[:count], labels.format(split): CLASS[:count, None]}
    data = load(tmp_path, **arrays)
    assert [len(y) for y in (data.y_train, data.y_valid, data.y_test)] == [60, 13, 9]
    assert data.notes == (f"validation images: '{images.format(valid)}'; test images: '{images.format(test)}'",)


def test_x_and_y_alone_are_training(tmp_path):
    assert len(load(tmp_path, x_train=None, y_train=None, x=BYTES, y=CLASS).y_train) == 39


def test_what_is_not_used_is_named(tmp_path):
    extra = {"x_test": BYTES[:5], "y_val": CLASS[:4], "meta": CLASS, "x_extra": BYTES, "class_names": np.array(["a"])}
    assert load(tmp_path, **extra).notes[1:] == (
        "x_test is not used: it has no labels",
        "y_val is not used: it has no images",
        "meta, x_extra not used",
        "class_names is not used: 1 names for 3 classes",
    )


def test_labels_of_minus_one_are_none(tmp_path):
    data = load(tmp_path, x_test=BYTES[:5], y_test=np.full(5, -1))
    assert len(data.y_test) == 12
    assert "x_test is not used: all its labels are -1" in data.notes


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (np.array([b"cat", b"dog", b"fox"]), ("cat", "dog", "fox")),
        (np.array(["none", "dog", "cat", "owl", "fox"]), ("none", "dog", "cat")),
        (np.array([1.5, 2.5, 3.5]), ("0", "1", "2")),
    ],
)
def test_names_of_classes_go_by_their_labels(names, expected, tmp_path):
    assert load(tmp_path, class_names=names).class_names == expected


def test_only_the_middle_square_is_used_and_that_is_said(tmp_path):
    wide = np.zeros((60, 8, 20), np.uint8)
    wide[:, :, 6:14] = BYTES
    data = load(tmp_path, x_train=wide)
    assert torch.equal(pixels(data), torch.from_numpy(BYTES).flatten().sort().values)
    assert "only the middle square of the 20 x 8 images is used" in data.notes


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("side", [6, 12])
def test_all_splits_have_the_side_of_training(split, side, tmp_path):
    others = {f"x_{split}": np.full((9, side, side + 2), 7, np.uint8), f"y_{split}": CLASS[:9]}
    data = load(tmp_path, **others)
    assert {x.shape[1:] for x in (data.x_train, data.x_valid, data.x_test)} == {(1, 8, 8)}
    assert f"x_{split} has images of {side + 2} x {side} pixels, which become 8 x 8 as those of training" in data.notes


def test_of_a_line_only_the_middle_is_scaled(monkeypatch):
    scale, sizes = torch.nn.functional.interpolate, []
    monkeypatch.setattr(
        torch.nn.functional, "interpolate", lambda x, size, **how: sizes.append(size) or scale(x, size, **how)
    )
    line = torch.zeros(1, 1, 4, 5000, dtype=torch.uint8)
    line[..., 2498:2502] = 200
    small = datasets.resize(line, 64)
    assert small.shape == (1, 1, 64, 64)
    assert small[..., 16:48].unique().tolist() == [200]
    assert sizes == [(64, 3 * 64)]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x_train": BYTES - 128.0 * 9}, "values from -1152 to -897"),
        ({"x_train": np.where(BYTES > 9, BYTES / 255, np.nan)}, "not finite"),
        ({"x_train": BYTES.astype(complex)}, "holds complex128"),
        ({"x_train": BYTES.astype("U3")}, "holds <U3"),
        ({"x_train": BYTES[:, :0]}, "of shape"),
        ({"x_train": BYTES[:, :3]}, "has images of 3 x 3 pixels; it takes 4 x 4"),
        ({"x_test": np.stack([BYTES[:5]] * 3, -1), "y_test": CLASS[:5]}, "1 in x_train, 3 in x_test channels"),
    ],
)
def test_what_no_image_holds_is_refused(arrays, says, tmp_path):
    with pytest.raises(UserError, match=says) as error:
        load(tmp_path, **arrays)
    assert "\n" not in str(error.value)


def test_no_part_of_a_file_ends_in_anything_but_one_line(tmp_path):
    np.savez_compressed(tmp_path / "whole.npz", x_train=BYTES, y_train=CLASS)
    whole = (tmp_path / "whole.npz").read_bytes()
    for number in range(60):
        damaged = bytearray(whole)
        if number % 2:
            damaged = damaged[: RNG.integers(len(whole))]
        else:
            for at in RNG.integers(len(whole), size=4):
                damaged[at] = RNG.integers(256)
        path = tmp_path / f"{number}.npz"
        path.write_bytes(damaged)
        try:
            datasets.load(f"npz:{path}")
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_one_array_is_no_archive_whatever_it_is_called(tmp_path):
    for name in ("a.npy", "a.npz"):
        with (tmp_path / name).open("wb") as file:
            np.save(file, BYTES)
        with pytest.raises(UserError, match="is one array"):
            datasets.load(f"npz:{tmp_path / name}")
