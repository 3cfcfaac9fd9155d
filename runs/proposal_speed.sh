#!/usr/bin/env bash
# How long transfer_bo takes to propose 16 cells, on one core; with the shipped prior; on the shipped table, or on a TASK.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONPATH="$PWD" OMP_NUM_THREADS=1 exec "${PYTHON:-.venv/bin/python}" runs/proposal_speed.py "$@"
