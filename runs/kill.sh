#!/usr/bin/env bash
# Kills ten kinds of work at random instants, resumes them, and compares what comes out with work that nothing disturbed: a table
# of kills, and exit status 1 if any differs or cannot go on. KILLS in all (1000), SEED, OUT. NATS_SAMPLE: a folder of nats_bench's
# files for the import, which is left out without it. A list of kinds may follow. OUT keeps what was found: the recipe goes on where
# it was stopped; remove it to begin anew.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
unset NAS_TABLES # A meta-training of the shipped table alone is a second of work.
exec "${PYTHON:-.venv/bin/python}" runs/kill.py "${OUT:-runs/kill}" "${KILLS:-1000}" "${SEED:-0}" "$@"
