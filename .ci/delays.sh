#!/usr/bin/env bash
# .ci/delays.sh [SECONDS [TEST...]]     runs the tests with random delays, for a minute by default
# Runs the test programs in random order, with new random delays of tools/delays.c each time. TEST names a program: tcp is
# tests/tcp.rs, reveille the tests of the library. A test that fails here relies on luck, or shows a race. The script
# prints the command that runs it again with the same delays; threads may still run in another order.
# DELAYS_ODDS and DELAYS_US set how often and how long delays.c delays. Exit status 77: no C compiler.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
seconds=${1:-60}
shift || true
command -v cc > /dev/null || { echo "skipped: no C compiler"; exit 77; }
tmp=$(mktemp -d "${TMPDIR:-/tmp}/delays.XXXXXX") || exit 2
trap 'rm -rf "$tmp"' EXIT
mkdir -p "${CARGO_TARGET_DIR:-target}"
library=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/delays.so
cc -shared -O1 -fPIC -Wall -Werror -o "$library" "$here/tools/delays.c" -ldl || exit 1
cargo test --all-features --no-run 2>&1 | tee "$tmp/build" | grep -E "^(warning|error)" -A 20
# Lines of name and path. The program `house` only reads files.
sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$tmp/build" | sed 's/^\(.*\/\)\([^/]*\)-\([0-9a-f]*\)$/\2 \1\2-\3/' | grep -v '^house ' > "$tmp/programs"
if [ $# -gt 0 ]; then
    awk 'NR == FNR { wanted[$0]; next } $1 in wanted' <(printf '%s\n' "$@") "$tmp/programs" > "$tmp/some"
    mv "$tmp/some" "$tmp/programs"
fi
[ -s "$tmp/programs" ] || { echo "no test program"; exit 1; }
end=$((SECONDS + seconds)) runs=0
while [ $SECONDS -lt $end ]; do
    while read -r name path; do
        [ $SECONDS -lt $end ] || break
        export DELAYS_SEED=$((RANDOM * 32768 + RANDOM + 1))
        LD_PRELOAD=$library timeout --foreground -k 5 600 "$path" > "$tmp/output" 2>&1 < /dev/null
        rc=$?
        # Without the library there are no delays. Its path must not contain a space or a colon.
        if grep -q 'LD_PRELOAD cannot be preloaded' "$tmp/output"; then rc=1; fi
        if [ $rc != 0 ]; then
            grep -nE ' (FAILED|hangs)$|panicked at' "$tmp/output"
            tail -n 40 "$tmp/output"
            echo "FAILED  $name, status $rc; again: DELAYS_SEED=$DELAYS_SEED LD_PRELOAD=$library $path"
            exit 1
        fi
        runs=$((runs + 1))
    done < <(shuf "$tmp/programs")
done
echo "ok      $runs runs of $(wc -l < "$tmp/programs") test programs in $seconds s"
