#!/usr/bin/env bash
# Trains the shipped prior again by the command in its header, and says which of its tensors came out otherwise. Twenty minutes of
# one core; stopped, it goes on. NAS_TABLES: folders with all tables. On another processor or torch roundings may differ.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD"
PYTHON="${PYTHON:-.venv/bin/python}"
COMMAND=$("$PYTHON" runs/shipped_prior.py)
"$PYTHON" -m ${COMMAND} --out runs/shipped-again
rm runs/shipped-again/checkpoint.safetensors # What is finished is trained anew the next time: the code may be another.
"$PYTHON" runs/shipped_prior.py runs/shipped-again/prior.safetensors
