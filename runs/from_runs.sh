#!/usr/bin/env bash
# What a finished search on one data set is worth to the next on another: `nas meta-train --from-runs` over all ordered pairs of
# eight sets by their tables (runs/from_runs.py says how). What was measured is kept in runs/from_runs.jsonl and not measured
# again. NAS_TABLES: folders with the tables. SEARCHES (of a pair) and EVALS (of the first search)
# may be set. Ten minutes of one core.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-.venv/bin/python}"
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "$PYTHON" runs/from_runs.py "${SEARCHES:-8}" "${EVALS:-40}"
