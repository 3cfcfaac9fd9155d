#!/usr/bin/env bash
# What each part of transfer_bo is worth: median evaluations to one of the best 0.1% on nine tasks that the priors never saw.
# NAS_TABLES: folders with the tables. SEEDS, EVALS and JOBS may be set; arguments name the variants to try; what was made is
# not made again.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-.venv/bin/python}"
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "$PYTHON" runs/ablations.py "${SEEDS:-8}" "${EVALS:-100}" "${JOBS:-2}" "$@"
