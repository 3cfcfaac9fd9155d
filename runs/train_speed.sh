#!/bin/sh
# Cells trained per hour, one at a time and as a population, at three sizes: about 10 minutes on a quiet core.
set -eu
cd "$(dirname "$0")/.."
PYTHONPATH=. "${PYTHON:-.venv/bin/python}" runs/train_speed.py "$@"
