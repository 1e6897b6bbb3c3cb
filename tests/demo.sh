#!/bin/sh
# The main job, end to end: a trained three-branch model becomes a plain network that is proved to
# be the same function, looks at a real picture, and tells how long that takes.
set -eu
cd "$(dirname "$0")/.."

cargo build --release --bin unbraid
unbraid=${CARGO_TARGET_DIR:-target}/release/unbraid
model=tests/models/repvgg_preserve.onnx
picture=tests/models/ankle_boot.png
# The model was trained on (pixel - 72.94) / 90.02; with these flags it takes the pixel itself.
pixels="--mean 72.94 --std 90.02"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

show() {
    printf '\n$ unbraid %s\n' "$*" | sed "s|$work/||g"
    "$unbraid" "$@"
}

# shellcheck disable=SC2086 # several flags
{
    show convert $model -o "$work/boot.strand" $pixels --emit-onnx "$work/fused.onnx"
    show compare $model "$work/boot.strand" --input $picture $pixels
    show run "$work/boot.strand" --input $picture --labels tests/models/labels.txt --top 3
    show bench "$work/boot.strand"
    echo
    echo "The same model with its branches:"
    show convert $model -o "$work/unfused.strand" $pixels --no-fuse >/dev/null
    show bench "$work/unfused.strand"
}
