#!/usr/bin/env bash
# Gradient search over a supernet beside random search and transfer_bo at equal cost, on five sets of own201, ten seeds: some hours of
# one thread. It goes on where it was stopped. The reduced pass is
#   runs/supernet.sh --sets digits,arabic_chars28 --seeds 3
# `--table` prints what is there, `--steps` times the steps of a supernet. IMAGES is the folder of npz sets.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/supernet.py --images "${IMAGES:-../shared/images}" "$@"
