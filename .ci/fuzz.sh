#!/usr/bin/env bash
# .ci/fuzz.sh SECONDS [SANITIZER [FUZZER...]]     runs the fuzzers of tests/fuzz with new random seeds
# SANITIZER: plain             the default: optimized, with the assertions of a debug build
#            address           a debug build under AddressSanitizer, which finds leaks too
#            address-optimized optimized, without assertions; memory of ended tasks is reused
#            leak, thread      debug builds; thread with std rebuilt
# Each fuzzer (all, or those named: tasks, timers ...) gets the same share of the time. It runs each seed on every backend of
# this host, or on the one that REVEILLE_BACKEND names. The script prints how many seeds each backend ran. A fuzzer that
# fails or hangs prints the command that runs the seed again. Exit status 77: the sanitizer is not available.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
root=$PWD
seconds=${1:?"usage: fuzz.sh SECONDS [SANITIZER [FUZZER...]]"}
sanitizer=${2:-plain}
shift; shift || true
tmp=$(mktemp -d "${TMPDIR:-/tmp}/fuzz.XXXXXX") || exit 2
trap 'rm -rf "$tmp"' EXIT

# Linking with LTO would take most of the time.
export CARGO_PROFILE_RELEASE_LTO=off
args=(--all-features --test fuzz)
case $sanitizer in
    plain) export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
           run=(cargo test --release) ;;
    address) run=("$here/tools/san.sh" address "$root") ;;
    address-optimized) run=("$here/tools/san.sh" address "$root" --release) ;;
    leak) run=("$here/tools/san.sh" leak "$root") ;;
    thread) run=("$here/tools/san.sh" -s thread "$root")
            export TSAN_OPTIONS="halt_on_error=0:second_deadlock_stack=1:suppressions=$here/tsan.supp" ;;
    *) echo "fuzz.sh: no sanitizer $sanitizer (see its head)" >&2; exit 2 ;;
esac
if [ "$sanitizer" != plain ] && ! cargo +nightly --version > "$tmp/output" 2>&1; then
    echo "skipped: no nightly toolchain on this machine"; exit 77
fi
if [ "$sanitizer" = thread ] && ! "$here/tools/cross-src.sh" > "$tmp/output" 2>&1; then
    echo "skipped: the sources of std are not available"; exit 77
fi
if ! "${run[@]}" "${args[@]}" --no-run > "$tmp/output" 2>&1; then
    tail -n 40 "$tmp/output"
    echo "FAILED  the fuzzers do not build for $sanitizer"
    exit 1
fi
fuzzers=("$@")
if [ ${#fuzzers[@]} = 0 ]; then
    mapfile -t fuzzers < <("${run[@]}" "${args[@]}" -- --list 2> /dev/null | sed -n 's/^\([a-z_]*\)::\1: test$/\1/p')
fi
[ ${#fuzzers[@]} -gt 0 ] || { echo "FAILED  there is no fuzzer"; exit 1; }
share=$(((seconds + ${#fuzzers[@]} - 1) / ${#fuzzers[@]}))
rc=0
for fuzzer in "${fuzzers[@]}"; do
    if ! REVEILLE_FUZZ_SECONDS=$share "${run[@]}" "${args[@]}" -- --nocapture --exact "$fuzzer::$fuzzer" > "$tmp/output" 2>&1; then
        grep -nE '^FAILED|panicked at|ERROR: |WARNING: Thread' "$tmp/output" | head -n 20
        tail -n 200 "$tmp/output"
        echo "FAILED  $fuzzer, $sanitizer"
        rc=1
        continue
    fi
    awk -v fuzzer="$fuzzer" -v sanitizer="$sanitizer" -v share="$share" '
        $1 == "seeds" && $2 == fuzzer { line = line sprintf(" %s %d", $3, $4); all += $4 }
        END { printf "ok      %-12s %-18s %7d seeds in %d s:%s\n", fuzzer, sanitizer, all, share, line; exit all == 0 }
    ' "$tmp/output" || { echo "FAILED  $fuzzer has tried no seed"; rc=1; }
done
exit $rc
