"""Folders as people have them: which folder is a split, what is a class, what is passed over and said, what is refused."""

from __future__ import annotations

import os
import shutil
import socket
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image

from nas import datasets
from nas.datasets.split_names import split_of, split_within
from search_spaces import UserError

RNG = np.random.default_rng(0)


def fill(folder, count=6, suffix=".png", size=(12, 12), kind=None):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = RNG.integers(0, 256, (*size[::-1], 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}{suffix}", kind)


def counts(data):
    return [len(y) for y in (data.y_train, data.y_valid, data.y_test)]


def load(root, **options):
    return datasets.load(f"folder:{root}", **options)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"), ("training_set", "test_set"), ("Training Set", "Testing"), ("TRAIN", "holdout"),
        ("trainset", "testset"), ("training-images", "Test_Images"), ("seg_train", "seg_test"), ("trn", "tst"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("valid", ["val", "Validation", "eval", "dev_set", None])
def test_splits_are_found_by_their_usual_names(train, test, valid, tmp_path):
    parts = {train: 5, test: 3} | ({valid: 2} if valid else {})
    for part, count in parts.items():
        for name in ("cat", "dog"):
            fill(tmp_path / part / name, count)
    data = load(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert counts(data) == ([10, 4, 6] if valid else [8, 2, 6])
    assert f"test images: '{test}'" in data.notes[0]
    assert (f"validation images: '{valid}'" if valid else "validation images: 20%") in data.notes[0]


@pytest.mark.parametrize("name", ["test_tube", "train_station", "devil", "evaluate me", "value", "cat", "1"])
def test_a_name_that_says_more_is_no_split(name):
    assert split_of(name) is None


def test_a_name_that_says_two_splits_is_neither():
    assert split_of("train_test") is None
    assert split_within("train_test_split") is None


def test_an_archive_in_a_folder_of_its_own_is_read_from_there(tmp_path):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            fill(tmp_path / "archive" / "pets" / part / name)
    data = load(tmp_path)
    assert counts(data) == [10, 2, 12]
    assert any("archive/pets" in note for note in data.notes)


@pytest.mark.parametrize("inside", ["", "unknown"])
def test_an_unlabeled_test_folder_is_not_used_and_named(inside, tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / "train" / name, 8)
    fill(tmp_path / "test" / inside, 5)
    data = load(tmp_path)
    assert counts(data) == [10, 2, 4]
    assert any("test' has" in note and "unlabeled" in note for note in data.notes)


def test_a_folder_of_folders_of_folders_is_no_class(tmp_path):
    for part in ("fold_a", "fold_b"):
        for name in ("cat", "dog"):
            fill(tmp_path / part / name / "2019")
    with pytest.raises(UserError, match="'fold_a', 'fold_b' are perhaps splits"):
        load(tmp_path)


def test_classes_with_the_same_sub_folders_are_said(tmp_path):
    for name in ("cat", "dog"):
        for year in ("2019", "2020"):
            fill(tmp_path / name / year, 3)
    data = load(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert any("all have the sub-folders 2019, 2020" in note for note in data.notes)


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (["cat", "dog", "test"], "'.*test' has the name of a split"),
        (["train", "test"], "has the name of a split"),
        (["train/cat", "train/dog", "test/cat", "test_set/cat"], "'test' and 'test_set', which are both test"),
        (["cat/train", "cat/test", "dog/train", "dog/test"], "other order, as train/CLASS"),
        (["train/cat", "train/dog", "test/cat", "test/fox"], "fox"),
        ([""], "has no sub-folders"),
    ],
)
def test_a_layout_that_is_not_clear_is_refused(folders, says, tmp_path):
    for folder in folders:
        fill(tmp_path / folder)
    with pytest.raises(UserError, match=says) as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_pictures_of_trains_are_a_class(tmp_path):
    for name in ("car", "plane", "train"):
        fill(tmp_path / name)
    assert load(tmp_path).class_names == ("car", "plane", "train")


def test_nothing_hidden_is_data(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name)
    hidden = [tmp_path / "cat/.ipynb_checkpoints", tmp_path / "__MACOSX/cat", tmp_path / "dog/@eaDir"]
    for folder in hidden:
        folder.mkdir(parents=True)
        shutil.copy(tmp_path / "cat/0.png", folder / "0-checkpoint.png")
    for file in ("cat/._0.png", "cat/Thumbs.db", "dog/desktop.ini", ".DS_Store"):
        (tmp_path / file).write_bytes(b"\0")
    data = load(tmp_path)
    assert sum(counts(data)) == 12
    assert data.class_names == ("cat", "dog")
    assert "7 hidden or of the system" in data.notes[1]


def test_images_are_known_by_content_and_the_rest_is_counted_by_suffix(tmp_path):
    fill(tmp_path / "cat", 3)
    fill(tmp_path / "cat", 4, ".jfif", kind="JPEG")
    fill(tmp_path / "dog", 3)
    fill(tmp_path / "dog", 2, "", kind="PNG")
    fill(tmp_path / "dog", 2, ".bin", kind="WEBP")
    for name in ("labels.csv", "readme.txt", "more.txt", "LICENSE"):
        (tmp_path / "cat" / name).write_text("no image")
    data = load(tmp_path)
    assert sum(counts(data)) == 14
    assert data.notes[1] == "passed over: 2 .txt, 1 without suffix, 1 .csv"


def test_many_broken_files_are_one_line(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name, 8, size=(64, 64))
    for number in range(4):
        path = tmp_path / f"cat/{number}.png"
        path.write_bytes(path.read_bytes()[:300])
    (tmp_path / "dog/7.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"5 of 16 files of .* and 2 more; mend or remove them") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("turn", range(1, 9))
def test_images_stand_as_a_viewer_shows_them(turn, tmp_path):
    stands = np.zeros((12, 24), np.uint8)
    stands[:6, :12] = 255
    # What a camera stores for orientation `turn` (EXIF 2.3, table 6) so that the viewer sees `stands`.
    stored = {
        1: stands, 2: stands[:, ::-1], 3: stands[::-1, ::-1], 4: stands[::-1],
        5: stands.T, 6: np.rot90(stands), 7: stands[::-1, ::-1].T, 8: np.rot90(stands, -1),
    }[turn]  # fmt: skip
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(4):
            image = Image.fromarray(np.ascontiguousarray(stored))
            exif = image.getexif()
            exif[0x0112] = turn
            image.save(tmp_path / name / f"{number}.png", exif=exif)
    seen = load(tmp_path).x_train[0, 0]
    assert seen.shape == (12, 12)
    assert np.array_equal(seen.numpy(), stands[:, 6:18])


def test_one_scale_for_all_images_of_more_than_eight_bits(tmp_path):
    for name, top in (("bright", 4096), ("dim", 256)):
        (tmp_path / name).mkdir()
        for number in range(6):
            pixels = RNG.integers(0, top, (12, 12)).astype(np.uint16)
            pixels[0, 0] = top - 1
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    data = load(tmp_path)
    bright, dim = (data.x_train[data.y_train == label] for label in (0, 1))
    assert (int(bright.max()), int(dim.max())) == (255, 15)


def test_test_images_of_more_bits_than_training_are_refused(tmp_path):
    for name in ("a", "b"):
        fill(tmp_path / "train" / name)
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.fromarray(RNG.integers(0, 65536, (12, 12)).astype(np.uint16)).save(tmp_path / "test" / name / "0.png")
    with pytest.raises(UserError, match="more than 8 bits in its test split and none in training"):
        load(tmp_path)


def test_training_says_how_many_channels(tmp_path):
    for part, mode in (("train", "L"), ("test", "RGB")):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(4):
                pixels = RNG.integers(0, 256, (12, 12, 3)).astype(np.uint8)
                Image.fromarray(pixels).convert(mode).save(tmp_path / part / name / f"{number}.png")
    assert load(tmp_path).x_test.shape[1:] == (1, 12, 12)


def _png(width, height):
    """A whole PNG of one bit a pixel, of any size: a few kilobytes."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_what_is_no_file_and_what_is_no_picture_is_passed_over(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name)
    os.mkfifo(tmp_path / "cat/pipe.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "dog/socket.png"))
        (tmp_path / "dog/gone.png").symlink_to(tmp_path / "nowhere.png")
        (tmp_path / "dog/zero.png").symlink_to("/dev/zero")
        (tmp_path / "cat/line.png").write_bytes(_png(20_000_000, 1))
        (tmp_path / "cat/wall.png").write_bytes(_png(10_000, 10_000))
        data = load(tmp_path, image_size=48)
    assert sum(counts(data)) == 12
    assert "4 no regular files" in data.notes[1]
    assert data.notes[2].startswith("2 images passed over for their size, as '")


def test_links_in_a_circle_end(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / name)
        (tmp_path / name / "up").symlink_to(tmp_path)
    assert sum(counts(load(tmp_path))) == 12


def test_names_are_as_file_systems_have_them(tmp_path):
    composed, apart = (unicodedata.normalize(form, "Hündin") for form in ("NFC", "NFD"))
    names = [composed, "line\nend", "esc\x1b[31m", "a|b <c>", "'quoted'"]
    for name in [*names, os.fsdecode(b"raw\xff")]:
        fill(tmp_path / "train" / name, 4)
    for name in [apart, *names[1:], os.fsdecode(b"RAW\xff")]:
        fill(tmp_path / "test" / name, 2)
    data = load(tmp_path)
    assert set(data.class_names) == {composed, "line\\nend", "esc\\x1b[31m", "a|b <c>", "'quoted'", "raw\\xff"}
    assert counts(data) == [18, 6, 12]
    "".join(data.class_names).encode()


def test_the_same_file_twice_is_found_by_content(tmp_path):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            fill(tmp_path / part / name, 5)
    for number in range(5):
        shutil.copy(tmp_path / f"train/cat/{number}.png", tmp_path / f"test/cat/again {number}.png")
    lines = datasets.describe(load(tmp_path))
    assert lines[0] == "2 classes, images to train / validate / test: 8 / 2 / 15; cat 4 / 1 / 10, dog 4 / 1 / 5"
    assert "5 of 15 test images are among those of training too: the test accuracy is optimistic" in lines


def test_many_classes_are_summarized(tmp_path):
    for number in range(12):
        fill(tmp_path / f"class {number}", 3 + (number == 5))
    assert datasets.describe(load(tmp_path))[0] == (
        "12 classes, images to train / validate / test: 13 / 12 / 12; in a class 1 to 2 / 1 / 1"
    )


def test_all_classes_that_are_too_small_are_counted(tmp_path):
    for number in range(6):
        fill(tmp_path / f"class {number}", 2)
    fill(tmp_path / "whole", 9)
    with pytest.raises(UserError, match=r"6 classes: 'class 0' \(2\), 'class 1' \(2\), 'class 2' \(2\) and 3 more of"):
        load(tmp_path)


def test_images_that_are_all_alike_are_refused_before_the_training(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("RGB", (12, 12), "red").save(tmp_path / name / f"{number}.png")
    data = load(tmp_path)
    with pytest.raises(UserError, match="4 training images that are all alike") as error:
        datasets.check(data)
    assert "\n" not in str(error.value)


def test_a_home_folder_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("cat", "dog"):
        fill(tmp_path / "photos" / name)
    assert counts(datasets.load("folder:~/photos")) == [8, 2, 2]
