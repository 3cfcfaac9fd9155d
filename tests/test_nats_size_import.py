"""The files of NATS-Bench's size space, made here in the form that `ArchResults.state_dict` gives them, arrive unchanged."""

import bz2
import collections
import pickle

import pytest
import torch

from nas import tables
from nas.tables import nats_import

SUFFIX = ".pickle.pbz2"
META = ["8:8:8:8:8", "8:8:8:8:16", "64:32:8:16:24"]
SEEDS = {"01": (777, 888, 999), "12": (777, 888, 999), "90": (777,)}
"""Of the download: the full training was made once."""
EVALUATED = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("ori-test", "x-test", "x-valid"),
    "ImageNet16-120": ("ori-test", "x-test", "x-valid"),
}


def accuracy(index, recipe, data, split, seed):
    """A number of its own for each."""
    return 10.0 * index + int(recipe) / 10 + list(EVALUATED).index(data) + len(split) / 100 + (seed - 777) / 1000


def record(index):
    infos = {}
    for recipe, seeds in SEEDS.items():
        last, results = int(recipe) - 1, collections.OrderedDict()
        for data, splits in EVALUATED.items():
            for seed in seeds:
                results[data, seed] = {
                    "name": data, "net_state_dict": None, "train_acc1es": {last: 50.0 + index}, "train_acc5es": None,
                    "train_losses": {last: 1.5}, "train_times": dict.fromkeys(range(int(recipe)), 2.0),
                    "arch_config": {"name": "infer.shape.tiny", "channels": META[index]}, "params": 0.5 + index, "flop": 7.0,
                    "seed": seed, "epochs": int(recipe), "latency": [0.25], "eval_names": list(splits),
                    "eval_acc1es": {f"{split}@{last}": accuracy(index, recipe, data, split, seed) for split in splits},
                    "eval_times": {f"{split}@{last}": 0.5 for split in splits},
                    "eval_losses": {f"{split}@{last}": 2.0 for split in splits},
                }  # fmt: skip
        infos[recipe] = {
            "arch_index": index, "arch_str": META[index], "all_results": results,
            "dataset_seed": {data: list(seeds) for data in EVALUATED}, "clear_net_done": True,
        }  # fmt: skip
    return infos


def dump(value, path):
    path.write_bytes(bz2.compress(pickle.dumps(value, protocol=4)))


@pytest.fixture(params=["folder", "single file"])
def download(request, tmp_path):
    if request.param == "folder":
        path = tmp_path / "NATS-sss-v1_0-50262-simple"
        path.mkdir()
        dump({"meta_archs": META, "total_archs": len(META)}, path / f"meta{SUFFIX}")
        for index in range(len(META)):
            dump(record(index), path / f"{index:06d}{SUFFIX}")
        return path
    path = tmp_path / f"NATS-sss-v1_0-50262{SUFFIX}"
    infos = collections.OrderedDict((index, record(index)) for index in range(len(META)))
    dump({"meta_archs": META, "total_archs": len(META), "arch2infos": infos, "evaluated_indexes": {0, 1, 2}}, path)
    return path


def test_every_figure_of_the_size_space_arrives_in_its_column(download, tmp_path):
    *_, last = nats_import.run(download, tmp_path / "sizes.safetensors")
    table = tables.read(tmp_path / "sizes.safetensors")
    assert (last.done, table.rows, table.space) == (3, 3, "natsbench-size")
    assert table.archs.tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 0, 1], [7, 3, 0, 1, 2]]
    for recipe, seeds in SEEDS.items():
        for column, data, split in (
            ("cifar10/valid_accuracy", "cifar10-valid", "x-valid"),
            ("cifar10/test_accuracy", "cifar10", "ori-test"),
            ("cifar100/valid_accuracy", "cifar100", "x-valid"),
            ("ImageNet16-120/test_accuracy", "ImageNet16-120", "x-test"),
        ):
            found = table.column(f"{column}@{int(recipe)}")
            found = found.nanmean(-1) if found.dim() == 2 else found
            values = [[accuracy(i, recipe, data, split, seed) for seed in seeds] for i in range(3)]
            assert torch.allclose(found.double(), torch.tensor(values).double().mean(1), atol=1e-5), (column, recipe)
    assert table.column("cifar100/train_seconds@90").tolist() == [180.0] * 3
    assert table.column("cifar10/params").tolist() == [0.5, 1.5, 2.5]


def test_a_table_of_three_sizes_is_searched_among_these(download, tmp_path, nas, monkeypatch):
    monkeypatch.setenv("NAS_TABLES", str(tmp_path))
    assert nas("table", "import", "nats", download, "--out", tmp_path / "sizes.safetensors").returncode == 0
    done = nas("search", "--task", "sizes/cifar100", "--controller", "random_search", "--evals", 5, "--name", "s")
    assert done.returncode == 0, done.stderr
    assert "64:32:8:16:24" in done.stdout
