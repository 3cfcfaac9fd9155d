#!/usr/bin/env bash
# Would the tests notice? Changes the source in a copy and runs the tests: each change must make one of them fail.
#   runs/mutants.sh named [WORD...]              the changes of tests/mutants/*.toml, those that have one of the words; 20 minutes
#   runs/mutants.sh coverage [FILE...]           once, for `drawn`: which test runs which line, how long it takes; 10 minutes
#   runs/mutants.sh drawn --seed 1 --count 120   changes that cosmic-ray draws; an hour. Stopped, it goes on where it was.
# NAS_TABLES: folders with the tables, without which tests are skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
PYTHON="${PYTHON:-.venv/bin/python}"
# Named changes need no more than the tests do: nothing is installed for them.
if [[ ${1:-} != named ]] && ! "$PYTHON" -c 'import cosmic_ray, pytest_cov' 2>/dev/null; then
    "$PYTHON" -m pip install --quiet --editable '.[mutants]' --constraint constraints.txt
fi
exec nice -n 19 "$PYTHON" -m runs.mutants "$@"
