#!/usr/bin/env bash
# Optuna's studies by metacell's sampler beside Optuna's own samplers: five tables, 20 seeds, 100 trials. NAS_TABLES: a folder with
# nasbench201, nasbench201-ninapro and transnas-micro. What was made is not made again. Arguments: seeds, trials.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/optuna_sampler.py "$@"
