#!/usr/bin/env bash
# cross-check.sh [-c check|clippy|build] [-t "TARGET..."] CRATE_DIR [cargo args...]
# Type-checks a crate for targets whose std is not installed. Builds std from Debian's rust-src with the
# nightly toolchain (-Zbuild-std). Goes on after a failed target; exit status 1 if one failed.
#   cross-check.sh . --all-features
#   cross-check.sh -c clippy -t x86_64-unknown-freebsd . -- -D warnings
# Nothing is linked and nothing runs.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cmd=check
targets="x86_64-unknown-freebsd x86_64-unknown-netbsd x86_64-unknown-openbsd x86_64-unknown-dragonfly
 x86_64-apple-darwin aarch64-apple-darwin x86_64-unknown-illumos x86_64-pc-solaris
 x86_64-unknown-linux-musl aarch64-linux-android aarch64-unknown-linux-gnu i686-unknown-linux-gnu"
usage() { sed -n 2,7p "$0" >&2; exit 2; }
while getopts c:t: o; do
    case $o in c) cmd=$OPTARG ;; t) targets=$OPTARG ;; *) usage ;; esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || usage
crate=$1; shift
src=$("$here/cross-src.sh") || exit 2
export __CARGO_TESTS_ONLY_SRC_ROOT=$src          # where cargo looks for library/
cache=${CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/reveille-ci}
export CARGO_TARGET_DIR=${CROSS_TARGET_DIR:-$cache/target-cross}
export CARGO_PROFILE_DEV_DEBUG=${CARGO_PROFILE_DEV_DEBUG:-0} CARGO_INCREMENTAL=0
jobs=${JOBS:-$(nproc)}
rc=0
for t in $targets; do
    s=$SECONDS
    log=$(mktemp)
    if (cd "$crate" && cargo "+${NIGHTLY:-nightly}" "$cmd" -j "$jobs" -Zbuild-std=std,panic_abort --target "$t" "$@") >"$log" 2>&1; then
        echo "ok    $t  $((SECONDS - s))s  $(grep -c '^warning' "$log") warnings"
        grep -A6 -E '^warning' "$log" | head -n "${WARN_LINES:-0}"
    else
        echo "FAIL  $t  $((SECONDS - s))s"
        grep -A8 -E '^error' "$log" | head -n "${ERR_LINES:-40}"
        rc=1
    fi
    rm -f "$log"
done
exit $rc
