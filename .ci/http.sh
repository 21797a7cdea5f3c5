#!/usr/bin/env bash
# .ci/http.sh [BACKEND...]     drives the examples http and https, on the named backends (default: epoll)
#     curl            HTTP/1 and HTTP/2, each with a download and an upload of CI_HTTP_BYTES (default: 1 GiB; a sixteenth of
#                     it over TLS), whose bytes are counted, and a download of 1 MB that is compared byte for byte
#     openssl         the handshake: TLS 1.3, the protocol that ALPN chooses, a certificate that curl trusts
#     http-limits.py  limits, and the end of the server
#     wrk, h2load     load, in the middle of which the server gets SIGTERM: no request is lost
# Without wrk or h2load it skips that part. What the script has started is ended with it.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
bytes=${CI_HTTP_BYTES:-1073741824}
target=${CARGO_TARGET_DIR:-$PWD/tests/downstream/target}/release
dir=$(mktemp -d "${TMPDIR:-/tmp}/http.XXXXXX") || exit 2
server=
cleanup() { if [ -n "$server" ]; then kill -KILL "$server" 2> /dev/null; wait "$server" 2> /dev/null; fi; rm -rf "$dir"; }
trap cleanup EXIT
trap 'exit 130' INT TERM

cargo build --release --locked --manifest-path tests/downstream/Cargo.toml -p example-http -p example-https || exit 1
head -c 1000000 /dev/zero | tr '\0' x > "$dir/million"

# start PROGRAM BACKEND [FLAGS]: starts a server and sets `server` and `addr`.
start() {
    local i
    : > "$dir/server"
    "$target/$1" --addr 127.0.0.1:0 --backend "$2" "${@:3}" > "$dir/server" 2> "$dir/errors" &
    server=$!
    for ((i = 0; i < 600; i++)); do
        addr=$(sed -n 's/^listening on \(127\.0\.0\.1:[0-9]*\) .*/\1/p' "$dir/server")
        if [ -n "$addr" ]; then return; fi
        kill -0 $server 2> /dev/null || break
        sleep 0.1
    done
    echo "FAILED  $1 does not start on $2:"; cat "$dir/server" "$dir/errors"; rc=1; return 1
}

# finish WHAT: sends SIGTERM. The server must end cleanly: no connection is cut off, nothing is printed as an error. Sets `took`,
# the microseconds until it has ended.
finish() {
    local status begin=${EPOCHREALTIME/[.,]/}
    kill -TERM $server
    wait $server
    status=$?
    server=
    took=$((${EPOCHREALTIME/[.,]/} - begin))
    compare "$1 ends cleanly" "$status $(tail -n 1 "$dir/server") $(cat "$dir/errors")" "0 nothing was left "
}

# compare WHAT GOT WANTED
compare() {
    if [ "$2" = "$3" ]; then echo "ok      $1"; return; fi
    echo "FAILED  $1: $2, not $3"; rc=1
}

# transfers PROGRAM BACKEND SCHEME BYTES
transfers() {
    local what got version curl url
    start "$1" "$2" || return
    url=$3://$addr/
    for version in http1.1 http2; do
        what="$2 $1 $version"
        curl=(curl -sS --noproxy '*' --max-time 300 --insecure "--$version")
        if [ "$version $3" = "http2 http" ]; then curl+=(--http2-prior-knowledge); fi
        compare "$what says hello" "$("${curl[@]}" "$url")" hello
        got=$("${curl[@]}" -o /dev/null -w '%{size_download} %{response_code}' "$url$4")
        compare "$what downloads $4 bytes" "$got" "$4 200"
        got=$(head -c "$4" /dev/zero | "${curl[@]}" -X POST -T - "$url")
        compare "$what uploads $4 bytes" "$got" "$4"
        got=$("${curl[@]}" "${url}1000000" | cmp - "$dir/million" && echo same)
        compare "$what downloads what was sent" "$got" same
    done
    finish "$2 $1"
}

# handshakes BACKEND
handshakes() {
    local protocol out
    start https "$1" --certificate "$dir/der" || return
    openssl x509 -inform DER -in "$dir/der" -out "$dir/pem"
    out=$(curl -sS --noproxy '*' --max-time 60 --cacert "$dir/pem" --resolve "localhost:${addr##*:}:127.0.0.1" "https://localhost:${addr##*:}/")
    compare "$1 https is trusted by its certificate" "$out" hello
    for protocol in h2 http/1.1; do
        out=$(timeout 60 openssl s_client -connect "$addr" -alpn "$protocol" < /dev/null 2>&1 | grep -aoE 'ALPN protocol: .*|^New, TLSv1.3' | sort | paste -sd ' ')
        compare "$1 https chooses $protocol" "$out" "ALPN protocol: $protocol New, TLSv1.3"
    done
    finish "$1 https"
}

