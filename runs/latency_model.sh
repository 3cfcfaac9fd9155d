#!/bin/sh
# How far latencies predicted from ten measurements are from measured ones, and one measurement from the next: about 2 minutes.
set -eu
cd "$(dirname "$0")/.."
PYTHONPATH=. "${PYTHON:-.venv/bin/python}" runs/latency_model.py "$@"
