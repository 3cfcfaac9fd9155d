#!/bin/sh
# Searches on seven sets of images, one of them a folder of image files, beside the ResNet cell under the same training.
# IMAGES names the folder of .npz files (x_train, y_train, x_test, y_test, class_names); about 5 minutes on a quiet core.
set -eu
cd "$(dirname "$0")/.."
PYTHONPATH=. "${PYTHON:-.venv/bin/python}" runs/data_sets.py "${IMAGES:-../shared/images}" "$@"
