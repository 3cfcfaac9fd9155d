#!/usr/bin/env bash
# Chooses how transfer_bo tests its prior and gives it up: nested leave-one-family-out (runs/tune.py says how). What was measured is
# kept in runs/tune.jsonl and not measured again by the same code. NAS_TABLES: folders with all tables. BUDGET (evaluations),
# SEARCHES (of a task and a draw of the training tasks) and TASKS (of a family, at most) may be set. Without arguments each family
# is left out in turn, seven minutes of one core; an argument is a group of families, joined by `+`, whose priors leave out the
# whole group, three minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-.venv/bin/python}"
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
if [ $# -eq 0 ]; then set -- each; fi
exec "$PYTHON" runs/tune.py "${BUDGET:-40}" "${SEARCHES:-2}" "${TASKS:-3}" "$@"
