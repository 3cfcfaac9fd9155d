#!/bin/sh
# Scaling from 1 to 256 workers on a simulated clock whose durations are a table's training times: asynchronous beside synchronous.
# NAS_TABLES must have nasbench201. Arguments are handed on; about 5 minutes on a quiet core.
set -eu
cd "$(dirname "$0")/.."
PYTHONPATH=. "${PYTHON:-.venv/bin/python}" runs/workers.py "$@"
