#!/bin/sh
# What it is worth to spend the last evaluations of a search on telling its leaders apart (nas search --leaders).
#   choices   simulated choices among functions that tables measured with three seeds; a minute
#   images    searches on image datasets; IMAGES names the folder of .npz files; about 40 minutes of one core, resumable
#   tune | show   the table of the datasets with even or with odd numbers; of what is done so far
set -eu
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS=1
PYTHONPATH=. exec "${PYTHON:-.venv/bin/python}" runs/leaders.py "$@" --images "${IMAGES:-../shared/images}"
