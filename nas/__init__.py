"""Searches, runs, tables and the command line, on top of `search_spaces` and `controller`."""