# A client that has no request under way at SIGTERM has two seconds for its next one: LAST_CALL in examples/http/src/watch.rs. If
# it was held up for longer, it may find its connection closed. Then the check shows nothing and is made again.
# repeated COMMAND...: until it returns another status than 75, at most ten times.
repeated() {
    local i status
    for i in {1..10}; do
        "$@"
        status=$?
        if [ $status != 75 ]; then return; fi
        echo "again: the client was held up"
    done
    echo "FAILED  $*: no end took less than two seconds"; rc=1
}

# loaded CONNECTIONS: waits until the server has so many connections and has answered ten times as many requests.
loaded() {
    local i
    for ((i = 0; i < 600; i++)); do
        kill -USR1 $server
        sleep 0.1
        if tail -n 1 "$dir/server" | awk -F '[= ]' -v n="$1" '$1 == "connections" && $2 == n && $6 >= 10 * n { found = 1 } END { exit !found }'; then return; fi
    done
    echo "FAILED  the load does not begin: $(tail -n 1 "$dir/server")"; cat "$dir/client"; rc=1
}

# wrk_loses_nothing PROGRAM BACKEND SCHEME
# When the server ends, wrk has a response on every connection that it had made. It then tries to connect again, and counts
# the refusals as errors of its first write. A connection that is reset would be an error of a read.
wrk_loses_nothing() {
    local out client
    start "$1" "$2" --grace 60 || return
    # Not by `timeout`: wrk prints its counts when it gets SIGINT, which a background process of a script ignores otherwise.
    setsid python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])' \
        wrk -t 1 -c 50 -d 60 --timeout 20 "$3://$addr/" > "$dir/client" 2>&1 &
    client=$!
    loaded 50
    finish "$2 $1 under wrk"
    # It may not have read the last responses yet.
    sleep 1
    kill -INT $client
    wait $client
    out=$(cat "$dir/client")
    # Without an error it prints no line of them.
    if [[ $out =~ [1-9][0-9]*' requests in' ]] &&
        [[ $out != *'Socket errors'* || $out =~ 'Socket errors: connect '[0-9]+', read 0, write '[0-9]+', timeout 0' ]]; then
        echo "ok      $2 $1: wrk has lost no request"
    elif [ $took -ge 1900000 ]; then
        return 75
    else
        echo "FAILED  $2 $1: wrk has lost requests:"; echo "$out"; rc=1
    fi
}

# h2load_loses_nothing PROGRAM BACKEND SCHEME
# Its connections end with a GOAWAY; each request that the server has read has a response. Then nothing more can be sent, and
# h2load ends. Requests that it has made but not sent when the GOAWAY comes count as started, so that count says nothing.
h2load_loses_nothing() {
    local served client
    start "$1" "$2" --grace 60 || return
    timeout 120 h2load -t 1 -c 20 -m 10 -n 1000000000 "$3://$addr/" > "$dir/client" 2>&1 &
    client=$!
    loaded 20
    finish "$2 $1 under h2load"
    wait $client
    served=$(sed -n "s/.* requests=\([0-9]*\) .*/\1/p" "$dir/server" | tail -n 1)
    if [ "${served:-0}" -gt 0 ] && grep -q " done, $served succeeded, .* 0 timeout" "$dir/client"; then
        echo "ok      $2 $1: h2load has lost none of its requests"
    elif [ $took -ge 1900000 ]; then
        return 75
    else
        echo "FAILED  $2 $1: the server has answered $served requests, h2load says:"; grep -v -e '^Process Request' -e '^progress' "$dir/client"; rc=1
    fi
}

rc=0
backends=("${@:-epoll}")
# Clients that wait, so they run beside each other and the rest.
limits=()
for backend in "${backends[@]}"; do
    python3 "$here/http-limits.py" "$target/http" "$backend" > "$dir/limits-$backend" 2>&1 &
    limits+=($!)
done
python3 "$here/http-limits.py" "$target/https" "${backends[0]}" --tls > "$dir/limits-https" 2>&1 &
limits+=($!)
handshakes "${backends[0]}"
for backend in "${backends[@]}"; do
    transfers http "$backend" http "$bytes"
    transfers https "$backend" https $((bytes / 16))
done
for pid in "${limits[@]}"; do wait "$pid" || rc=1; done
cat "$dir"/limits-*
for backend in "${backends[@]}"; do
    if command -v wrk > /dev/null; then
        repeated wrk_loses_nothing http "$backend" http
        if [ "$backend" = "${backends[0]}" ]; then repeated wrk_loses_nothing https "$backend" https; fi
    else
        echo "skipped: no wrk"
    fi
    if command -v h2load > /dev/null; then
        repeated h2load_loses_nothing http "$backend" http
        if [ "$backend" = "${backends[0]}" ]; then repeated h2load_loses_nothing https "$backend" https; fi
    else
        echo "skipped: no h2load"
    fi
done
exit $rc
