#!/usr/bin/env bash
# What a change of a good pipeline is worth in a long training, on every set of IMAGES (a folder of npz files): a table of
# docs/your_data.md. A training takes about a minute of a core; runs/pipeline_ends.jsonl keeps those that are done. Options are those
# of runs/pipeline_ends.py.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/pipeline_ends.py "${IMAGES:-../shared/images}" "$@"
