#!/usr/bin/env bash
# How far off the logarithm of a device's latency is foretold that no prior has seen, from a few cells, with what the prior
# remembers of other devices and without. NAS_TABLES: folders with the tables.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/devices.py
