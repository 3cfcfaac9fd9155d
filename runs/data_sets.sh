#!/bin/sh
# On every set of IMAGES (a folder of .npz files), in the same minutes each: what a search of whole pipelines finds, what one of
# cells alone finds, the ResNet cell by the default final training, a small ResNet tuned by Optuna, the best of scikit-learn's
# baselines; and a search for a network of a quarter of the ResNet cell's parameters. Options are those of runs/data_sets.py, as
# --sets flowers5,usps --minutes 1 --seeds 1. All of it takes arms x minutes x seeds x sets: 22 sets, 3 seeds and 10 minutes about 66
# hours of two cores. It goes on where it was stopped; --table prints what is there. Needs optuna. runs/data_sets.jsonl has the rows of
# docs/your_data.md.
set -eu
cd "$(dirname "$0")/.."
PYTHONPATH=. "${PYTHON:-.venv/bin/python}" runs/data_sets.py "${IMAGES:-../shared/images}" "$@"
