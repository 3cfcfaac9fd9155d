"""The table of many tasks: its measurement stops and resumes, its metrics are what they say, and one file holds its shards."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import tarfile
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from nas import tables, training
from nas.datasets import corruptions
from nas.export import latency
from nas.meta import splits
from nas.tables import Column, functions, measure_latency, measure_tasks, pack_tasks, shard_archive, task_plans
from nas.tables.seed_noise import noise
from nas.tables.task_plans import Plan
from nas.tables.verify import verify
from nas.training import Recipe, attack, compiler
from nas.training.metrics import calibration_error, worst_class_accuracy
from search_spaces import Task, UserError, _ops
from search_spaces.nasbench201 import NasBench201

PLAN = Plan(
    "digits", "base", epochs=3, channels=2, cells=1, stem_stride=1, image_size=8, examples=64, batch=32, lr=0.1,
    robust=True, repeats=3, seeds=2, shard=2, functions=3,
)  # fmt: skip
FUNCTIONS = torch.tensor([0, 9319, 12784])
"""The cell that computes nothing, and two with convolutions."""
needs_compiler = pytest.mark.skipif(compiler.library() is None, reason="there is no C compiler here")


@pytest.fixture
def three(monkeypatch):
    for module in (task_plans, measure_tasks, pack_tasks):
        if hasattr(module, "functions"):
            monkeypatch.setattr(module, "functions", lambda plan: FUNCTIONS)
    monkeypatch.setattr(
        task_plans, "plans", lambda: [PLAN, PLAN._replace(variant="deep"), PLAN._replace(variant="wide")]
    )


def metrics_of(folder):
    """What the shards of a folder hold, but for how long it took."""
    held = {file.name: safetensors.torch.load(file.read_bytes()) for file in sorted(folder.glob("*.safetensors"))}
    return {
        (file, name): values.numpy().tobytes()
        for file, tensors in held.items()
        for name, values in tensors.items()
        if not name.endswith("seconds")
    }


@needs_compiler
def test_a_measurement_stopped_anywhere_and_resumed_is_the_one_never_stopped(three, tmp_path, monkeypatch):
    assert list(measure_tasks.work(PLAN, tmp_path / "whole", None)) == [0, 1, 2, 3]
    list(itertools.islice(measure_tasks.work(PLAN, tmp_path / "pieces", None), 1))

    def killed(path, target):
        raise KeyboardInterrupt(f"all of {path} is written, {target} is not there yet")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            list(measure_tasks.work(PLAN, tmp_path / "pieces", None))
    assert len(list((tmp_path / "pieces").glob("*.safetensors"))) == 1
    assert list(measure_tasks.work(PLAN, tmp_path / "pieces", None)) == [1, 2, 3]
    assert metrics_of(tmp_path / "whole") == metrics_of(tmp_path / "pieces")


@needs_compiler
def test_a_shard_that_another_process_works_on_is_left_to_it_until_that_ends(three, tmp_path):
    list(itertools.islice(measure_tasks.work(PLAN, tmp_path, None), 1))
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    command, pipe = [sys.executable, "-c", hold, str(tmp_path / "0002.lock")], subprocess.PIPE
    other = subprocess.Popen(command, stdin=pipe, stdout=pipe)
    try:
        assert other.stdout
        assert other.stdout.readline()
        assert list(measure_tasks.work(PLAN, tmp_path, None)) == [1, 3]
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    assert (tmp_path / "0002.lock").exists()
    assert list(measure_tasks.work(PLAN, tmp_path, None)) == [2]
    assert list(measure_tasks.work(PLAN, tmp_path, None)) == []


@needs_compiler
def test_a_folder_does_not_go_on_as_something_else(three, tmp_path):
    list(itertools.islice(measure_tasks.work(PLAN, tmp_path, None), 1))
    with pytest.raises(UserError, match="cannot go on as"):
        next(measure_tasks.work(PLAN._replace(lr=0.2), tmp_path, None))


def test_a_data_set_in_a_file_takes_its_folder():
    with pytest.raises(UserError, match="'cifar10' is an npz file"):
        measure_tasks.load(PLAN._replace(set="cifar10"), None)


def test_without_a_compiler_nothing_is_measured(three, tmp_path, monkeypatch):
    monkeypatch.setattr(attack, "library", lambda: None)
    with pytest.raises(UserError, match="it takes a C compiler"):
        next(measure_tasks.work(PLAN, tmp_path / "new", None))
    assert not (tmp_path / "new").exists()


def files_of(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def measured(tmp_path):
    """A folder as a measurement leaves it that was killed: two shards, a lock, half a file; and what of it is to be kept."""
    folder, whole = tmp_path / "work", {}
    for name, shards in (("digits-base", (0, 1)), ("cifar10-label_noise", (7,))):
        (folder / name).mkdir(parents=True)
        whole[f"{name}/plan.json"] = json.dumps({"plan": name}).encode()
        for number in shards:
            tensors = {"valid": torch.arange(64).short() * number, "loss": torch.rand(8, 32)}
            whole[f"{name}/{number:04d}.safetensors"] = safetensors.torch.save(tensors)
    for name, content in whole.items():
        (folder / name).write_bytes(content)
    (folder / "digits-base" / "0002.lock").touch()
    (folder / "digits-base" / ".0002.safetensors.41.partial").write_bytes(b"half")
    return folder, whole


def test_shards_that_are_kept_are_restored_bitwise_and_nothing_else_is(measured, tmp_path):
    folder, whole = measured
    assert shard_archive.keep(folder, tmp_path / "a.tar.xz") == (3, 3)
    assert shard_archive.restore(tmp_path / "new", tmp_path / "a.tar.xz") == (3, 3)
    assert files_of(tmp_path / "new") == whole
    shard_archive.keep(tmp_path / "new", tmp_path / "b.tar.xz")
    assert (tmp_path / "a.tar.xz").read_bytes() == (tmp_path / "b.tar.xz").read_bytes()


def test_an_archive_grows_and_loses_nothing_and_a_shard_that_is_there_stays(measured, tmp_path):
    folder, whole = measured
    archive, new = tmp_path / "a.tar.xz", tmp_path / "new"
    shard_archive.keep(folder, archive)
    again, more = "digits-base/0001.safetensors", "digits-base/0009.safetensors"
    (new / "digits-base").mkdir(parents=True)
    (new / again).write_bytes(b"measured twice")
    (new / more).write_bytes(b"measured here alone")
    assert shard_archive.keep(new, archive) == (1, 4)
    assert shard_archive.restore(new, archive) == (2, 4)
    assert files_of(new) == whole | {again: b"measured twice", more: b"measured here alone"}
    assert shard_archive.restore(tmp_path / "third", archive) == (4, 4)
    assert files_of(tmp_path / "third") == whole | {more: b"measured here alone"}


def test_shards_of_two_plans_do_not_mix(measured, tmp_path):
    folder, _ = measured
    shard_archive.keep(folder, tmp_path / "a.tar.xz")
    kept = (tmp_path / "a.tar.xz").read_bytes()
    (folder / "digits-base" / "plan.json").write_text("{}")
    before = files_of(folder)
    for move in (shard_archive.keep, shard_archive.restore):
        with pytest.raises(UserError, match="take another folder or another archive"):
            move(folder, tmp_path / "a.tar.xz")
    assert (tmp_path / "a.tar.xz").read_bytes() == kept
    assert files_of(folder) == before


@pytest.mark.parametrize("name", ["../evil-base/0001.safetensors", "/evil-base/plan.json", "digits-base/run.py"])
def test_an_archive_writes_nothing_but_plans_and_shards(tmp_path, name):
    archive = tmp_path / "a.tar.xz"
    with tarfile.open(archive, "w:xz") as file:
        file.addfile(tarfile.TarInfo(name))
    with pytest.raises(UserError, match="an archive holds plans and shards alone"):
        shard_archive.restore(tmp_path / "new", archive)
    assert not (tmp_path / "new").exists()


def test_an_archive_that_is_missing_or_damaged_is_refused_in_a_line(measured, tmp_path):
    folder, _ = measured
    archive = tmp_path / "a.tar.xz"
    with pytest.raises(UserError, match="holds no finished shard"):
        shard_archive.keep(tmp_path / "elsewhere", archive)
    with pytest.raises(UserError, match="There is no archive"):
        shard_archive.restore(folder, archive)
    shard_archive.keep(folder, archive)
    whole = archive.read_bytes()
    for damaged in (whole[:-40], whole[: len(whole) // 2], b"", b"PK"):
        archive.write_bytes(damaged)
        for move in (shard_archive.keep, shard_archive.restore):
            with pytest.raises(UserError, match="is not a whole"):
                move(folder, archive)
        assert archive.read_bytes() == damaged


def packed(tmp_path):
    list(measure_tasks.work(PLAN, tmp_path / PLAN.folder, None))
    missing = pack_tasks.pack(tmp_path, tmp_path / "packed.safetensors")
    return missing, *pack_tasks.read(tmp_path / "packed.safetensors")


@needs_compiler
def test_a_packed_table_has_a_row_a_function_and_every_column_of_what_is_finished(three, tmp_path):
    missing, archs, columns, source = packed(tmp_path)
    assert missing == ["digits-deep", "digits-wide"]
    assert torch.equal(_ops.index(archs, NasBench201.choices), FUNCTIONS)
    worse = [f"{kind}_{s}" for kind in ("noise", "blur", "contrast", "occlusion") for s in (1, 2)]
    expected = {f"digits/valid_accuracy@{e}" for e in (1, 2, 3)} | {"digits/test_accuracy@3"}
    expected |= {f"digits-{name}/valid_robust_accuracy@3" for name in [*worse, *measure_tasks.ATTACKS]}
    expected |= {
        f"digits-{what}@3"
        for split in ("valid", "test")
        for what in (f"calibration/{split}_score", f"likelihood/{split}_score", f"worst_class/{split}_accuracy")
    }
    expected |= {f"network_{v}/{what}" for v in ("base", "deep", "wide") for what in ("params", "flops")}
    assert set(columns) == expected
    assert "64 images to train, 287 to validate, 359 to test" in source
    assert all(column.noise and column.noise["archs"] == 3 for n, column in columns.items() if "network" not in n)


@needs_compiler
def test_packed_metrics_are_those_of_the_shards_within_half_a_step(three, tmp_path):
    _, _, columns, _ = packed(tmp_path)
    done = pack_tasks.finished(PLAN, tmp_path / PLAN.folder)
    assert done is not None
    for split in ("valid", "test"):
        right = done.metrics[split][-1] if split == "valid" else done.metrics[split]
        exact = 100 * right[:, 0] / done.about["pictures"][split]
        assert torch.allclose(columns[f"digits/{split}_accuracy@3"].numbers, exact, rtol=1e-6)
        error = 100 - done.metrics[f"{split}_calibration_error"][:, 0]
        stored = columns[f"digits-calibration/{split}_score@3"]
        assert (stored.numbers - error).abs().max() <= 0.5 * stored.scale + 1e-4
    seeds = 100 / done.about["pictures"]["test"] * done.metrics["test"]
    ceiling = noise(seeds)
    assert ceiling is not None
    assert columns["digits/test_accuracy@3"].noise == pytest.approx(ceiling._asdict(), abs=1e-4)


@needs_compiler
def test_an_unpacked_table_is_one_that_nas_reads_and_equal_functions_share_their_metrics(three, tmp_path, monkeypatch):
    packed(tmp_path)
    nearest = FUNCTIONS[(torch.searchsorted(FUNCTIONS, torch.arange(15625), right=True) - 1)]
    monkeypatch.setattr(functions, "function_index", lambda space: nearest)
    pack_tasks.unpack(tmp_path / "packed.safetensors", tmp_path / "plain.safetensors")
    table = tables.read(tmp_path / "plain.safetensors")
    assert verify(table) == []
    assert table.rows == 15625
    of_functions = pack_tasks.read(tmp_path / "packed.safetensors")[1]["digits/test_accuracy@3"].numbers
    values = table.column("digits/test_accuracy@3")
    assert torch.equal(values[FUNCTIONS], of_functions)
    assert torch.equal(values, values[nearest])


def test_a_value_that_is_missing_stays_missing():
    stored = pack_tasks.PackedColumn(
        Column("t", "score", "valid", 1, "percent", True), torch.tensor([-1, 250]).short(), 0.1, None
    )
    assert stored.numbers.isnan().tolist() == [True, False]
    assert stored.numbers[1] == 25


def test_a_value_that_does_not_fit_is_refused():
    metrics = {"valid": torch.full((3, 5, 2), 40000.0)}
    done = pack_tasks.Finished(PLAN, {"pictures": {"valid": 40000, "test": 1}}, metrics)
    with pytest.raises(ValueError, match="digits/accuracy does not fit into 16 bits"):
        pack_tasks.columns(done)


def of_every_plan():
    """The columns of all plans as if all were measured: metrics drawn at random for five functions."""
    count = {"train": 1, "valid": 500, "test": 800, "attacked": 256}
    for plan in task_plans.plans():
        draw = lambda *shape: torch.rand(*shape, 5, plan.seeds) * 100  # noqa: B023, E731
        metrics = {
            "valid": draw(len(task_plans.fidelities(plan))),
            "test": draw(),
            "corrupted": draw(8),
            "attacked": draw(5),
        }
        for split, what in itertools.product(("valid", "test"), ("calibration_error", "cross_entropy", "worst_class")):
            metrics[f"{split}_{what}"] = draw()
        named = {
            "corruptions": list(corruptions.corrupt_all(torch.zeros(1, 1, 8, 8).byte())),
            "attacks": measure_tasks.ATTACKS,
        }
        yield plan, pack_tasks.columns(pack_tasks.Finished(plan, {"pictures": count, **named}, metrics))


def test_the_work_makes_the_tasks_that_are_asked_for_in_at_most_twelve_megabytes():
    every = list(of_every_plan())
    plans = [plan for plan, _ in every]
    assert len({(p.set, p.variant) for p in plans}) == len(plans)
    assert len({p.set for p in plans if p.variant == "base"} - {"digits"}) >= 20
    for variant in ("quarter", "sixteenth", "label_noise", "settings", "deep", "wide"):
        assert len([p for p in plans if p.variant == variant]) >= 8
    columns = {name: column for _, made in every for name, column in made.items()}
    tasks = {column.about.task for column in columns.values()}
    assert len(tasks) >= 150
    assert len({task_plans.families(task)[0] for task in tasks}) >= 8
    rows = len(task_plans.functions(plans[0]))
    assert rows == 4930
    header = len(str({name: column.about._asdict() | {"noise": column.noise} for name, column in columns.items()}))
    assert (2 * len(columns) + 6) * rows + 2 * header < 12e6


def test_what_is_held_out_is_held_out_whole():
    tasks = {column.about.task for _, made in of_every_plan() for column in made.values()}
    mnist = {task for task in tasks if task_plans.data_set(task) == "mnist"}
    assert len(mnist) > 10
    assert all(task_plans.held_out("sets", task) for task in mnist)
    assert not any(
        task_plans.held_out("sets", task) for task in tasks if task.startswith(("kannada_mnist", "notmnist"))
    )
    noisy = {task for task in tasks if ":label_noise" in task}
    assert all(task_plans.held_out("families", task) for task in noisy)
    assert not any(task_plans.held_out("families", task) for task in tasks if task_plans.families(task) == ["accuracy"])


def test_corruptions_are_the_same_each_time_keep_shape_and_type_and_change_images_the_more_the_stronger():
    x = (torch.arange(40 * 3 * 16 * 16) * 7919 % 256).byte().view(40, 3, 16, 16)
    once, again = corruptions.corrupt_all(x), corruptions.corrupt_all(x)
    assert len(once) == 8
    for name, worse in once.items():
        assert torch.equal(worse, again[name])
        assert worse.shape == x.shape
        assert worse.dtype == torch.uint8
    moved = {name: (worse.float() - x.float()).pow(2).mean() for name, worse in once.items()}
    for kind in corruptions.KINDS:
        assert 0 < moved[f"{kind}_1"] < moved[f"{kind}_2"]


def test_noise_has_the_deviation_it_says():
    grey = torch.full((50, 1, 16, 16), 128).byte()
    assert (corruptions.noise(grey, 1).float() - 128).std() == pytest.approx(15, rel=0.05)
    assert (corruptions.noise(grey, 2).float() - 128).std() == pytest.approx(40, rel=0.05)


def test_blur_of_one_bright_pixel_by_hand():
    x = torch.zeros(1, 1, 5, 5).byte()
    x[0, 0, 2, 2] = 160
    around = torch.tensor([[10, 20, 10], [20, 40, 20], [10, 20, 10]])  # (1, 2, 1) x (1, 2, 1) / 16 of 160
    assert torch.equal(corruptions.blur(x, 1)[0, 0], F.pad(around, (1, 1, 1, 1)).byte())
    flat = torch.full((1, 3, 5, 5), 77).byte()
    assert torch.equal(corruptions.blur(flat, 2), flat)


def test_contrast_by_hand():
    x = torch.tensor([[[[0, 100], [100, 200]]]]).byte()
    assert corruptions.contrast(x, 1).flatten().tolist() == [30, 100, 100, 170]  # 0.7 of the way from the mean of 100
    assert corruptions.contrast(x, 2).flatten().tolist() == [60, 100, 100, 140]


def test_occlusion_hides_one_square_and_touches_nothing_else():
    x = torch.zeros(200, 1, 16, 16).byte()
    x[:, :, ::2] = 100  # the mean is 50, which no pixel has
    for strength, side in ((1, 6), (2, 10)):
        y = corruptions.occlusion(x, strength)
        hidden = y != x
        assert torch.equal(hidden, y == 50)
        assert (hidden.sum((1, 2, 3)) == side**2).all()
        assert (hidden.any(3).sum(2) == side).all()
        assert (hidden.any(2).sum(2) == side).all()
        assert hidden.any(0)[0].all()  # the square gets everywhere


def test_labels_drawn_anew_are_about_as_many_as_asked_and_of_all_classes():
    y = torch.zeros(5000).long()
    assert torch.equal(measure_tasks._with_label_noise(y, 10, 0.0), y)
    noisy = measure_tasks._with_label_noise(y, 10, 0.2)
    assert (noisy != 0).float().mean() == pytest.approx(0.18, abs=0.02)  # a tenth of a fifth is drawn as it was
    assert len(noisy.unique()) == 10


def test_calibration_error_by_hand():
    p_NK = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.45, 0.55]])
    y = torch.tensor([0, 1, 1, 0])
    # In ten bins: two of confidence 0.9 and accuracy 1/2, one of 0.7 and 1, one of 0.55 and 0.
    expected = (2 * abs(0.5 - 0.9) + abs(1 - 0.7) + abs(0 - 0.55)) / 4
    assert calibration_error(p_NK[None], y, 10).item() == pytest.approx(100 * expected, abs=1e-4)
    # Bins hold their upper ends: a half and 0.8 are apart in two.
    p_NK = torch.tensor([[0.5, 0.5], [0.8, 0.2]])
    assert calibration_error(p_NK[None], torch.tensor([1, 0]), 2).item() == pytest.approx(35, abs=1e-4)


def test_calibration_error_of_one_bin_by_hand():
    p_NK, y = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7], [0.45, 0.55]]), torch.tensor([0, 1, 1, 0])
    # In one bin: accuracy 1/2, confidence 0.7625.
    assert calibration_error(p_NK[None], y, 1).item() == pytest.approx(26.25, abs=1e-4)


def test_worst_class_by_hand():
    seen, y = torch.tensor([[0, 0, 1, 1, 1, 3], [0, 0, 0, 0, 3, 3]]), torch.tensor([0, 0, 1, 1, 1, 3])
    assert worst_class_accuracy(seen, y, 4).tolist() == [100.0, 0.0]  # class 2 has no image


@pytest.fixture(scope="module")
def networks():
    """Three trained networks, one of which sees nothing, and the images that they are evaluated on."""
    if compiler.library() is None:
        pytest.skip("there is no C compiler here")
    plan = PLAN._replace(channels=4, examples=800, repeats=1)
    seen = measure_tasks.load(plan, None)
    made = training.networks(plan.space, _ops.from_index(FUNCTIONS, NasBench201.choices), seen.task, 0)
    for _ in training.train(made, seen.train, Recipe(6, 32, 0.1)):
        pass
    return plan, seen, made


def test_gradients_of_images_are_those_of_autograd(networks):
    plan, seen, made = networks
    x = seen.valid.normalised(slice(0, 100))
    y = seen.valid.y[:100]
    for p, index in enumerate(FUNCTIONS):
        module = plan.space.build(_ops.from_index(index, NasBench201.choices), seen.task).eval()
        module.load_state_dict(made.state_of(p))
        images = x.clone().requires_grad_()
        loss = F.cross_entropy(module(images) + 0 * images.sum(), y, reduction="sum") / 64
        (expected,) = torch.autograd.grad(loss, images)
        assert torch.allclose(attack.image_gradient(made, p, x, y), expected, atol=1e-6)


def test_attacks_of_no_strength_change_no_answer(networks):
    _, seen, made = networks
    none = attack.attacked(made, seen.attacked, {"fgsm": 0.0, "pgd": 0.0})
    clean = (training.predictions(made, seen.attacked) == seen.attacked.y).sum(1).short()
    assert torch.equal(none, clean.expand(2, -1))


def test_attacks_stay_in_their_box_and_in_a_byte_and_raise_the_loss_of_networks_that_see(networks):
    _, seen, made = networks
    x, y = seen.attacked.normalised(slice(None)), seen.attacked.y
    pixels = lambda z: (z * seen.attacked.std.view(1, -1, 1, 1) + seen.attacked.mean.view(1, -1, 1, 1)) * 255  # noqa: E731
    for p in range(len(FUNCTIONS)):
        gradient_of = lambda z: attack.image_gradient(made, p, z, y)  # noqa: B023, E731
        moved = {
            "fgsm": attack.fgsm(x, gradient_of(x), seen.attacked, 2.0),
            "pgd": attack.pgd(x, gradient_of, seen.attacked, 2.0, 5),
        }
        loss = {name: F.cross_entropy(attack.logits(made, p, z), y) for name, z in ({"clean": x} | moved).items()}
        for name, z in moved.items():
            assert (pixels(z) - pixels(x)).abs().max() <= 2.001
            assert pixels(z).min() >= -0.001
            assert pixels(z).max() <= 255.001
            assert loss[name] > loss["clean"] if p else loss[name] == loss["clean"]
        assert loss["pgd"] >= loss["fgsm"] - 1e-3


def test_the_cost_columns_are_those_of_the_built_networks():
    columns = pack_tasks.cost_columns(FUNCTIONS)
    for variant in ("base", "deep", "wide"):
        plan = next(p for p in task_plans.plans() if p.variant == variant)
        module = plan.space.build(_ops.from_index(FUNCTIONS[1], NasBench201.choices), Task("t", (3, 16, 16), 10))
        params = sum(parameter.numel() for parameter in module.parameters()) / 1e6
        assert columns[f"network_{variant}/params"].values[1] == pytest.approx(params)


def test_latencies_are_measured_shard_by_shard_and_are_columns_once_all_are_there(three, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(measure_latency, "functions", lambda plan: FUNCTIONS)
    assert list(itertools.islice(measure_latency.work(PLAN, tmp_path), 1)) == [0]
    assert measure_latency.columns(PLAN, tmp_path) == {}
    assert list(measure_latency.work(PLAN, tmp_path)) == [1]
    columns = measure_latency.columns(PLAN, tmp_path)
    one, many = (columns[f"network_base/latency_{batch}"].values for batch in (1, 64))
    assert one.shape == many.shape == FUNCTIONS.shape
    assert (one > 0).all()
    assert (many > 0).all()


def test_the_latency_of_a_batch_is_that_of_all_its_images(monkeypatch):
    pytest.importorskip("onnxruntime")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.Flatten(), torch.nn.LazyLinear(10)).eval()
    pixels = torch.rand(64, 3, 16, 16)
    network(pixels)
    monkeypatch.setattr(latency, "_least", lambda run: len(run()[0]))
    assert latency.milliseconds(network, pixels, (1, 64)).tolist() == [1, 64]


def test_a_latency_is_the_least_mean_of_a_round_by_a_clock_of_ours(monkeypatch):
    now, calls = 0.0, 0

    def run():
        nonlocal now, calls
        calls += 1
        now += 5.0 if calls == 1 else 0.02 if calls == 9 else 0.002

    monkeypatch.setattr(latency, "time", SimpleNamespace(perf_counter=lambda: now))
    assert latency._least(run) == pytest.approx(2.0)
    assert calls == 2 + latency._ROUNDS * round(latency._SECONDS / 0.002)


@pytest.mark.parametrize(
    ("split", "out", "kept"),
    [
        (
            "shipped-many",
            ("digits@16", "mnist-noise_1@8", "usps@8", "rsscn7_aerial-pgd_4@8"),
            ("cifar10@8", "gtsrb-blur_1@8"),
        ),
        ("own201", ("cifar10@8", "gtsrb-calibration@8"), ()),
        ("robustness-many", ("cifar10-fgsm_2@8", "gtsrb-pgd_16@8"), ("cifar10@8", "gtsrb-noise_1@8")),
    ],
)
def test_a_split_of_priors_that_includes_the_table_holds_out_what_its_own_tasks_are_of(split, out, kept):
    patterns = splits.split(split).held_out
    found = {t: any(fnmatchcase(f"own201-many/{t}", pattern) for pattern in patterns) for t in (*out, *kept)}
    assert found == dict.fromkeys(out, True) | dict.fromkeys(kept, False)


def test_no_prior_is_trained_on_the_table_unless_its_split_says_so():
    held_out = {n: "own201-many/*" in split.held_out for n, split in splits.splits().items()}
    assert [name for name, out in held_out.items() if not out] == ["shipped-many", "robustness-many", "everything"]
