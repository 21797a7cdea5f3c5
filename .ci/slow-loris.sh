#!/usr/bin/env bash
# .ci/slow-loris.sh [SECONDS]     1,000 slow clients of slowhttptest against the examples http and https (default: 30 s each)
# Each attack takes SECONDS. Meanwhile other clients get a page again and again. It fails if one of them is refused, cut off or
# not answered for 20 seconds, or if no attacker is ended. The limits of the server are a third of the time. See slow-loris.py.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
target=${CARGO_TARGET_DIR:-$PWD/tests/downstream/target}/release
ulimit -n "$(ulimit -Hn)"
if [ "$(ulimit -n)" != unlimited ] && [ "$(ulimit -n)" -lt 4096 ]; then echo "skipped: too few descriptors"; exit 77; fi
command -v slowhttptest > /dev/null || { echo "skipped: no slowhttptest"; exit 77; }
cargo build --release --locked --manifest-path tests/downstream/Cargo.toml -p example-http -p example-https || exit 1
rc=0
python3 "$here/slow-loris.py" "$target/http" "${1:-30}" || rc=1
python3 "$here/slow-loris.py" "$target/https" "${1:-30}" --tls || rc=1
exit $rc
