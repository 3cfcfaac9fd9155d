"""Benchmark tables: finding, reading, writing."""

from nas.tables.table import SUFFIX, Column, Table, column_read_counts, find, folders, names, read, write

__all__ = ["SUFFIX", "Column", "Table", "column_read_counts", "find", "folders", "names", "read", "write"]
