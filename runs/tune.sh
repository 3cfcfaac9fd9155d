#!/usr/bin/env bash
# Chooses when transfer_bo gives its prior up: nested leave-one-family-out (runs/tune.py says how). What was measured is kept in
# runs/tune.jsonl and not measured again by the same code. NAS_TABLES: folders with all tables. BUDGET (evaluations), SEARCHES (of a
# task and a draw of the training tasks) and TASKS (of a family, at most) may be set; arguments are groups of families to leave
# out, joined by `+`, and `none` for the choice that ships. Three minutes of one core a group.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-.venv/bin/python}"
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
if [ $# -eq 0 ]; then set -- none dense+domain+size attacks own201; fi
exec "$PYTHON" runs/tune.py "${BUDGET:-40}" "${SEARCHES:-2}" "${TASKS:-3}" "$@"
