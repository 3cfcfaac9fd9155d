#!/usr/bin/env bash
# What controllers find in spaces that cannot be listed: synthetic functions on 5^20 and 5^40 architectures. FUNCTIONS, SEEDS (of each
# function) and EVALS may be set; arguments name the rows to print. Some ten minutes on one core; needs the extra `tpe`.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/large_space.py "${FUNCTIONS:-4}" "${SEEDS:-6}" "${EVALS:-100}" "$@"
