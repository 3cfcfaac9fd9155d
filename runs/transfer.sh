#!/usr/bin/env bash
# The leave-one-out table: a prior trained without a data set, a family, four devices or a space, tried on what it never saw,
# beside the cold baselines. NAS_TABLES: folders with the tables. SEEDS, EVALS and JOBS may be set; what was made is not made again.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-.venv/bin/python}"
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "$PYTHON" runs/transfer.py "${SEEDS:-100}" "${EVALS:-150}" "${JOBS:-2}" "$@"
