#!/usr/bin/env bash
# Searches a few-shot backbone on validation classes, then trains it and Conv-4 for the same core-seconds with five seeds, and prints
# the accuracy on test classes with intervals over the seeds. Every part goes on where it was stopped.
# `runs/backbone.sh --search` ends after the search.
# EVALS trainings of SECONDS_EACH core-seconds choose; MINUTES core-minutes for each of the ten trainings that are compared.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
python="${PYTHON:-.venv/bin/python}" data="${DATA:-../shared/images/tin_fewshot.npz}" out="${OUT:-runs/backbone}"
if [ -d "$out/search" ]; then
  "$python" -m nas resume "$out/search"
else
  "$python" -m nas search --task "few_shot:$data" -t space="${SPACE:-conv_blocks}" -t precision=bf16 -t seconds="${SECONDS_EACH:-8}" \
    -t final_steps=1 --evals "${EVALS:-20}" --batch 4 --name "$out/search"
fi
[ "${1:-}" = --search ] && exit
exec "$python" runs/backbone.py "$data" --run "$out/search" --out "$out" --space "${SPACE:-conv_blocks}" --minutes "${MINUTES:-1}" "$@"
