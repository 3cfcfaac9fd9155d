#!/usr/bin/env bash
# How often scores lie within the intervals that transfer_bo and attention_policy predict, on tasks left out. NAS_TABLES: folders
# with the tables. A minute.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/coverage.py
