#!/usr/bin/env bash
# Makes what the shipped prior copies from other tasks again, without training, and says which tensors came out otherwise. Ten
# seconds of one core. INSTALL=1 puts them in the place of those that ship. NAS_TABLES: folders with all tables.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/shipped_portfolios.py ${INSTALL:+install}
