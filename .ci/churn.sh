#!/usr/bin/env bash
# .ci/churn.sh [CONNECTIONS [SECONDS [BACKEND]]]     thousands of connections with random cancels: 10000 for 60 s on epoll by default
# Server and clients are two processes, each with a descriptor for every connection. Runs twice, so twice the seconds. It
# fails if descriptors or tasks are left, and prints the memory before, at the height, and after.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
connections=${1:-10000} seconds=${2:-60} backend=${3:-epoll}
# A process needs a few descriptors more.
ulimit -n $((connections + 1000)) 2> /dev/null || ulimit -n "$(ulimit -Hn)"
# As in soak.sh, so that one build serves both.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
REVEILLE_CHURN=$connections,$seconds REVEILLE_BACKEND=$backend exec cargo test --release --all-features --test churn -- --nocapture
