#!/usr/bin/env bash
# Many cells at once against one at a time on a graphics card, at three sizes, and how exact: at most 8 minutes. Without a card it
# measures the CPU; --dry only tries whether all of it runs.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONPATH="$PWD" exec timeout 480 "${PYTHON:-.venv/bin/python}" runs/gpu.py "$@"
