#!/usr/bin/env bash
# .ci/apps.sh [BACKEND...]     drives the examples axum, files and compat by curl, wrk, h2load and Python's websockets, on the
# named backends (default: epoll). What wrk, h2load and websockets check is left out without them. The programs are not
# optimized: the step `downstream` has built them. CI_APPS names some of the examples; CI_APPS_BYTES is the length of the
# longest file (default: 1 GiB). What the script has started is ended with it.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
target=${CARGO_TARGET_DIR:-$PWD/tests/downstream/target}
dir=$(mktemp -d "${TMPDIR:-/tmp}/apps.XXXXXX") || exit 2
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
pids=()
rc=0
cleanup() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid"; wait "$pid"; done 2> /dev/null
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

failed() { local text=$*; echo "FAILED  ${text:0:1000}"; rc=1; }

# compare WHAT GOT WANTED
compare() { if [ "$2" = "$3" ]; then echo "ok      $1"; else failed "$1: got ${2@Q}, not ${3@Q}"; fi; }

# contains WHAT GOT PART
contains() { case $2 in *"$3"*) echo "ok      $1" ;; *) failed "$1: ${3@Q} is not in ${2@Q}" ;; esac; }

# matches WHAT GOT PATTERN: an extended regular expression.
matches() { if [[ $2 =~ $3 ]]; then echo "ok      $1"; else failed "$1: ${2@Q} does not match ${3@Q}"; fi; }

# until_true COMMAND...: tries for a minute until the command succeeds.
until_true() {
    local last=$((SECONDS + 60))
    until "$@" > /dev/null 2>&1; do
        if [ $SECONDS -ge $last ]; then return 1; fi
        sleep 0.1
    done
}

# serve EXAMPLE [ARGUMENTS]: starts an example on $backend and sets `url` and `pid`.
serve() {
    local example=$1 i addr
    shift
    "$target/debug/$example" --addr 127.0.0.1:0 --backend "$backend" "$@" > "$dir/$example" 2>&1 < /dev/null &
    pid=$!
    pids+=($pid)
    for ((i = 0; i < 600; i++)); do
        addr=$(sed -n "1s/^listening on \(127\.0\.0\.1:[0-9]*\) backend=$backend\$/\1/p" "$dir/$example")
        if [ -n "$addr" ]; then url=http://$addr; return; fi
        kill -0 $pid 2> /dev/null || break
        sleep 0.1
    done
    failed "$example does not start on $backend: $(cat "$dir/$example")"
    return 1
}

get() { curl -sS --max-time 120 "$@" 2>&1; }

status() { get -o /dev/null -w '%{response_code}' "$@"; }

# has_lines FILE N: the file has at least N lines.
has_lines() { [ "$(wc -l < "$1")" -ge "$2" ]; }

# --- axum -----------------------------------------------------------------------------------------

opens() { [ "$(get "$url/open")" = "{\"open\":$1}" ]; }

