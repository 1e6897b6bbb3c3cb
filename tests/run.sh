#!/bin/sh
# Everything that must pass before a commit, on Debian 12 with Rust. Ends with the tests' own summary.
set -eu
cd "$(dirname "$0")/.."

step() {
    printf '\n=== %s\n' "$*" >&2
    "$@"
}

step sh tests/setup.sh
step cargo fmt --all --check
step cargo clippy --workspace --all-targets -- -D warnings
step env RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
step cargo deny --all-features check bans licenses sources
step sh tests/firmware.sh
# The software driver that tests/setup.sh installs, whatever else this machine has.
export UNBRAID_REQUIRE_GPU=1
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-${TMPDIR:-/tmp}}" # or its loader complains
export VK_ICD_FILENAMES="/usr/share/vulkan/icd.d/lvp_icd.$(uname -m).json"
# As firmware is built: without the kernels that plain networks do not need.
step cargo clippy -p unbraid-runtime --no-default-features --all-targets -- -D warnings
step cargo test -p unbraid-runtime --no-default-features --lib
step cargo test --workspace --doc
step cargo test --workspace --lib --bins --tests --no-fail-fast
