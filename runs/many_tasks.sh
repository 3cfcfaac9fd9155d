#!/usr/bin/env bash
# The table of many tasks: every function of nasbench201 trained on each data set of nas/data/many_tasks.json, in its order of work.
#   runs/many_tasks.sh          restore what the archive holds, then train what is missing; can be killed and called again
#   runs/many_tasks.sh status   how many shards of each training are finished
#   runs/many_tasks.sh keep     add the finished shards to the archive, which is tracked by git; commit it afterwards
#   runs/many_tasks.sh restore  write the archive's shards to the folder, bitwise; those that are there stay
#   runs/many_tasks.sh pack     one table of the trainings that are finished
# IMAGES is a folder of npz data sets; without it only the digits are measured. A data set takes about 18 minutes of one core,
# all of it 16 hours. JOBS processes of one thread each; OUT is the folder of shards, ONLY a data set or a training as
# SET-VARIANT. Needs a C compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" OMP_NUM_THREADS=1
out=${OUT:-runs/many-tasks}
archive=${ARCHIVE:-runs/many_tasks_shards.tar.xz}
run() { "${PYTHON:-.venv/bin/python}" runs/many_tasks.py "$@" --out "$out"; }
case ${1:-work} in
  work)
    if [ -e "$archive" ]; then run restore --archive "$archive"; fi
    jobs=()
    trap 'kill "${jobs[@]}" 2> /dev/null || true' EXIT
    for _ in $(seq "${JOBS:-2}"); do
      nice -n 19 "${PYTHON:-.venv/bin/python}" runs/many_tasks.py work ${IMAGES:+--images "$IMAGES"} ${ONLY:+--only "$ONLY"} \
        --out "$out" &
      jobs+=($!)
    done
    for job in "${jobs[@]}"; do wait "$job"; done
    ;;
  status) run status ;;
  keep | restore) run "$1" --archive "$archive" ;;
  pack) run pack --table "${TABLE:-$out/own201-many.safetensors}" ;;
  *)
    echo "There is no command '$1'; there are: work, status, keep, restore, pack." >&2
    exit 2
    ;;
esac
