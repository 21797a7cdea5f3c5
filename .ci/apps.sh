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
bytes=${CI_APPS_BYTES:-1073741824}
limit=                                          # of the descriptors of a server
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
    # The output of an earlier server has another address.
    : > "$dir/$example"
    (
        if [ -n "$limit" ]; then ulimit -S -n "$limit"; fi
        exec "$target/debug/$example" --addr 127.0.0.1:0 --backend "$backend" "$@"
    ) > "$dir/$example" 2>&1 < /dev/null &
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

# Not --json, which is not in curl before 7.82.
json=(-H 'Content-Type: application/json' --data-raw)
get() { curl -sS --max-time 600 "$@" 2>&1; }

status() { get -o /dev/null -w '%{response_code}' "$@"; }

# has_lines FILE N: the file has at least N lines.
has_lines() { [ "$(wc -l < "$1")" -ge "$2" ]; }

# --- axum -----------------------------------------------------------------------------------------

opens() { [ "$(get "$url/open")" = "{\"open\":$1}" ]; }

# end_axum [ATTEMPT]: the end, by SIGTERM, while clients of every kind are at work.
end_axum() {
    local out status what="$backend axum" clients=() wrk= attempt=${1:-1}
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
    get "$url/sleep/15000" > "$dir/slow1" &
    clients+=($!)
    get --http2-prior-knowledge "$url/sleep/15000" > "$dir/slow2" &
    clients+=($!)
    until_true opens $((${#clients[@]})) || failed "$what: not all requests are under way"
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
    if [ "$(wc -l < "$dir/axum")" != 3 ]; then failed "$what has printed: $(cat "$dir/axum")"; fi
    pids=()
    if [ -n "$wrk" ]; then
        wait $wrk
        out=$(cat "$dir/wrk")
        matches "$what answers wrk" "$out" '[1-9][0-9]* requests in'
        # After the end it cannot connect or write any more. Those are no requests.
        if [[ $out =~ (read|timeout)\ [1-9] ]]; then
            # The server leaves a connection a second for its next request. A latency of seconds says that wrk was held up.
            if [[ $out =~ Latency\ +[^\ ]+\ +[^\ ]+\ +[0-9.]+s && $attempt -lt 5 ]]; then
                echo "again: wrk was held up"
                serve axum --grace 60 && end_axum $((attempt + 1))
                return
            fi
            failed "$what has lost requests of wrk: $out"
        fi
    fi
}

check_axum() {
    local what="$backend axum" version client
    serve axum --grace 60 || return
    compare "$what has no notes" "$(get "$url/notes")" '[]'
    for version in http1.1 http2-prior-knowledge; do
        client=(get "--$version")
        matches "$what adds a note by $version" "$("${client[@]}" "${json[@]}" '{"text": "good \"night\""}' "$url/notes")" \
            '^\{"id":[12],"text":"good \\"night\\""\}$'
        compare "$what refuses what is no JSON" "$(status "--$version" "${json[@]}" '{"text":' "$url/notes")" 400
        compare "$what refuses another JSON" "$(status "--$version" "${json[@]}" '{"words": []}' "$url/notes")" 422
        compare "$what returns a note" "$("${client[@]}" "$url/notes/1")" '{"id":1,"text":"good \"night\""}'
        compare "$what knows no note 7" "$(status "--$version" "$url/notes/7")" 404
        compare "$what refuses a path" "$(status "--$version" "$url/notes/x")" 400
        compare "$what sends a stream of events" "$("${client[@]}" "$url/count/3")" $'data: 1\n\ndata: 2\n\ndata: 3'
        compare "$what sends a long stream" "$("${client[@]}" "$url/count/20000" | grep -c '^data: ')" 20000

        # A client that goes away in the middle.
        curl -sSN "--$version" --max-time 600 "$url/ticks" > "$dir/ticks" 2>&1 &
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

# --- files ----------------------------------------------------------------------------------------

# client NAME: one of apps-files.py.
client() {
    SERVER=$pid timeout 300 python3 "$here/apps-files.py" "${url##*:}" "$dir/root" "$1" 2> "$dir/client" || tail -n 3 "$dir/client"
}

make_root() {
    local i
    mkdir -p "$dir/root/folder" "$dir/root/empty" "$dir/root/.hidden" "$dir/outside"
    echo secret | tee "$dir/outside/secret.txt" > "$dir/root/.hidden/secret.txt"
    ln -s "$dir/outside" "$dir/root/link"
    ln -s "$dir/outside/secret.txt" "$dir/root/link.txt"
    ln -s folder/page.html "$dir/root/inside.html"
    ln -s loop "$dir/root/loop"
    mkfifo "$dir/root/pipe"
    echo '<p>index' > "$dir/root/folder/index.html"
    echo '<p>page' > "$dir/root/folder/page.html"
    : > "$dir/root/empty.txt"
    seq 200000 > "$dir/root/numbers.txt"
    for i in {0..9}; do echo "$i" > "$dir/root/$i.txt"; done
    for i in a.html a.css a.js a.json a.png a.jpg a.svg a.wasm a.pdf a.woff2 a.mp4 a.xml a.unknown; do echo x > "$dir/root/$i"; done
    # Bytes that differ everywhere, for a part that is sent twice or left out would not show in a file of zeros.
    seq 1000000000 | head -c "$bytes" > "$dir/root/big.bin"
    head -c $((64 << 20)) /dev/zero > "$dir/shrink.bin"
}

# The types of a dozen endings.
check_types() {
    local pair
    for pair in html:text/html css:text/css js:text/javascript json:application/json png:image/png jpg:image/jpeg \
        svg:image/svg+xml wasm:application/wasm pdf:application/pdf woff2:font/woff2 mp4:video/mp4 xml:text/xml \
        unknown:application/octet-stream; do
        compare "$what type of ${pair%%:*}" "$(get -o /dev/null -w '%{content_type}' "$url/a.${pair%%:*}")" "${pair#*:}"
    done
}

# What leads out of the root, or to no file.
check_paths() {
    local path
    for path in /../outside/secret.txt /%2e%2e/outside/secret.txt /..%2foutside/secret.txt /folder/../0.txt /./0.txt \
        //0.txt /folder//index.html /.hidden/secret.txt /%2ehidden/secret.txt /link/secret.txt /link.txt /loop /pipe /empty/ \
        /nothing /0.txt/ /0.txt/x /%00; do
        compare "$what has no $path" "$(status --path-as-is "$url$path")" 404
    done
    compare "$what follows a link inside" "$(get "$url/inside.html")" '<p>page'
    compare "$what has the page of a folder" "$(get "$url/folder/")" '<p>index'
    compare "$what redirects to a folder" "$(get -o /dev/null -w '%{response_code} %{redirect_url}' "$url/folder")" "301 $url/folder/"
    compare "$what has no page of the root" "$(status "$url/")" 404
}

check_ranges() {
    local all=$dir/root/numbers.txt length range
    length=$(stat -c %s "$all")
    for range in 0-0 0-99 100-299 $((length - 1))- 1000000-; do
        get -r "$range" "$url/numbers.txt" > "$dir/part"
        tail -c +$((${range%-*} + 1)) "$all" | if [ -n "${range#*-}" ]; then head -c $((${range#*-} - ${range%-*} + 1)); else cat; fi > "$dir/wanted"
        compare "$what range $range" "$(cmp "$dir/part" "$dir/wanted" 2>&1)" ""
    done
    compare "$what range of the end" "$(get -r -500 "$url/numbers.txt" | cmp - <(tail -c 500 "$all") 2>&1)" ""
    matches "$what says which range" "$(get -i -r 5-9 "$url/numbers.txt" | tr -d '\r')" "HTTP/1.1 206.*content-range: bytes 5-9/$length"
    matches "$what refuses a range behind the end" "$(get -i -r 9999999- "$url/numbers.txt" | tr -d '\r')" \
        "HTTP/1.1 416.*content-range: bytes \*/$length"
    compare "$what sends all for two ranges" "$(get -r 0-1,5-6 "$url/numbers.txt" | cmp - "$all" 2>&1)" ""
    head -c 700000 "$all" > "$dir/resumed"
    get -C - -o "$dir/resumed" "$url/numbers.txt"
    compare "$what resumes" "$(cmp "$dir/resumed" "$all" 2>&1)" ""
}

check_conditions() {
    local file=$dir/root/1.txt tag
    touch "$file"
    tag=$(get -I "$url/1.txt" | tr -d '\r' | sed -n 's/^etag: //p')
    compare "$what sends what is older" "$(status -z '1 Jan 2000' "$url/1.txt")" 200
    touch -d '1 Jan 2001' "$file"
    compare "$what does not send what the client has" "$(status -z '1 Jan 2002' "$url/1.txt")" 304
    compare "$what does not send what is as old" "$(status -z "$file" "$url/1.txt")" 304
    compare "$what changes the tag" "$(status -H "If-None-Match: $tag" "$url/1.txt")" 200
    tag=$(get -I "$url/1.txt" | tr -d '\r' | sed -n 's/^etag: //p')
    compare "$what knows the tag" "$(status -H "If-None-Match: \"x\", $tag" "$url/1.txt")" 304
    compare "$what refuses another tag" "$(status -H 'If-Match: "x"' "$url/1.txt")" 412
    compare "$what sends a part of the same file" "$(status -r 0-0 -H "If-Range: $tag" "$url/1.txt")" 206
    compare "$what sends all of another file" "$(status -r 0-0 -H 'If-Range: "x"' "$url/1.txt")" 200
    matches "$what HEAD" "$(get -I "$url/numbers.txt" | tr -d '\r')" "HTTP/1.1 200.*content-length: $(stat -c %s "$dir/root/numbers.txt")"
    compare "$what sends an empty file" "$(get -w '%{response_code} %{size_download}' "$url/empty.txt")" '200 0'
    compare "$what refuses a POST" "$(status -d x "$url/1.txt")" 405
}

answers_wrk() {
    timeout 60 wrk -t 1 -c 50 -d 1 --timeout 20 "$url/2.txt" > "$dir/wrk" 2>&1 && grep -q '[1-9][0-9]* requests in' "$dir/wrk"
}

check_files() {
    local what="$backend files" name
    [ -d "$dir/root" ] || make_root
    cp "$dir/shrink.bin" "$dir/root/shrink.bin"
    serve files --root "$dir/root" || return
    curl -sS --max-time 600 "$url/big.bin" 2> "$dir/curl" | cmp - "$dir/root/big.bin" > "$dir/cmp" 2>&1
    compare "$what sends $bytes bytes" "$(cat "$dir/curl" "$dir/cmp")" ""
    check_types
    check_paths
    check_ranges
    check_conditions
    if [ -n "$has_wrk" ]; then
        # Within a second a server that is held up may answer none.
        if until_true answers_wrk; then echo "ok      $what answers wrk"; else failed "$what does not answer wrk: $(cat "$dir/wrk")"; fi
    fi
    if [ "$(wc -l < "$dir/files")" != 1 ]; then failed "$what has printed: $(cat "$dir/files")"; fi
    if [ -n "$has_python" ]; then
        for name in raw shrinks slow; do compare "$what client $name" "$(client $name)" ok; done
        cat "$dir/client"
        compare "$what says that a file shrinks" "$(tail -n +2 "$dir/files")" "files: a file has become shorter while it was sent"
    fi
    kill $pid
    wait $pid 2> /dev/null
    pids=()
    if [ -z "$has_python" ]; then return; fi
    limit=40
    serve files --root "$dir/root" || return
    limit=
    compare "$what client descriptors" "$(client descriptors)" ok
    if [ "$(wc -l < "$dir/files")" != 1 ]; then failed "$what has printed: $(cat "$dir/files")"; fi
    kill $pid
    wait $pid 2> /dev/null
    pids=()
}

# --- compat ---------------------------------------------------------------------------------------

check_compat() {
    local what="$backend compat"
    matches "$what fetches by reqwest" "$(timeout 120 "$target/debug/compat" --backend "$backend" 2>&1)" \
        '^20 requests, 260000 bytes from http://127\.0\.0\.1:[0-9]+/$'
    serve files --root "$dir" || return
    seq 100000 > "$dir/numbers.txt"
    compare "$what fetches what it is told to" \
        "$(timeout 120 "$target/debug/compat" --backend "$backend" --requests 5 --url "$url/numbers.txt" 2>&1)" \
        "5 requests, $((5 * $(stat -c %s "$dir/numbers.txt"))) bytes from $url/numbers.txt"
    contains "$what says that it got no page" "$(timeout 120 "$target/debug/compat" --backend "$backend" --url "$url/no" 2>&1)" '404 Not Found'
    kill $pid
    wait $pid 2> /dev/null
    pids=()
    contains "$what says that there is no server" "$(timeout 120 "$target/debug/compat" --backend "$backend" --url http://127.0.0.1:1/ 2>&1)" "error sending request"
}

# --- all of them ----------------------------------------------------------------------------------

has_wrk=$(command -v wrk)
has_h2load=$(command -v h2load)
has_python=$(command -v python3)
python=
for name in python3 /usr/bin/python3; do
    if "$name" -c 'import websockets' 2> /dev/null; then python=$name; break; fi
done
for name in "wrk:$has_wrk" "h2load:$has_h2load" "python3:$has_python" "websockets:$python"; do
    if [ -z "${name#*:}" ]; then echo "not checked: what needs ${name%:*}"; fi
done
cargo build --locked --manifest-path tests/downstream/Cargo.toml --workspace --all-targets || exit 1
for backend in "${@:-epoll}"; do
    for example in ${CI_APPS:-axum files compat}; do
        "check_$example"
    done
done
exit $rc
