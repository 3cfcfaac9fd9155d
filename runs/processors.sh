#!/usr/bin/env bash
# Law 1 (a seed searches alike alone and in company) and training on the arithmetic of other processors: the tests that rest on
# arithmetic, under each instruction set that PyTorch, MKL and oneDNN can be told to take. A line for each; other processors are
# simulated only so far as these variables reach. About 15 minutes on two idle cores.
#   ./runs/processors.sh [PYTHON [ROW...]]   of a row's variables only, as "MKL_CBWR=AVX2"
# TESTS: other files; WORDS: pytest's -k, empty for all of their tests.
set -u
cd "$(dirname "$0")/.."
PYTHON=${1:-.venv/bin/python}
TESTS=${TESTS:-tests/test_products.py tests/test_company.py tests/test_laws.py tests/test_population.py tests/test_compiled.py \
  tests/test_train.py tests/test_train_curves.py}
# TPE's arithmetic is Optuna's, one seed at a time.
WORDS=${WORDS-"(company or alone or place or product or alike or logits or taken_up) and not tpe"}
failed=0

try() {
  if out=$(env "$@" "$PYTHON" -m pytest -p no:cacheprovider $TESTS -k "$WORDS" 2>&1); then verdict=pass; else verdict=FAIL failed=1; fi
  echo "| ${*:-as it is} | $verdict | $(tail -n 1 <<<"$out" | sed 's/ in .*//') |"
  [[ $verdict = pass ]] || grep -E '^(FAILED|ERROR)' <<<"$out"
}

LC_ALL=C lscpu | sed -n 's/^Model name: */Processor: /p'
"$PYTHON" -c 'import torch; print("PyTorch", torch.__version__, "takes", torch.backends.cpu.get_cpu_capability())'
echo
echo "| environment | law 1 | tests |"
echo "|---|---|---|"
rows=(
  ""
  ATEN_CPU_CAPABILITY={default,avx2,avx512}
  MKL_CBWR={COMPATIBLE,AVX2,AVX512}
  ONEDNN_MAX_CPU_ISA={SSE41,AVX2,AVX512_CORE}
  "ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=SSE41"
  "NAS_TEST_THREADS=2 OMP_WAIT_POLICY=PASSIVE"
  "NAS_TEST_THREADS=2 OMP_WAIT_POLICY=PASSIVE ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=AVX2 ONEDNN_MAX_CPU_ISA=AVX2"
)
(($# > 1)) && rows=("${@:2}")
for row in "${rows[@]}"; do try $row; done
exit $failed
