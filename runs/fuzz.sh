#!/usr/bin/env bash
# Damaged inputs of ten kinds, INPUTS of them (3,200) from SEED (1): each must be used or refused in one line. Arguments name the
# kinds to try. OUT keeps what was found: the recipe goes on where it was stopped; remove it to begin anew. Some ten minutes of one
# core; NAS_TABLES beside nats-tss-sample gives nats_bench's files.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/fuzz.py "${OUT:-runs/fuzz}" "${INPUTS:-3200}" "${SEED:-1}" "$@"
