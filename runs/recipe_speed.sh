#!/bin/sh
# What options of a recipe cost in time, and how time grows with the side of the images: about a minute on a quiet core.
set -eu
cd "$(dirname "$0")/.."
PYTHONPATH=. "${PYTHON:-.venv/bin/python}" runs/recipe_speed.py "$@"
