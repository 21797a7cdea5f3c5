#!/usr/bin/env bash
# .ci/web.sh [BACKEND...]     drives examples of the web by clients of other projects, on the named backends (default: epoll)
#     websocket       websocket-client.py: the WebSockets of Python
#     proxy           proxy-client.py; wrk, curl and h2load through it, to the example http
# With CI_WEB_PROGRAMS, the examples in that folder; otherwise they are built with --release. Each download and upload of curl
# has CI_WEB_BYTES (default: 64 MiB), and wrk takes CI_WEB_SECONDS (default: 2). The servers listen on free ports of 127.0.0.1.
# What the script has started is ended with it. A client that is not installed is left out, and the output says so.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
bytes=${CI_WEB_BYTES:-67108864} seconds=${CI_WEB_SECONDS:-2}
dir=$(mktemp -d "${TMPDIR:-/tmp}/web.XXXXXX") || exit 2
pids=()
rc=0
# end: ends the processes that `start` has started, and waits for them.
end() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid"; wait "$pid"; done 2> /dev/null
    pids=()
}
trap 'end; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM

programs=${CI_WEB_PROGRAMS:-}
if [ -z "$programs" ]; then
    programs=${CARGO_TARGET_DIR:-$PWD/tests/downstream/target}/release
    for example in http proxy websocket; do
        cargo build --release --locked --manifest-path examples/$example/Cargo.toml || exit 1
    done
fi

# start EXAMPLE [ARGUMENTS]: starts an example and sets `addr`. Its output goes to $dir/EXAMPLE.
start() {
    local example=$1 pid i
    shift
    : > "$dir/$example"
    "$programs/$example" --addr 127.0.0.1:0 "$@" > "$dir/$example" 2>&1 < /dev/null &
    pid=$!
    pids+=($pid)
    for ((i = 0; i < 1200; i++)); do
        addr=$(sed -n 's/^listening on \(127\.0\.0\.1:[0-9]*\) .*/\1/p' "$dir/$example")
        if [ -n "$addr" ]; then return; fi
        kill -0 $pid 2> /dev/null || break
        sleep 0.05
    done
    echo "FAILED  $example does not start:"; cat "$dir/$example"
    exit 1
}

failed() { echo "FAILED  $*"; rc=1; }

# compare WHAT GOT WANTED
compare() { if [ "$2" = "$3" ]; then echo "ok      $1"; else failed "$1: $2, not $3"; fi; }

# loaded WHAT COMMAND...: the output of wrk or h2load reports no error.
loaded() {
    local what=$1
    shift
    if ! "$@" > "$dir/load" 2>&1 || grep -qE 'Socket errors|Non-2xx|[1-9][0-9]* (failed|errored|timeout)' "$dir/load" ||
        ! grep -qE 'Requests/sec|, 0 failed, 0 errored, 0 timeout' "$dir/load"; then
        failed "$what:"; cat "$dir/load"; return
    fi
    echo "ok      $what $(sed -nE 's/^Requests.sec: *(.*)/\1 requests a second/p; s/^finished in .*, (.*) req.s,.*/\1 requests a second/p' "$dir/load")"
}

# through_proxy BACKEND: clients of HTTP/1 and HTTP/2, a proxy, and the example http.
through_proxy() {
    local url version curl got to
    start http --backend "$1"
    to=$addr
    start proxy --backend "$1" --to "$to"
    url=http://$addr/
    if command -v curl > /dev/null && curl --version | grep -q HTTP2; then
        for version in http1.1 http2-prior-knowledge; do
            curl=(curl -sS --noproxy '*' --max-time 240 "--$version")
            got=$("${curl[@]}" -o /dev/null -w '%{size_download} %{response_code}' "$url$bytes")
            compare "proxy $1 $version downloads $bytes bytes" "$got" "$bytes 200"
            got=$(head -c "$bytes" /dev/zero | "${curl[@]}" -X POST -T - "$url")
            compare "proxy $1 $version uploads $bytes bytes" "$got" "$bytes"
            got=$("${curl[@]}" "${url}1000000" | cmp - "$dir/million" && echo same)
            compare "proxy $1 $version downloads what was sent" "$got" same
        done
    else
        echo "skipped: no curl with HTTP/2"
    fi
    if command -v wrk > /dev/null; then
        loaded "proxy $1 wrk" timeout 120 wrk -t 2 -c 50 -d "${seconds}s" --timeout 30 "${url}100"
    else
        echo "skipped: no wrk"
    fi
    if command -v h2load > /dev/null; then
        loaded "proxy $1 h2load" timeout 120 h2load -n 2000 -c 10 -m 10 "${url}100"
    else
        echo "skipped: no h2load"
    fi
    end
    compare "proxy $1 prints no more than it should" "$(tail -n +2 "$dir/proxy")" "SIGTERM: ending"
}

head -c 1000000 /dev/zero | tr '\0' x > "$dir/million"
# A python3 that has the package websockets: Debian's, where python3 is another one.
python=
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import websockets' 2> /dev/null; then python=$candidate; break; fi
done
for backend in "${@:-epoll}"; do
    if [ -n "$python" ]; then
        "$python" "$here/websocket-client.py" "$programs/websocket" "$backend" || rc=1
    else
        echo "skipped: no python3 with the package websockets, so the example websocket is not checked"
    fi
    if command -v python3 > /dev/null; then
        python3 "$here/proxy-client.py" "$programs/proxy" "$backend" || rc=1
    else
        echo "skipped: no python3, so the example proxy is not checked by proxy-client.py"
    fi
    through_proxy "$backend"
done
exit $rc
