"""Few-shot data and episodes, and the command `nas few-shot` from its first step to new classes."""

import csv
import dataclasses
import json
import unicodedata

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from nas.datasets import RawData, hub
from nas.evaluators.few_shot import FewShot
from nas.export import formats
from nas.few_shot import classes, classify, episodes, evaluate, export, load, named, run, training
from nas.few_shot.backbone import Backbone
from nas.few_shot.episodes import Size
from nas.few_shot.learner import Problem
from search_spaces import UserError, _noise
from search_spaces.conv4 import Conv4


def toy(count=10, each=6, rotations=False):
    """Classes whose image `i` of class `k` has all pixels 20 k + i, but for a corner of 255."""
    labels = torch.arange(count).repeat_interleave(each)
    values = 20 * labels + torch.arange(each).repeat(count)
    images = values.byte()[:, None, None, None].repeat(1, 1, 4, 4)
    images[:, :, 0, 0] = 255
    split = classes.split_by_seed(count, 0)
    data = classes.by_class("toy", images, labels, tuple(f"c{k}" for k in range(count)), split)
    return data._replace(rotations=rotations)


def source(**options):
    # Not normalized: pixels are whole numbers / 255.
    return episodes.Source(toy(**options), torch.zeros(1), torch.ones(1))


SIZE = Size(tasks=50, way=2, shot=2, queries=3)


@pytest.mark.parametrize(
    ("shot", "options", "expected"),
    [
        (1, {}, (4, 1, 3)),
        (1, {"train_queries": "6"}, (4, 1, 5)),  # Of six images one is learned from.
        (3, {"train_queries": "6"}, (4, 3, 3)),
        (1, {"train_shot": "9", "train_way": "99"}, (6, 5, 1)),
    ],
)
def test_episodes_of_training_have_no_more_than_the_data_and_something_to_learn_from(shot, options, expected):
    options = {"train_queries": "3", "train_way": "4"} | options
    space = Conv4()
    backbone = Backbone(space, space.parse("16:0:0:0:max_pool"), (1, 4, 4))
    learner = named.make("prototypical", Problem(backbone, 2, shot, 10), options)
    # The classes that only test do not count.
    data = toy()._replace(split=torch.tensor([0] * 6 + [1] * 2 + [2] * 2))
    data = data._replace(count=data.count.where(data.split < 2, 2))
    plan = training.Plan(2, shot, 1, 0, 5, "float32")
    size = training.train_size(learner, episodes.Source(data, torch.zeros(1), torch.ones(1)), plan)
    assert size[1:] == expected


def test_an_episode_is_a_pure_function_of_seed_and_step():
    first, again = (source().draw("train", SIZE, 7, 3) for _ in range(2))
    assert all(map(torch.equal, first, again))
    for seed, step in ((8, 3), (7, 4)):
        assert not torch.equal(source().draw("train", SIZE, seed, step).classes, first.classes)


def test_classes_of_an_episode_are_those_with_the_smallest_of_the_noise_of_its_step():
    known = toy().classes("train")
    noise = _noise.bits(torch.tensor([7]), 3, SIZE.tasks, len(known), stream=0)[0]
    expected = known[noise.argsort(dim=-1, stable=True)[:, : SIZE.way]]
    assert torch.equal(source().draw("train", SIZE, 7, 3).classes, expected)


@pytest.mark.parametrize("rotations", [False, True])
def test_classes_of_an_episode_differ_and_are_of_its_split_alone(rotations):
    data = toy(rotations=rotations)
    for split, part in zip(classes.SPLITS, range(3)):
        found = source(rotations=rotations).draw(split, SIZE, 0, 0).classes
        assert all(len(set(row)) == SIZE.way for row in found.tolist())
        assert (data.split[found % 10] == part).all()
        # In 50 tasks each of a split's few classes comes up.
        assert len(found.unique()) == len(data.classes(split))
    assert len(data.classes("train")) == (24 if rotations else 6)


