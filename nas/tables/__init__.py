"""Benchmark tables: finding, reading, writing."""

from nas.tables.table import SUFFIX, Column, Table, find, folders, names, read, reads, write

__all__ = ["SUFFIX", "Column", "Table", "find", "folders", "names", "read", "reads", "write"]
