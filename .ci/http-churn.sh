#!/usr/bin/env bash
# .ci/http-churn.sh [CONNECTIONS [SECONDS [BACKEND]]]     clients that reset, stall and close one side, against the example http
# 10000 connections at a time for 120 s on epoll by default. Clients and server are two processes, each with a descriptor for
# every connection. Runs twice, so twice the seconds. It fails if a good client is not answered, if the server ends, if
# descriptors or tasks are left, or if the second run leaves more memory than the first one. See http-churn.py.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
target=${CARGO_TARGET_DIR:-$PWD/tests/downstream/target}/release
ulimit -n "$(ulimit -Hn)"
# With https, as in http.sh, so that one build serves both.
cargo build --release --locked --manifest-path tests/downstream/Cargo.toml -p example-http -p example-https || exit 1
exec python3 "$here/http-churn.py" "$target" "${1:-10000}" "${2:-120}" "${3:-epoll}"
