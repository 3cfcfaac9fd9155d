#!/usr/bin/env bash
# What transfer_bo, its prior and attention_policy are worth where a space cannot be listed. NAS_TABLES: folders with the tables;
# runs/ablations.sh has trained the priors. SEEDS and EVALS may be set; arguments name the variants to try.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/large_space.py "${SEEDS:-12}" "${EVALS:-100}" "$@"
