#!/usr/bin/env bash
# kq-smoke.sh [TEST ARGS...]   runs the kqueue backend on Linux over libkqueue (Debian experimental), which is downloaded
# and unpacked into the cache; nothing is installed.
#   kq-smoke.sh --libdir      only downloads the library and prints its directory
# If the library is not available or does not run here, the script prints `skipped: REASON` and exits 77. Cases that
# libkqueue cannot pass are marked as skipped in the printed table.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/reveille-ci}
root=$cache/libkqueue
target=${CARGO_TARGET_DIR:-$here/../../target}
skip() { echo "skipped: $*"; exit 77; }

[ "$(uname -s)" = Linux ] || skip "libkqueue stands in for kqueue on Linux only"
find_lib() { find -L "$root" -name libkqueue.so -type f -printf '%h\n' -quit 2>/dev/null; }
lib=$(find_lib || true)
if [ -z "$lib" ]; then
    command -v apt-get >/dev/null || skip "no apt-get to fetch libkqueue with"
    timeout -k 10 300 "$here/apt-suite.sh" "${LIBKQUEUE_SUITE:-experimental}" extract "$root" \
        libkqueue0t64 libkqueue-dev >&2 || skip "libkqueue cannot be fetched from Debian ${LIBKQUEUE_SUITE:-experimental}"
    lib=$(find_lib || true)
    [ -n "$lib" ] || skip "Debian's packages hold no libkqueue.so"
fi
if [ "${1:-}" = --libdir ]; then echo "$lib"; exit; fi

# A library of another suite may need a newer C library.
probe=$(mktemp -d)
trap 'rm -rf "$probe"' EXIT
cat > "$probe/probe.rs" <<'END'
#[link(name = "kqueue")]
unsafe extern "C" {
    safe fn kqueue() -> i32;
}
fn main() {
    assert!(kqueue() >= 0, "{}", std::io::Error::last_os_error());
}
END
rustc --edition 2024 -L "native=$lib" -o "$probe/probe" "$probe/probe.rs" &&
    LD_LIBRARY_PATH=$lib timeout -k 5 20 "$probe/probe" ||
    skip "a program that opens one queue of libkqueue does not link or run here"

zcat "$root"/usr/share/doc/libkqueue0t64/changelog.Debian.gz 2>/dev/null | sed -n 1p || true
cd "$here/../.."
export CARGO_TARGET_DIR=$target/ci-libkqueue
CARGO_ENCODED_RUSTFLAGS=$(printf -- '--cfg\x1flibkqueue\x1f-L\x1fnative=%s\x1f-Dwarnings' "$lib")
export CARGO_ENCODED_RUSTFLAGS
cargo test --lib --no-run
# One test at a time: a thread of the library frees a closed queue a little later.
LD_LIBRARY_PATH=$lib timeout -k 10 "${LIMIT:-180}" \
    cargo test --lib backend::kqueue::libkqueue -- --test-threads=1 --nocapture "$@" 2>&1 | tee "$probe/out"
grep -qE '^test result: ok\. [1-9]' "$probe/out" || { echo "no test ran over libkqueue"; exit 1; }
