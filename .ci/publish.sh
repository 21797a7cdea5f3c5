#!/usr/bin/env bash
# .ci/publish.sh [REVISION]     what to look at before a release
# The packed file builds alone, with its tests and examples, and so does its documentation as docs.rs makes it. The
# licenses and sources of all dependencies are allowed by deny.toml, and RustSec has no advisory on them (its database comes
# from GitHub). The public API breaks nothing since REVISION, or since the last release. Installs cargo-deny and
# cargo-semver-checks under CI_CACHE if they are missing: some minutes each.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
revision=${1:-}
export CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
cache=${CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/reveille-ci}
export PATH=$PATH:$cache/tools/bin
version=$(sed -n 's/^version *= *"\(.*\)"/\1/p' Cargo.toml | head -n 1)
rc=0

# step NAME COMMAND...
step() {
    local name=$1
    shift
    echo "=== $name"
    if "$@"; then echo "ok      $name"; else echo "FAILED  $name"; rc=1; fi
}

# tool NAME: the subcommand of cargo, installed if it is missing.
tool() {
    cargo "$1" --version > /dev/null 2>&1 || cargo install --locked --root "$cache/tools" "cargo-$1"
}

packed() (
    cd "$CARGO_TARGET_DIR/package/reveille-$version" || exit 1
    "$@"
)

dependencies() {
    tool deny || return 1
    cargo deny --all-features --config .ci/deny.toml check --hide-inclusion-graph "$@"
}

api() {
    tool semver-checks || return 1
    if [ -n "$revision" ]; then
        cargo semver-checks --all-features --baseline-rev "$revision"
    elif cargo info --registry crates-io reveille > /dev/null 2>&1; then
        cargo semver-checks --all-features
    else
        echo "there is no release yet; name a revision to compare with"
    fi
}

step package cargo package --all-features
step "the packed file alone" packed cargo check --all-features --all-targets --target-dir "$CARGO_TARGET_DIR/ci-package"
export RUSTDOCFLAGS="--cfg docsrs -Dwarnings"
step "documentation" packed cargo +nightly doc --no-deps --all-features --target-dir "$CARGO_TARGET_DIR/ci-package"
unset RUSTDOCFLAGS
step "licenses and sources" dependencies bans licenses sources
step "advisories" dependencies advisories
step "public API" api
exit $rc
