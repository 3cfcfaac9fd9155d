"""Benchmark tables: finding, reading, writing."""

from nas.tables.finding import find, folders, names, shadowed, unreadable
from nas.tables.table import Column, Images, Table, column_read_counts, read, write

__all__ = [
    "Column",
    "Images",
    "Table",
    "column_read_counts",
    "find",
    "folders",
    "names",
    "read",
    "shadowed",
    "unreadable",
    "write",
]
