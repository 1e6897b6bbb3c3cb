#!/bin/sh
# Installs what the tests need on Debian 12 and leaves alone what is there. As root, or with sudo.
set -eu

packages="
gcc libc6-dev
dataset-fashion-mnist
mesa-vulkan-drivers libvulkan1
qemu-system-arm
binutils-arm-none-eabi
rustc-web rust-web-src
python3-venv python3-torch
"

missing=
for package in $packages; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
    sudo=
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    $sudo apt-get update
    # shellcheck disable=SC2086 # one argument a package
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing
fi

for component in rustfmt clippy; do
    cargo "${component#rust}" --version >/dev/null 2>&1 || rustup component add "$component"
done

if ! cargo deny --version >/dev/null 2>&1; then
    echo "building cargo-deny, once (it checks licences, sources and who may use which crate)" >&2
    cargo install cargo-deny --locked
fi

# What Python packages make for the tests: ONNX's own tests of operators (tests/operators.rs), real
# networks with onnxruntime's results (tests/networks.rs), networks that onnxruntime has quantized
# (tests/qdq.rs), and a detector with the boxes that NumPy finds (tests/detector.rs). Made again when a script or a pin changes.
tests=$(dirname "$0")
target=$tests/../target
pins="onnx==1.23.2 onnxruntime==1.32.0 pillow==13.0.0"

# outdated FOLDER SCRIPT..: whether the folder was written by other scripts or packages than these
outdated() {
    folder=$1
    shift
    wanted=$(cat "$@" | cksum)" $pins"
    [ "$(cat "$folder/version" 2>/dev/null)" != "$wanted" ]
}

operators=$target/onnx-operators networks=$target/networks
for folder in "$operators $tests/models/operator_tests.py" \
    "$networks $tests/models/networks.py $tests/models/checkpoints.py" \
    "$target/quantized $tests/models/quantized.py $tests/models/networks.py" \
    "$target/detector $tests/models/detections.py"; do
    # shellcheck disable=SC2086 # a folder and its scripts
    set -- $folder
    outdated "$@" || continue
    if [ "$(cat "$target/python/pins" 2>/dev/null)" != "$pins" ]; then
        python3 -m venv --clear "$target/python"
        # shellcheck disable=SC2086 # one argument a package
        "$target/python/bin/pip" install --quiet --disable-pip-version-check $pins
        echo "$pins" >"$target/python/pins"
    fi
    find "$1" -mindepth 1 -maxdepth 1 ! -name packages -exec rm -rf {} + 2>/dev/null || true
    "$target/python/bin/python" "$2" "$1"
    echo "$wanted" >"$1/version"
done
