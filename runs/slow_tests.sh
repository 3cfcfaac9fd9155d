#!/bin/sh
# The tests that are marked slow: under a minute each on a quiet core.
set -eu
cd "$(dirname "$0")/.."
"${PYTHON:-.venv/bin/python}" -m pytest -m slow "$@"
