#!/usr/bin/env bash
# Draws the figures of docs/meta_learning.md: trains the fifteen few-shot learners on digits, a few core-minutes in all.
# Options are those of runs/meta_figures.py, as --learners maml,reptile.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/meta_figures.py "$@"
