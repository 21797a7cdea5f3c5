#!/usr/bin/env bash
# cross-src.sh   downloads the sources of the standard library (library/ of Debian's rust-src) for -Zbuild-std
# and prints the directory for cargo's variable __CARGO_TESTS_ONLY_SRC_ROOT. Nothing is installed.
# RUST_SRC_SUITE names the suite. By default it is the first of sid, testing and experimental that has the
# version of the nightly compiler, or else sid.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/reveille-ci}
want=$(rustc "+${NIGHTLY:-nightly}" -vV | sed -n 's/^release: \([0-9]*\.[0-9]*\)\..*/\1/p')
dst=$cache/rust-src-${want}${RUST_SRC_SUITE:+-$RUST_SRC_SUITE}
# One download at a time, if several steps need the sources.
mkdir -p "$cache"
exec 9> "$cache/rust-src.lock"
flock 9
if [ ! -f "$dst/library/Cargo.toml" ]; then
    suite=${RUST_SRC_SUITE:-}
    if [ -z "$suite" ]; then
        for s in sid testing experimental; do
            have=$("$here/apt-suite.sh" "$s" policy rust-src | sed -n 's/^ *Candidate: *//p')
            case $have in "$want".*) suite=$s; break ;; esac
        done
    fi
    suite=${suite:-sid}
    tmp=$(mktemp -d "${TMPDIR:-/tmp}/rust-src.XXXXXX"); trap 'rm -rf "$tmp"' EXIT
    "$here/apt-suite.sh" "$suite" extract "$tmp" rust-src >&2
    lib=$(echo "$tmp"/usr/src/rustc-*/library)
    rm -rf "$dst"; mkdir -p "$dst"
    cp -a "$lib" "$dst/library.part"
    # Debian's configuration names a vendored copy that is not in the package; use the registry for std's crates.
    rm -rf "$dst/library.part/.cargo"
    basename "$(dirname "$lib")" > "$dst/version"
    mv "$dst/library.part" "$dst/library"
fi
echo "std sources: $(cat "$dst/version")" >&2
echo "$dst/library"
