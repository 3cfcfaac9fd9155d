#!/usr/bin/env bash
# The shipped table own201, task by task; each line can be stopped and called again. IMAGES is a folder of npz data sets.
# Without IMAGES only the digits are measured. JOBS processes of one thread each.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-runs/own201/own201.safetensors}
nas=.venv/bin/nas
$nas table build --task digits --out "$out" --epochs 4 --channels 4 --cells 2 --examples 576 --jobs "${JOBS:-2}"
[ -n "${IMAGES:-}" ] || exit 0
for set in dtd10_textures rsscn7_aerial brain_tumor_mri arabic_chars28 fashion_mnist smile_faces gtsrb; do
  $nas table build --task "npz:$IMAGES/$set.npz" --out "$out" --epochs 4 --channels 4 --cells 2 --image-size 16 \
    --stem-stride 2 --examples 600 --jobs "${JOBS:-2}"
done
$nas table info "$out"
