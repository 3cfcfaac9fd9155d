#!/usr/bin/env bash
# The tests on a busy machine: beside them 16 processes that do nothing but use a core each, at the lowest priority but one. No test
# may lean on a clock, so all must pass; they take longer.
#   ./runs/loaded.sh                  the whole suite, as `make test` runs it; half an hour on two cores
#   ./runs/loaded.sh -k minutes       what follows are pytest's arguments
# BURNERS: how many; NICE: their priority, 0 to 19; PYTHON: the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
export NAS_TABLES=${NAS_TABLES-$(cd .. && pwd)/shared/tables}
burners=()

# However this script ends, its burners end: by their own numbers, and each ends by itself should this script be killed outright.
stop() { kill "${burners[@]}" ${tests:+"-$tests"} 2>/dev/null || true; }
trap stop EXIT
trap 'exit 130' INT TERM HUP

for _ in $(seq "${BURNERS:-16}"); do
  nice -n "${NICE:-5}" bash -c 'while kill -0 "$1" 2>/dev/null; do for ((i = 0; i < 2000; i++)); do :; done; done' burner $$ &
  burners+=($!)
done
echo "${#burners[@]} processes beside the tests; the load was $(cut -d' ' -f1 /proc/loadavg) before."
# In the background, as bash heeds no signal while it waits for what is in front; a job of its own (-m), or it would be deaf to Ctrl-C.
set -m
"$PYTHON" -m pytest -n auto "$@" &
tests=$!
set +m
status=0
wait "$tests" || status=$?
echo "The load is $(cut -d' ' -f1 /proc/loadavg) after."
exit $status
