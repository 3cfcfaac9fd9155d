#!/usr/bin/env bash
# What copying is worth on near tasks: the eight device tasks and the three accuracies held out, drawn scores, 50 searches each.
# NAS_TABLES: folders with the tables. SEEDS, EVALS and JOBS may be set; what was made is not made again. Ten minutes of one core.
# With the argument development it tries the devices that settings were chosen on.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-.venv/bin/python}"
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "$PYTHON" runs/near_tasks.py "${SEEDS:-50}" "${EVALS:-30}" "${JOBS:-2}" "$@"
