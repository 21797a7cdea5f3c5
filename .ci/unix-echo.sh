#!/usr/bin/env bash
# unix-echo.sh BACKEND...: socat talks to the example unix_echo, on each backend: the greeting, eight clients at once
# with a megabyte each, and a new server on the file that the first has left behind. Needs socat.
set -u
cd "$(dirname "$0")/.." || exit 2
cargo build --release --example unix_echo || exit 1
server=${CARGO_TARGET_DIR:-target}/release/examples/unix_echo
dir=$(mktemp -d)
pid=
trap 'if [ -n "$pid" ]; then kill "$pid"; fi; rm -rf "$dir"' EXIT
path=$dir/socket

# Starts the server in the background, and waits for its first line.
start() {
    : > "$dir/log"
    REVEILLE_BACKEND=$1 "$server" --addr "$path" > "$dir/log" &
    pid=$!
    local i
    for i in $(seq 600); do
        [ "$(head -n 1 "$dir/log")" = "listening on $path" ] && return
        kill -0 "$pid" || break
        sleep 0.1
    done
    echo "FAILED  the server does not listen"
    return 1
}

# Stops the server, and waits until nothing listens: the kernel closes the files that an io_uring holds a moment after
# its process has ended, and the next server would take the file for one in use.
stop() {
    kill "$pid"
    wait "$pid"
    pid=
    local i
    for i in $(seq 600); do
        socat -u OPEN:/dev/null "UNIX-CONNECT:$path" 2> /dev/null || return 0
        sleep 0.1
    done
    echo "FAILED  the server is gone, and its socket still accepts"
    return 1
}

# talk NAME: sends the data. All of it comes back, behind the greeting.
talk() {
    timeout -k 5 60 socat -t 60 - "UNIX-CONNECT:$path" < "$dir/data" > "$dir/back-$1" || return 1
    head -n 1 "$dir/back-$1" | grep -q "^hello, process [0-9]* of user $(id -u)$" || return 1
    tail -n +2 "$dir/back-$1" | cmp - "$dir/data"
}

clients() {
    local client talks=() rc=0
    for client in 1 2 3 4 5 6 7 8; do talk "$client" & talks+=($!); done
    for client in "${talks[@]}"; do wait "$client" || rc=1; done
    return $rc
}

head -c 1048576 /dev/urandom > "$dir/data"
rc=0
for backend in "$@"; do
    # The second server finds the file of the first.
    if start "$backend" && clients && stop && [ -S "$path" ] && start "$backend" && talk again; then
        echo "ok      unix_echo on $backend: socat read back all that it sent"
    else
        echo "FAILED  unix_echo on $backend"
        rc=1
    fi
    [ -z "$pid" ] || stop
done
exit $rc
