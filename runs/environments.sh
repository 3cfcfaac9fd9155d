#!/usr/bin/env bash
# The commands of a search in the environments that containers, cron jobs, notebooks and old terminals give them: search, show,
# resume and export by training, and a comparison, in each. A table of exit statuses; exit status 1 if any is not 0, or if a
# traceback was printed.
set -uo pipefail
cd "$(dirname "$0")/.."
repo=$PWD python=$(realpath -s "${PYTHON:-.venv/bin/python}")
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
mkdir "$work/locked" && chmod 555 "$work/locked"
: > "$work/no-folder"
small=(-t epochs=1 -t channels=2 -t examples=64 -t final_epochs=1 -t final_channels=4 -t final_cells=1)
base=("PATH=$PATH" "PYTHONPATH=$repo" OMP_NUM_THREADS=1)
failed=0
echo "| environment | search | show | resume | export | compare |"
echo "|---|---:|---:|---:|---:|---:|"
before=() # What each command is started by.
try() { # try NAME FOLDER VARIABLE...
    local name=$1 folder=$2 row="| $1 |"
    shift 2
    mkdir -p "$work/$folder"
    local commands=(
        "search --task digits --evals 2 --batch 2 --controller random_search --name a"
        "show runs/a" "resume runs/a" "export runs/a --to out"
        "compare --tasks own201/digits --controllers random_search --seeds 2 --evals 5 --out c"
    )
    for command in "${commands[@]}"; do
        local more=()
        [[ $command == search* ]] && more=("${small[@]}")
        # shellcheck disable=SC2086  # The words of a command are split on purpose.
        (cd "$work/$folder" && "${before[@]}" env -i "${base[@]}" "$@" "$python" -m nas $command "${more[@]}") > "$work/log" 2>&1 <&-
        local status=$?
        if grep -q Traceback "$work/log"; then status="$status, traceback"; fi
        if [ "$status" != 0 ]; then failed=1; tail -3 "$work/log" >&2; fi
        row="$row $status |"
    done
    echo "$row"
}
try "plain" plain "HOME=$work"
try "LC_ALL=C, ASCII" ascii "HOME=$work" LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 PYTHONIOENCODING=ascii
try "cp1252" cp1252 "HOME=$work" PYTHONIOENCODING=cp1252
try "latin-1 files" latin "HOME=$work" LC_ALL=en_US.ISO-8859-1 PYTHONUTF8=0 PYTHONCOERCECLOCALE=0
try "a notebook's MPLBACKEND" notebook "HOME=$work" MPLBACKEND=module://matplotlib_inline.backend_inline
try "no HOME (cron)" cron
try "a HOME that may only be read" locked "HOME=$work/locked"
try "a HOME that is a file" nohome "HOME=$work/no-folder" "XDG_CACHE_HOME=$work/no-folder/x"
before=(unshare -U --map-user=12345 --map-group=12345)
if "${before[@]}" true 2> /dev/null; then try "a user without a name or a home" nameless; fi
before=()
try "TERM=dumb, 12 columns" narrow "HOME=$work" TERM=dumb COLUMNS=12
try "forced colors" colors "HOME=$work" FORCE_COLOR=1 COLORTERM=truecolor
try "no compiler" nocompiler "HOME=$work" NAS_COMPILE=0
try "a folder with odd names" 'ä [red] %s b' "HOME=$work" LC_ALL=C.UTF-8
try "warnings are shown" warn "HOME=$work" PYTHONWARNINGS=default
try "optimized bytecode" optimized "HOME=$work" PYTHONOPTIMIZE=2
exit $failed
