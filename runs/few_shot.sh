#!/usr/bin/env bash
# Every few-shot learner x (5-way, 20-way) x (1-shot, 5-shot) on Omniglot, MINUTES core-minutes each, three seeds; one process of one
# thread. It goes on where it was stopped. `runs/few_shot.sh --table` prints what is there.
# Options are those of runs/few_shot.py, as --learners prototypical,maml --settings 5x1 --minutes 8 --seeds 1.
# `--settings 5x1 --tests 5x5,20x1,20x5` trains each learner once and tests it by all four, where it takes any number of classes.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
exec "${PYTHON:-.venv/bin/python}" runs/few_shot.py "${DATA:-../shared/images/omniglot_full.npz}" "$@"
