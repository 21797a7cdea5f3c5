#!/usr/bin/env bash
# .ci/web.sh [BACKEND...]     drives examples of the web by clients of other projects, on the named backends (default: epoll)
#     websocket       websocket-client.py
# With CI_WEB_PROGRAMS, the examples in that folder; otherwise they are built with --release. The servers listen on free ports
# of 127.0.0.1. What the script has started is ended with it.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
backends=("${@:-epoll}")
rc=0

programs=${CI_WEB_PROGRAMS:-}
if [ -z "$programs" ]; then
    programs=${CARGO_TARGET_DIR:-$PWD/tests/downstream/target}/release
    cargo build --release --locked --manifest-path examples/websocket/Cargo.toml || exit 1
fi

# A python3 that has the package websockets: Debian's, where python3 is another one.
python=
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import websockets' 2> /dev/null; then python=$candidate; break; fi
done
if [ -n "$python" ]; then
    "$python" "$here/websocket-client.py" "$programs/websocket" "${backends[@]}" || rc=1
else
    echo "skipped: no python3 with the package websockets, so the example websocket is not checked"
fi
exit $rc