def test_images_are_of_their_class_and_none_is_both_in_support_and_query():
    found = source().draw("train", SIZE, 0, 0)
    pixels = (torch.cat([found.support, found.query], 2)[..., 0, 3, 3] * 255).round().long()
    assert (pixels // 20 == found.classes[..., None]).all()
    assert all(len(set(row)) == 5 for row in pixels.flatten(0, 1).tolist())
    assert set((pixels % 20).flatten().tolist()) == set(range(6)), "each image is drawn"


def test_a_rotation_of_a_class_is_a_class_whose_images_are_turned():
    found = source(rotations=True).draw("train", SIZE, 0, 0)
    corners = {0: (0, 0), 1: (3, 0), 2: (3, 3), 3: (0, 3)}
    for turns, (row, column) in corners.items():
        images = found.support[found.classes // 10 == turns]
        assert len(images)
        assert (images[..., row, column] == 1).all()


def test_classes_are_split_by_the_shares_and_every_split_has_one():
    assert classes.split_by_seed(100, 3).bincount().tolist() == [64, 16, 20]
    assert classes.split_by_seed(3, 0).sort().values.tolist() == [0, 1, 2]
    assert not torch.equal(classes.split_by_seed(100, 3), classes.split_by_seed(100, 4))


def test_the_normalization_is_that_of_training_classes_alone():
    data = toy()
    mean, std = classes.normalization(data)
    train = data.images[data.split.repeat_interleave(6) == 0].double() / 255
    torch.testing.assert_close(mean, train.mean().float()[None])
    torch.testing.assert_close(std, train.std().float()[None])


def test_the_interval_is_of_the_mean_over_episodes():
    found = evaluate.of_episodes(torch.tensor([0.0, 1.0, 1.0, 1.0]))
    assert found.mean == 75
    assert found.half_width == pytest.approx(100 * 1.96 * 0.5 / 2)


def write_images(folder, count, shade=0, size=8):
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new("L", (size, size), shade + i).save(folder / f"{i}.png")


def test_omniglots_folders_are_read_with_ink_as_the_high_values(tmp_path):
    for part, alphabets in (("images_background", ("Greek", "Latin")), ("images_evaluation", ("Tengwar",))):
        for alphabet in alphabets:
            for character in range(5):
                write_images(tmp_path / part / alphabet / f"character{character:02d}", 2, 10 * character, 105)
    data = load.load(str(tmp_path), image_size=28)
    assert data.split.bincount().tolist() == [8, 2, 5]
    assert all(data.names[k].startswith("Tengwar/") for k in data.classes("test").tolist())
    assert data.images.shape == (30, 1, 28, 28)
    last = data.names.index("Greek/character04")
    assert data.images[data.first[last] + 1].unique().tolist() == [255 - 41]
    assert data.inverted


def test_mini_imagenets_folder_and_tables_are_read(tmp_path):
    (tmp_path / "images").mkdir()
    number = 0
    for split, names in (("train", ["n01", "n02"]), ("val", ["n03"]), ("test", ["n04"])):
        rows = []
        for name in names:
            for _ in range(2):
                Image.new("RGB", (84, 84), (number, 0, 0)).save(tmp_path / "images" / f"{number}.png")
                rows.append({"filename": f"{number}.png", "label": name})
                number += 1
        with (tmp_path / f"{split}.csv").open("w", newline="") as opened:
            writer = csv.DictWriter(opened, ["filename", "label"])
            writer.writeheader()
            writer.writerows(rows)
    train = tmp_path / "train.csv"
    train.write_bytes(b"\xef\xbb\xbf" + train.read_bytes())  # As spreadsheets write UTF-8.
    data = load.load(str(tmp_path), image_size=16)
    assert dict(zip(data.names, data.split.tolist())) == {"n01": 0, "n02": 0, "n03": 1, "n04": 2}
    assert data.images[:, 0, 0, 0].tolist() == list(range(8))
    train.write_text("filename,label\n0.png,n01\n1.png\n")
    with pytest.raises(UserError, match=r"no filename or no label in line 3"):
        load.load(str(tmp_path))
    train.write_bytes("filename,label\n0.png,caf\xe9\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"train.csv' is not UTF-8 \(byte 24\)"):
        load.load(str(tmp_path))


def test_folders_whose_names_are_one_in_unicode_are_one_class(tmp_path):
    for name in "abcdefgh":
        write_images(tmp_path / name, 2)
    for form in ("NFC", "NFD"):
        write_images(tmp_path / unicodedata.normalize(form, "café"), 3)
    data = load.load(str(tmp_path))
    counts = dict(zip(data.names, data.count.tolist()))
    assert (len(counts), counts["café"]) == (9, 6)


def test_folders_of_classes_are_split_by_lists_or_else_by_a_seed(tmp_path):
    for name in "abcdefghij":
        write_images(tmp_path / name, 2)
    assert load.load(f"folder:{tmp_path}").split.bincount().tolist() == [6, 2, 2]
    for split, names in (("train", "abc"), ("val", "de"), ("test", "f")):
        (tmp_path / f"{split}.txt").write_text("\n".join(names) + "\n")
    found = load.load(str(tmp_path))
    assert dict(zip(found.names, found.split.tolist())) == {"a": 0, "b": 0, "c": 0, "d": 1, "e": 1, "f": 2}
    (tmp_path / "test.txt").write_bytes(b"\xef\xbb\xbff\n")
    assert dict(zip(found.names, load.load(str(tmp_path)).split.tolist()))["f"] == 2
    (tmp_path / "test.txt").write_text("z")
    with pytest.raises(UserError, match="names class 'z'"):
        load.load(str(tmp_path))


def test_folders_of_splits_are_taken_as_they_are_where_their_classes_differ(tmp_path):
    for split, names in (("train", "abcde"), ("test", "fg")):
        for name in names:
            write_images(tmp_path / split / name, 2)
    data = load.load(str(tmp_path))
    assert data.split.bincount().tolist() == [4, 1, 2]
    assert {data.names[k] for k in data.classes("test").tolist()} == {"f", "g"}
    write_images(tmp_path / "test" / "a", 3)  # The usual split of images: now classes are split anew.
    assert load.load(str(tmp_path)).count.sum() == 17


def test_arrays_by_class_and_with_labels_are_read(tmp_path):
    images = np.arange(6 * 3 * 16, dtype=np.uint8).reshape(6, 3, 4, 4)
    split = np.array([0, 2, 1, 0, 2, 0])
    np.savez(tmp_path / "a.npz", images=images, split=split)
    one = load.load(str(tmp_path / "a.npz"))
    order = np.random.default_rng(0).permutation(18)
    labels = np.repeat([f"c{k}" for k in range(6)], 3)[order]
    np.savez(tmp_path / "b.npz", images=images.reshape(18, 4, 4)[order], labels=labels, split=split)
    two = load.load(f"npz:{tmp_path / 'b.npz'}")
    for data in (one, two):
        assert data.split.tolist() == split.tolist()
        assert data.count.tolist() == [3] * 6
        mine = [data.images[f : f + 3].flatten().sort().values for f in data.first.tolist()]
        assert torch.equal(torch.stack(mine), torch.from_numpy(images).flatten(1).sort(1).values)
    # Without a split of its own too.
    np.savez(tmp_path / "d.npz", images=images)
    three = load.load(str(tmp_path / "d.npz"))
    assert three.split.bincount().tolist() == [4, 1, 1]
    assert torch.equal(three.images.flatten(1), torch.from_numpy(images).reshape(18, 16))
    np.savez(tmp_path / "e.npz", images=np.zeros((18, 4, 4, 3), np.uint8))
    with pytest.raises(UserError, match=r"no labels; it takes `labels`"):
        load.load(str(tmp_path / "e.npz"))
    np.savez(tmp_path / "c.npz", x_train=images.reshape(18, 4, 4), y_train=np.repeat(np.arange(6), 3))
    assert load.load(str(tmp_path / "c.npz")).split.bincount().tolist() == [4, 1, 1]


def test_the_classes_of_all_splits_of_the_hub_are_split_anew_and_keep_their_names(monkeypatch):
    images = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(-1, -1, 8, 8)
    train, test = torch.tensor([0, 0, 2, 2, 4, 4, 5, 5]), torch.tensor([3, 3, 0, 2])
    raw = RawData({"train": (images[:8], train), "test": (images[8:], test)}, ("a", "c", "e", "f"))
    monkeypatch.setattr(hub, "hugging_face", lambda where, image_size: raw)
    data = load.load("hf:someone/letters")
    assert data.names == ("a", "c", "3", "e", "f"), "names are those of the classes that train"
    assert data.count.tolist() == [3, 3, 2, 2, 2]
    assert data.images[:3, 0, 0, 0].tolist() == [0, 1, 10]
    assert data.split.bincount().tolist() == [3, 1, 1]
    with pytest.raises(UserError, match="takes a name behind its colon"):
        load.load("hf:")


@pytest.mark.parametrize(
    ("learner", "before"),
    [
        ("snail", {"features": "0"}),
        ("learned_optimizer", {"hidden": "20"}),
        ("relation", {"least_side": "1", "tasks": "4", "train_queries": "10"}),
        ("reptile", {"carry_squares": "false", "inner_lr": "0.003"}),
        ("matching", {"scale": "10.0", "train_way": "20", "tasks": "4"}),
        ("neural_process", {"joined": "true", "lr": "0.001"}),
        ("maml", {"tasks": "16", "train_queries": "5"}),
        ("meta_sgd", {"tasks": "16", "train_queries": "5"}),
        ("probabilistic_maml", {"tasks": "16", "train_queries": "5", "prior_lr": "0.01"}),
        ("siamese", {}),
    ],
)
def test_a_run_that_names_no_setting_has_the_defaults_of_its_version(learner, before):
    assert run.as_read(run.Config("digits", learner, 5, 1)).options == before
    now = run.prepare(run.Config("digits", learner, 5, 1)).config.options
    assert now.keys() == before.keys()
    assert run.as_read(run.Config("digits", learner, 5, 1, options=now)).options == now
    assert all(now[name] != value for name, value in before.items())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--learner", "protoypical"), "Did you mean 'prototypical'"),
        (("--way", 1), "--way is 1; it takes 2 or more"),
        (("--way", 9), "has 8 valid classes with the rotations of each, and --way is 9"),
        (("--no-rotations",), "--rotations counts each rotation"),
        (("--shot", 0), "--shot is 0"),
        (("--shot", 170), "an episode takes 185"),
        (("--steps", 0), "--steps is 0"),
        (("--minutes", -1), "--minutes is -1"),
        (("--minutes", 1, "--steps", 1), "choose one"),
        (("--seed", -1), "--seed is -1"),
        (("--episodes", 1), "--episodes is 1"),
        (("--image-size", 2), "--image-size is 2"),
        (("--data", "nowhere"), "There is no folder or file"),
        (("--arch", "64"), "it takes 5, as in"),
        (("--arch", "64:64:64:65:stride"), "Block 4 of architecture"),
        (("--space", "nasbench201"), "--arch names no architecture"),
        (("--learner-option", "lr"), "it takes NAME=VALUE"),
        (("-l", "rate=1"), "No setting of 'prototypical'"),
        (("-l", "lr=-1"), "lr is -1.0; it takes a number above 0"),
        (("-l", "lr=nan"), "lr is nan"),
        (("--learner", "snail", "-l", "train_way=7"), "train_way is 7; snail answers for as many classes"),
        (("--resume", "nothing"), "is no few-shot run"),
        (("--name", ""), "The name of the run is empty"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(args, said, nas, tmp_path):
    done = nas("few-shot", *([] if "--steps" in args or "--minutes" in args else ["--steps", 1]), *args)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("counts", "rotations", "said"),
    [
        ((6, 3, 2), False, "has 2 test classes, and --way is 5; say --way 2 at most; --rotations counts"),
        ((1, 1, 1), False, "has 1 train class, and --way is 5; --rotations counts"),
        ((0, 1, 1), False, "has 0 train classes, and --way is 5; the data need more classes."),
        ((0, 1, 1), True, "has 0 train classes, and --way is 5; the data need more classes."),
    ],
)
def test_too_few_classes_are_told_what_would_help(counts, rotations, said):
    split = torch.arange(3).repeat_interleave(torch.tensor(counts))
    data = toy(len(split))._replace(split=split, rotations=rotations)
    with pytest.raises(UserError) as error:
        classes.check(data, 5, 1)
    assert said in str(error.value)


def test_a_test_asks_for_classes_and_images_of_the_test_split_alone():
    data = toy(9)._replace(split=torch.tensor([0] * 3 + [1] * 2 + [2] * 4))
    data = data._replace(count=torch.tensor([2] * 5 + [6] * 4))
    classes.check(data, 4, 6, ("test",))
    with pytest.raises(UserError, match="has 2 valid classes, and --way is 4"):
        classes.check(data, 4, 6)
    with pytest.raises(UserError, match="Class 'c0' of 'toy' has 2 images; an episode takes 6"):
        classes.check(data, 2, 6)
    with pytest.raises(UserError, match="Class 'c5' of 'toy' has 6 images; an episode takes 7"):
        classes.check(data, 4, 7, ("test",))


ASKED = ("few-shot", "--steps", 6, "--queries", 2, "--episodes", 20, "--way", 3, "--arch", "16:16:0:0:max_pool")


def test_a_run_goes_on_where_it_was_stopped_bitwise_and_refuses_another(nas, tmp_path, monkeypatch):
    whole = nas(*ASKED, "--name", "whole", "--json")
    assert whole.returncode == 0, whole.stderr
    advance = training.advance

    def stop_at_3(learner, source, plan, state):
        if state.step == 3:
            raise KeyboardInterrupt
        return advance(learner, source, plan, state)

    with monkeypatch.context() as patched:
        patched.setattr(training, "advance", stop_at_3)
        stopped = nas(*ASKED, "--name", "stopped")
    assert stopped.returncode == 130
    assert "--resume stopped" in stopped.stderr
    assert nas("few-shot", "--resume", "stopped").returncode == 0
    one, two = (
        safetensors.torch.load_file(tmp_path / "runs" / n / "few_shot.safetensors") for n in ("whole", "stopped")
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    results = [json.loads((tmp_path / "runs" / name / "result.json").read_text()) for name in ("whole", "stopped")]
    assert results[0]["test"] == results[1]["test"] == json.loads(whole.stdout)["test"]
    again = nas(*ASKED, "--name", "whole", "--json")  # It is finished: the same answer, without work.
    assert json.loads(again.stdout) == json.loads(whole.stdout)
    other = nas(*ASKED, "--name", "whole", "--shot", 2)
    assert other.returncode == 2
    assert "has shot 1, and 2 is asked for" in other.stderr
    assert other.stderr.endswith("--resume whole.\n")
    fewer = nas("few-shot", "--resume", "whole", "--episodes", 10, "--json")
    assert json.loads(fewer.stdout)["test"]["episodes"] == 10
    again = nas("few-shot", "--resume", "whole", "--json")
    assert json.loads(again.stdout)["test"]["episodes"] == 10, "what was done is not done again"


def test_a_run_whose_name_is_a_path_is_gone_on_with_by_it(nas):
    short = ("few-shot", "--steps", 1, "--queries", 1, "--episodes", 2, "--way", 2, "--arch", "16:16:0:0:max_pool")
    assert nas(*short, "--name", "sub/few").returncode == 0
    other = nas(*short, "--name", "sub/few", "--seed", 3)
    assert other.returncode == 2
    assert other.stderr.endswith("--resume sub/few.\n")
    assert nas("few-shot", "--resume", "sub/few").returncode == 0


def test_a_run_that_another_process_begins_meanwhile_is_not_begun_anew(nas, monkeypatch, tmp_path):
    prepare = run.prepare

    def slow(config):
        monkeypatch.setattr(run, "prepare", prepare)
        assert nas(*ASKED, "--name", "both").returncode == 0
        return prepare(config)

    monkeypatch.setattr(run, "prepare", slow)
    late = nas(*ASKED, "--name", "both", "--seed", 3)
    assert late.returncode == 2
    assert "Another process has begun" in late.stderr
    assert run.read_config(tmp_path / "runs" / "both").seed == 0


def test_a_run_that_was_killed_before_its_first_save_can_begin_again(nas, tmp_path):
    folder = tmp_path / "runs" / "few"
    folder.mkdir(parents=True)
    (folder / "run.lock").touch()
    (folder / f".{run.FILE}.host.123.partial").write_bytes(b"half")
    (folder / "mine.txt").touch()
    refused = nas(*ASKED, "--name", "few")
    assert refused.returncode == 2
    assert "holds something else than a few-shot run" in refused.stderr
    (folder / "mine.txt").unlink()
    done = nas(*ASKED, "--name", "few")
    assert done.returncode == 0, done.stderr
    assert run.read(folder)[1].step == 6


def test_a_finished_training_is_tested_by_other_episodes_once(nas, tmp_path, monkeypatch):
    assert nas(*ASKED, "--name", "few").returncode == 0
    same = nas("few-shot", "test", "few", "--episodes", 20, "--json")
    first = json.loads((tmp_path / "runs" / "few" / "result.json").read_text())
    assert json.loads(same.stdout)["test"] == first["test"], "the same episodes, the same weights"
    other = nas("few-shot", "test", "few", "--way", 5, "--shot", 2, "--episodes", 10, "--json")
    document = json.loads(other.stdout)
    assert (document["way"], document["shot"], document["trained"]["way"]) == (5, 2, 3)
    setup, (_, state) = run.prepare(run.read_config(tmp_path / "runs" / "few")), run.read(tmp_path / "runs" / "few")
    right = evaluate.correct(setup.learner, state.best, setup.source, "test", Size(10, 5, 2, 2))
    assert document["test"]["accuracy"] == pytest.approx(100 * float(right.mean()), abs=1e-3)
    monkeypatch.setattr(evaluate, "correct", None)  # What is known is not asked again.
    again = nas("few-shot", "test", "few", "--way", 5, "--shot", 2, "--episodes", 10, "--json")
    assert json.loads(again.stdout) == document
    assert len(json.loads((tmp_path / "runs" / "few" / "tests.json").read_text())) == 2


def test_runs_that_name_no_architecture_keep_the_one_of_their_time(tmp_path):
    config = run.Config("digits", "leo", 3, 1, 3, steps=1)
    assert run.prepare(config).config.arch == "64:64:64:64:stride"
    former = config.__class__(**vars(config) | {"arch": "64:64:64:64:max_pool"})
    setup = run.prepare(former)
    run.save(tmp_path, config, training.begin(setup.learner, 0))
    assert run.read_config(tmp_path).arch == "64:64:64:64:max_pool"


def test_runs_of_relation_networks_that_name_no_side_of_maps_keep_the_one_of_their_time(nas, tmp_path):
    config = run.Config("digits", "relation", way=2, steps=1)
    setup = run.prepare(config)
    assert setup.config.options["least_side"] == "4"
    assert (
        setup.learner.embedding(setup.learner._split(setup.learner.init(0))[0], torch.zeros(1, 1, 8, 8)).shape[-1] == 4
    )
    # A file of before names no side.
    before = dataclasses.replace(setup.config, options={})
    run.save(tmp_path, before, training.begin(setup.learner, 0))
    kept = run.read_config(tmp_path)
    assert kept.options["least_side"] == "1"
    assert run.prepare(kept).learner.problem.backbone.size(1) == (64, 1, 1)
    # A second call of the same command goes on with its run.
    command = ("few-shot", "--data", "digits", "--learner", "relation", "--way", "2", "--steps", "1", "--name", "r")
    assert nas(*command).returncode == 0
    again = nas(*command)
    assert (again.returncode, again.stderr) == (0, "")
    other = nas(*command, "-l", "least_side=2")
    assert (other.returncode, "'least_side': '2'" in other.stderr and "asked for" in other.stderr) == (2, True)


def test_runs_of_snail_that_name_no_features_read_the_embedding(tmp_path):
    setup = run.prepare(run.Config("digits", "snail", way=2, steps=1))
    assert setup.config.options == {"features": "64"}
    run.save(tmp_path, dataclasses.replace(setup.config, options={}), training.begin(setup.learner, 0))
    learner = run.prepare(run.read_config(tmp_path)).learner
    assert not any(".features." in name for name in learner.init(0))


@pytest.mark.parametrize("learner", ["snail", "reptile", "relation"])
def test_what_a_search_for_a_backbone_trains_is_read_back_with_the_settings_it_had(learner):
    config = FewShot.of("digits", learner=learner).config
    assert config.options == run.prepare(run.Config("digits", learner, way=2)).config.options
    assert run.as_read(config).options == config.options


def test_fewer_features_than_none_are_one_line(nas):
    done = nas("few-shot", "--learner", "snail", "-l", "features=-3", "--steps", 1)
    assert (done.returncode, "Setting features is '-3'; it takes a whole number" in done.stderr) == (2, True)


def test_runs_of_reptile_that_name_no_squares_begin_each_task_with_fresh_ones(tmp_path):
    setup = run.prepare(run.Config("digits", "reptile", way=2, steps=1))
    assert setup.config.options == {"carry_squares": "true", "inner_lr": "0.008"}
    run.save(tmp_path, dataclasses.replace(setup.config, options={}), training.begin(setup.learner, 0))
    learner = run.prepare(run.read_config(tmp_path)).learner
    assert (learner.carry_squares, learner.inner_lr) == (False, 0.003)
    assert learner.init(0).keys() == set(learner.network.names)


def test_a_test_that_cannot_be_is_one_line(nas, tmp_path, monkeypatch):
    assert nas(*ASKED, "--learner", "maml", "-l", "tasks=2", "--name", "m").returncode == 0
    for args, said in (
        (("--way", 2), "maml was trained for 3 classes"),
        (("--shot", 0), "--shot is 0"),
        (("--shot", 200), "an episode takes 202 of a class"),
        (("--episodes", 1), "--episodes is 1"),
    ):
        done = nas("few-shot", "test", "m", *args)
        assert (done.returncode, said in done.stderr, done.stderr.count("\n")) == (2, True, 1), done.stderr
    assert nas("few-shot", "test", "m", "--shot", 2, "--episodes", 2).returncode == 0
    config, state = run.read(tmp_path / "runs" / "m")
    run.save(tmp_path / "runs" / "m", config, state._replace(step=3))
    unfinished = nas("few-shot", "test", "m")
    assert (unfinished.returncode, "is at step 3 of 6" in unfinished.stderr) == (2, True)


def test_the_exported_learner_names_new_classes_and_its_embedding_needs_only_torch(nas, tmp_path):
    asked = [x if x != 6 else 40 for x in ASKED]
    assert nas(*asked, "--name", "few").returncode == 0
    data = load.load("digits", None, True)
    for k, name in ((data.classes("test")[0], "one"), (data.classes("test")[1], "two")):
        for i in range(12):
            folder = tmp_path / ("support" if i < 4 else "new") / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(data.images[data.first[k] + i][0].numpy()).save(folder / f"{i}.png")
    (tmp_path / "new" / "broken.png").write_text("no image")
    # No picture: `nas predict` names no class of it either.
    Image.new("L", (4, 900)).save(tmp_path / "new" / "strip.png")
    done = nas("few-shot", "classify", "few", "--support", "support", "new", "--json")
    assert done.returncode == 1
    assert "broken.png" in done.stderr
    assert "4 x 900 pixels are too many, or too long for their width" in done.stderr
    answers = {one["image"]: next(iter(one["probabilities"])) for one in json.loads(done.stdout)["images"]}
    right = sum(f"new/{name}/" in image for image, name in answers.items())
    assert (len(answers), right >= 14) == (16, True)
    exported = export.read(tmp_path / "runs" / "few" / "export")
    pixels = data.images[:5].float() / 255
    normalized = (pixels - exported.mean.view(-1, 1, 1)) / exported.std.view(-1, 1, 1)
    expected = exported.learner.embedding(exported.params, normalized)
    program = formats.load(tmp_path / "runs" / "few" / "export" / "embedding.pt2")
    torch.testing.assert_close(program(pixels), expected, rtol=1e-4, atol=1e-5)


def test_the_embedding_of_inverted_images_takes_pixels_as_they_are_in_files(nas, tmp_path):
    for part, alphabet in (("images_background", "Greek"), ("images_evaluation", "Tengwar")):
        for character in range(12):
            write_images(tmp_path / "omniglot" / part / alphabet / f"character{character:02d}", 4, 20 * character, 16)
    asked = ("--steps", "1", "--way", "2", "--queries", "2", "--image-size", "8", "-l", "train_way=2", "--name", "ink")
    done = nas("few-shot", "--data", "omniglot", *asked)
    assert done.returncode == 0, done.stderr
    exported = export.read(tmp_path / "runs" / "ink" / "export")
    assert exported.inverted
    pixels = torch.rand(3, 1, 8, 8)
    normalized = (1 - pixels - exported.mean.view(-1, 1, 1)) / exported.std.view(-1, 1, 1)
    program = formats.load(tmp_path / "runs" / "ink" / "export" / "embedding.pt2")
    expected = exported.learner.embedding(exported.params, normalized)
    torch.testing.assert_close(program(pixels), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("counts", "each"), [((2, 3), 6), ((4, 4), 4), ((5, 7), 7)])
def test_every_image_of_a_support_counts_alike_in_its_class_where_that_takes_few(nas, tmp_path, counts, each):
    assert nas(*ASKED, "--name", "few").returncode == 0
    for name, count in zip("ab", counts):
        write_images(tmp_path / "support" / name, count, shade=60)
    images = classify.support(export.read(tmp_path / "runs" / "few" / "export"), tmp_path / "support").images[0]
    assert images.shape[1] == each
    for of_class, count in zip(images, counts):
        often = [sum(torch.equal(image, of_class[i]) for image in of_class) for i in range(count)]
        assert min(often) == each // count
        assert max(often) == -(-each // count)


def test_a_learner_of_a_fixed_number_of_classes_says_so(nas, tmp_path):
    assert nas(*ASKED, "--learner", "maml", "-l", "tasks=2", "--name", "m").returncode == 0
    for name in "ab":
        write_images(tmp_path / "support" / name, 2)
    done = nas("few-shot", "classify", "m", "--support", "support", "support/a/0.png")
    assert done.returncode == 2
    assert "has 2 classes; maml was trained for 3" in done.stderr
    write_images(tmp_path / "support" / "c", 1)
    assert nas("few-shot", "classify", "m", "--support", "support", "support/a/0.png").returncode == 0
