#!/usr/bin/env bash
# How fast a search is beside nats_bench itself. NAS_TABLES: folders with our tables; NATS_BENCH: the folder of NATS-Bench's
# topology download ('-simple'), or of some of its architectures.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-.venv/bin/python}"
PYTHONPATH=. "$PYTHON" runs/speed.py
