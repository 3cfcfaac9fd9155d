#!/usr/bin/env bash
# What controllers find in a space of another shape than any that a prior was trained on: `Chain` of docs/add_a_space.md, 121 distinct
# networks, each trained once. IMAGES is the folder of npz sets, SEEDS the searches of each row; arguments name the sets. Some four
# minutes of one core for a set.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
if [ $# -eq 0 ]; then set -- digits sign_language_digits; fi
exec "${PYTHON:-.venv/bin/python}" runs/own_space.py "${IMAGES:-../shared/images}" "${SEEDS:-24}" "$@"
