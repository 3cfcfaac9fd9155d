#!/usr/bin/env bash
# What the table of many tasks is worth to a prior of transfer_bo: evaluations to one of the best 0.1%, geometric mean, with it in the
# training and without, on families of tasks that are left out. NAS_TABLES: folders with the published tables. SEARCHES (of a task and
# a draw) and DRAWS (of the training tasks) may be set. Fifteen minutes of one core.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/many_worth.py "${SEARCHES:-4}" "${DRAWS:-3}"