# The end, by SIGTERM, while clients of every kind are at work.
end_axum() {
    local out status what="$backend axum" clients=() wrk=
    if [ -n "$has_wrk" ]; then
        timeout 60 wrk -t 1 -c 20 -d 4 --timeout 20 "$url/notes" > "$dir/wrk" 2>&1 &
        wrk=$!
    fi
    # Each is at work when its file has a line, or the server has counted it.
    get -N "$url/ticks" > "$dir/ticks" &
    clients+=($!)
    if [ -n "$python" ]; then
        timeout 120 "$python" "$here/apps-websocket.py" "ws${url#http}/websocket" end > "$dir/websocket" 2>&1 &
        clients+=($!)
    fi
    until_true opens $((${#clients[@]})) || failed "$what: not all clients are connected"
    until_true has_lines "$dir/ticks" 3 || failed "$what sends no ticks"
    get "$url/sleep/3000" > "$dir/slow1" &
    clients+=($!)
    get --http2-prior-knowledge "$url/sleep/3000" > "$dir/slow2" &
    clients+=($!)
    # The server reads both within this time. If not, they are refused or answered, and the checks below say so.
    sleep 1.5
    kill -TERM $pid
    wait $pid
    status=$?
    wait "${clients[@]}"
    compare "$what ends cleanly" $status 0
    compare "$what reports it" "$(tail -n 1 "$dir/axum")" "nothing was left"
    compare "$what answers a request by HTTP/1 before it ends" "$(cat "$dir/slow1")" "good morning"
    compare "$what answers a request by HTTP/2 before it ends" "$(cat "$dir/slow2")" "good morning"
    matches "$what ends a stream of events" "$(tail -n 5 "$dir/ticks")" '^event: tick|id: [0-9]+'
    if [ -n "$python" ]; then compare "$what closes a WebSocket" "$(cat "$dir/websocket")" "1001 the server ends"; fi
    if [ -n "$wrk" ]; then
        wait $wrk
        out=$(cat "$dir/wrk")
        matches "$what answers wrk" "$out" '[1-9][0-9]* requests in'
        matches "$what has lost no request of wrk" "$out" 'Socket errors: connect [0-9]+, read 0, write [0-9]+, timeout 0'
    fi
    if [ "$(wc -l < "$dir/axum")" != 3 ]; then failed "$what has printed: $(cat "$dir/axum")"; fi
    pids=()
}

check_axum() {
    local what="$backend axum" version client
    serve axum --grace 60 || return
    compare "$what has no notes" "$(get "$url/notes")" '[]'
    for version in http1.1 http2-prior-knowledge; do
        client=(get "--$version")
        matches "$what adds a note by $version" "$("${client[@]}" --json '{"text": "good \"night\""}' "$url/notes")" \
            '^\{"id":[12],"text":"good \\"night\\""\}$'
        compare "$what refuses what is no JSON" "$(status "--$version" --json '{"text":' "$url/notes")" 400
        compare "$what refuses another JSON" "$(status "--$version" --json '{"words": []}' "$url/notes")" 422
        compare "$what returns a note" "$("${client[@]}" "$url/notes/1")" '{"id":1,"text":"good \"night\""}'
        compare "$what knows no note 7" "$(status "--$version" "$url/notes/7")" 404
        compare "$what refuses a path" "$(status "--$version" "$url/notes/x")" 400
        compare "$what sends a stream of events" "$("${client[@]}" "$url/count/3")" $'data: 1\n\ndata: 2\n\ndata: 3'
        compare "$what sends a long stream" "$("${client[@]}" "$url/count/20000" | grep -c '^data: ')" 20000

        # A client that goes away in the middle.
        curl -sSN "--$version" --max-time 120 "$url/ticks" > "$dir/ticks" 2>&1 &
        client=$!
        until_true has_lines "$dir/ticks" 7 || failed "$what sends no ticks"
        until_true opens 1 || failed "$what counts a stream: $(get "$url/open")"
        kill $client
        wait $client 2> /dev/null
        if until_true opens 0; then echo "ok      $what drops the stream of a client that has gone"
        else failed "$what keeps the stream of a client that has gone"; fi
    done
    # Not by HTTP/2: curl 7.88 takes the end of a request whose body was not read for an error.
    compare "$what refuses another type" "$(status -d '{"text": "x"}' "$url/notes")" 415
    compare "$what refuses what is no WebSocket" "$(status "$url/websocket")" 400
    if [ -n "$python" ]; then
        compare "$what echoes through a WebSocket" \
            "$(timeout 120 "$python" "$here/apps-websocket.py" "ws${url#http}/websocket" echo 2>&1)" ok
        until_true opens 0 || failed "$what keeps a WebSocket that was closed"
    fi
    if [ -n "$has_h2load" ]; then
        for version in --h1 --h2; do
            if [ $version = --h2 ]; then version=; fi
            contains "$what answers h2load${version:+ $version}" \
                "$(timeout 120 h2load $version -n 2000 -c 20 -m 10 "$url/notes" 2>&1)" '2000 succeeded, 0 failed, 0 errored'
        done
    fi
    if [ "$(wc -l < "$dir/axum")" != 1 ]; then failed "$what has printed: $(cat "$dir/axum")"; fi
    end_axum
}

# --- all of them ----------------------------------------------------------------------------------

has_wrk=$(command -v wrk)
has_h2load=$(command -v h2load)
python=
for name in python3 /usr/bin/python3; do
    if "$name" -c 'import websockets' 2> /dev/null; then python=$name; break; fi
done
for name in "wrk:$has_wrk" "h2load:$has_h2load" "websockets:$python"; do
    if [ -z "${name#*:}" ]; then echo "not checked: what needs ${name%:*}"; fi
done
cargo build --locked --manifest-path tests/downstream/Cargo.toml --workspace --all-targets || exit 1
for backend in "${@:-epoll}"; do
    for example in ${CI_APPS:-axum}; do
        "check_$example"
    done
done
exit $rc
