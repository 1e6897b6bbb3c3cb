#!/bin/sh
# The runtime on a Cortex-M4F under QEMU: the same bits as on the host, and no panic reachable.
# Needs rustc-web, rust-web-src, binutils-arm-none-eabi and qemu-system-arm (tests/setup.sh).
set -eu
cd "$(dirname "$0")/.."

target=thumbv7em-none-eabihf
build=$(realpath -m "${CARGO_TARGET_DIR:-target}/firmware")
image=$build/$target/release/unbraid-mps2-an386
log=$build/panicking.log

fail() {
    echo "firmware: FAILED: $*" >&2
    exit 1
}

# build_firmware CASE [CARGO OPTIONS]. The cross compiler is Debian's: rustup's has no core for the
# target. Its output stays apart, because two compilers cannot share a folder.
build_firmware() {
    firmware_case=$1
    shift
    UNBRAID_FIRMWARE_CASE=$firmware_case RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$build \
        CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER=arm-none-eabi-ld \
        CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
        cargo build --release -p unbraid-mps2-an386 -Zbuild-std=core --target $target "$@"
}

for name in repvgg mobileone; do
    case=$build/cases/$name
    mkdir -p "$case"
    cargo run --quiet -p unbraid-tests --bin firmware_case -- \
        "tests/models/${name}_eval.onnx" tests/models/ankle_boot.png 72.94 90.02 "$case"
    build_firmware "$case" || fail "$name does not link; an undefined unbraid_panic_path_is_linked means a reachable panic"
    if arm-none-eabi-nm "$image" | grep -E '__rust_(re)?alloc|__rdl_alloc| malloc$'; then
        fail "$name links an allocator"
    fi
    arm-none-eabi-size "$image"
    # The inference takes a second: whatever runs for two minutes hangs.
    timeout 120 qemu-system-arm -M mps2-an386 -nographic \
        -semihosting-config enable=on,target=native -kernel "$image" ||
        fail "$name ends with exit code $?"
done

build_firmware "$build/cases/repvgg" --features detection ||
    fail "boxes from scores do not link: a panic is reachable in unbraid_runtime::detect"

# The link check must be able to fail: with one reachable panic the same program does not link.
if build_firmware "$build/cases/repvgg" --features panicking >"$log" 2>&1; then
    fail "a program with a reachable panic links, so linking proves nothing"
fi
grep -q 'undefined reference.*unbraid_panic_path_is_linked' "$log" ||
    fail "the program with a panic fails for another reason: see $log"
echo "firmware: ok: the host's bits on a Cortex-M4F, no panic and no allocator linked"
