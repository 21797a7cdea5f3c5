#!/usr/bin/env bash
# .ci/soak.sh [SECONDS]     runs the models with new random seeds, for a minute by default
# Runs the tests `backends_model` and `runtime_model` on every backend of this host. A test that fails or hangs prints its
# seeds; REVEILLE_MODEL_SEEDS=first..end runs them again.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
seconds=${1:-60}
# Optimized, with the assertions of a debug build. Linking with LTO would take most of the time.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
models=(--test backends_model --test runtime_model)
cargo test --release --all-features "${models[@]}" --no-run || exit 1
end=$((SECONDS + seconds)) runs=0 seeds=none
first=$((RANDOM * 32768 + RANDOM + 100))
while [ $SECONDS -lt $end ]; do
    seeds=$first..$((first + 10))
    if ! REVEILLE_MODEL_SEEDS=$seeds cargo test -q --release --all-features "${models[@]}" -- --nocapture \
        > "${TMPDIR:-/tmp}/soak.$$" 2>&1; then
        tail -n 40 "${TMPDIR:-/tmp}/soak.$$"
        rm -f "${TMPDIR:-/tmp}/soak.$$"
        echo "FAILED  again: REVEILLE_MODEL_SEEDS=$seeds cargo test --release ${models[*]}"
        exit 1
    fi
    first=$((first + 10)) runs=$((runs + 1))
done
rm -f "${TMPDIR:-/tmp}/soak.$$"
echo "ok      $((runs * 10)) seeds in $seconds s, the last ones $seeds"
