"""Searches, runs, tables and the command line, on top of `search_spaces` and `controller`."""

import os

# Before torch is loaded: threads that spin while they wait make training five times slower beside any other busy process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
