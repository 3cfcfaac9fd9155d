"""Images to train on: datasets by name, their readers, and what describes them."""

from nas.datasets.digest import digest
from nas.datasets.images import DataSet, RawData, pick, resize
from nas.datasets.load import load, names, refuse_path
from nas.datasets.splits import held_out
from nas.datasets.summary import check, describe

__all__ = [
    "DataSet",
    "RawData",
    "check",
    "describe",
    "digest",
    "held_out",
    "load",
    "names",
    "pick",
    "refuse_path",
    "resize",
]
