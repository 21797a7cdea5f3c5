#!/usr/bin/env bash
# .ci/browser.sh [BACKEND...]     opens the page of the example websocket in Chromium, on the named backends (default: epoll)
# Two tabs type, read, load the page again, and see the server end. Not a step of `run`: it needs a browser. Ends with status
# 77 without one, or without a python3 that has the package websockets (Debian: chromium, python3-websockets).
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
browser=
for candidate in chromium chromium-browser google-chrome; do
    if command -v "$candidate" > /dev/null; then browser=$candidate; break; fi
done
if [ -z "$browser" ]; then echo "skipped: no chromium on this machine"; exit 77; fi
python=
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import websockets' 2> /dev/null; then python=$candidate; break; fi
done
if [ -z "$python" ]; then echo "skipped: no python3 with the package websockets"; exit 77; fi
cargo build --release --locked --manifest-path examples/websocket/Cargo.toml || exit 1
programs=${CARGO_TARGET_DIR:-$PWD/tests/downstream/target}/release
exec "$python" "$here/browser-client.py" "$browser" "$programs/websocket" "${@:-epoll}"
