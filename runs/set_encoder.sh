#!/usr/bin/env bash
# The shipped set encoder and the descriptions of the data sets behind the shipped tables, and how well it knows sets again
# that it never saw. IMAGES is a folder of npz data sets; LEAVE names those that no training sees. Three minutes of one core.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
read -ra leave <<<"${LEAVE-digits rsscn7_aerial}"
exec "${PYTHON:-.venv/bin/python}" runs/set_encoder.py "${IMAGES:?names a folder of npz data sets}" --leave "${leave[@]}" "$@"
