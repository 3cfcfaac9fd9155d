#!/usr/bin/env bash
# Trainings of whole pipelines on every set of IMAGES, a folder of npz data sets: what a prior over pipelines is learned from.
#   runs/pipelines.sh          restore what the archive holds, then train what is missing; can be killed and called again
#   runs/pipelines.sh status   how many trainings of each set are finished
#   runs/pipelines.sh keep     add the finished trainings to the archive, which is tracked by git; commit it afterwards
#   runs/pipelines.sh restore  write the archive's trainings to the folder
# COUNT configurations a set (400). One configuration takes about 15 seconds of a core a set, in the mean. JOBS processes
# (1) of one thread each share the sets. OUT is the folder of trainings. Needs a C compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
out=${OUT:-runs/pipelines}
archive=${ARCHIVE:-runs/pipelines.jsonl.xz}
run() { nice -n 19 "${PYTHON:-.venv/bin/python}" runs/pipelines.py "$@" --out "$out"; }
case ${1:-work} in
  work)
    if [ -e "$archive" ]; then run restore --archive "$archive"; fi
    jobs=${JOBS:-1}
    trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
    for part in $(seq 0 $((jobs - 1))); do
      run work --images "${IMAGES:-../shared/images}" --count "${COUNT:-400}" --part "$part" --parts "$jobs" &
      started+=($!)
    done
    for process in "${started[@]}"; do wait "$process"; done
    ;;
  status) run status ;;
  keep | restore) run "$1" --archive "$archive" ;;
  *)
    echo "There is no command '$1'; there are: work, status, keep, restore." >&2
    exit 2
    ;;
esac
