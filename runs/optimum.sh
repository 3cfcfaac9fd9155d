#!/usr/bin/env bash
# How far the very best cell of each accuracy data set can be told from what is known of the others.
# NAS_TABLES: folders with the tables. A minute.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/optimum.py
