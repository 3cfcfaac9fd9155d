#!/usr/bin/env bash
# What more compute is worth to two recipes, on six development sets of IMAGES (a folder of npz files): the table of docs/your_data.md.
# Ten minutes of one core. What was trained is not trained again. Options are those of runs/pipeline_compute.py.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/pipeline_compute.py "${IMAGES:-../shared/images}" "$@"
