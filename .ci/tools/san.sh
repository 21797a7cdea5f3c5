#!/usr/bin/env bash
# san.sh [-s] address|thread|leak|memory CRATE_DIR [cargo test args...]
# Runs a crate's tests under a sanitizer with the nightly toolchain. With -s, std is rebuilt with the sanitizer
# (from Debian's rust-src, see cross-src.sh); without it, `thread` reports false races inside std.
# SAN_CARGO replaces the cargo command `test`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/reveille-ci}
usage() { sed -n 2,5p "$0" >&2; exit 2; }
std=
while getopts s o; do case $o in s) std=1 ;; *) usage ;; esac; done
shift $((OPTIND - 1))
[ $# -ge 2 ] || usage
san=$1 crate=$2; shift 2
target=$(rustc -vV | sed -n 's/^host: //p')
flags="-Zsanitizer=$san"
[ "$san" = memory ] && flags="$flags -Zsanitizer-memory-track-origins"
args=()
if [ -n "$std" ]; then
    __CARGO_TESTS_ONLY_SRC_ROOT=$("$here/cross-src.sh")
    export __CARGO_TESTS_ONLY_SRC_ROOT
    args=(-Zbuild-std)
elif [ "$san" = thread ] || [ "$san" = memory ]; then
    flags="$flags -Cunsafe-allow-abi-mismatch=sanitizer"
fi
export RUSTFLAGS="${RUSTFLAGS:-} $flags" RUSTDOCFLAGS="${RUSTDOCFLAGS:-} $flags"
export CARGO_TARGET_DIR=${SAN_TARGET_DIR:-$cache/target-san-$san${std:+-std}}
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:detect_stack_use_after_return=1:abort_on_error=0}
export LSAN_OPTIONS=${LSAN_OPTIONS:-}
# Only for this one: tests see by it that ThreadSanitizer runs.
if [ "$san" = thread ]; then export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=0:second_deadlock_stack=1}; fi
cd "$crate"
exec cargo "+${NIGHTLY:-nightly}" "${SAN_CARGO:-test}" -j "${JOBS:-$(nproc)}" "${args[@]}" --target "$target" "$@"
