#!/usr/bin/env bash
# .ci/http.sh [BACKEND...]     drives the example http by curl, on the named backends (default: epoll)
# HTTP/1 and HTTP/2, each with a download and an upload of CI_HTTP_BYTES (default: 1 GiB), whose bytes are counted, and a
# download of 1 MB that is compared byte for byte. The server is ended with the script.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
bytes=${CI_HTTP_BYTES:-1073741824}
target=${CARGO_TARGET_DIR:-$PWD/tests/downstream/target}
dir=$(mktemp -d "${TMPDIR:-/tmp}/http.XXXXXX") || exit 2
server=
cleanup() { if [ -n "$server" ]; then kill "$server" 2> /dev/null; wait "$server" 2> /dev/null; fi; rm -rf "$dir"; }
trap cleanup EXIT
trap 'exit 130' INT TERM

cargo build --release --locked --manifest-path examples/http/Cargo.toml || exit 1
head -c 1000000 /dev/zero | tr '\0' x > "$dir/million"

# Starts the server on backend $1 and sets `url`.
start() {
    "$target/release/http" --addr 127.0.0.1:0 --backend "$1" > "$dir/server" 2>&1 &
    server=$!
    local i addr
    for ((i = 0; i < 600; i++)); do
        addr=$(sed -n 's/^listening on \(127\.0\.0\.1:[0-9]*\) .*/\1/p' "$dir/server")
        if [ -n "$addr" ]; then url=http://$addr/; return; fi
        kill -0 $server 2> /dev/null || break
        sleep 0.1
    done
    echo "FAILED  the server does not start on $1:"; cat "$dir/server"; return 1
}

# compare WHAT GOT WANTED
compare() {
    if [ "$2" = "$3" ]; then echo "ok      $1"; return; fi
    echo "FAILED  $1: $2, not $3"; rc=1
}

rc=0
for backend in "${@:-epoll}"; do
    start "$backend" || { rc=1; continue; }
    for version in http1.1 http2-prior-knowledge; do
        what="$backend $version"
        curl=(curl -sS --noproxy '*' --max-time 120 "--$version")
        got=$("${curl[@]}" -o /dev/null -w '%{size_download} %{response_code}' "$url$bytes")
        compare "$what downloads $bytes bytes" "$got" "$bytes 200"
        got=$(head -c "$bytes" /dev/zero | "${curl[@]}" -X POST -T - "$url")
        compare "$what uploads $bytes bytes" "$got" "$bytes"
        got=$("${curl[@]}" "${url}1000000" | cmp - "$dir/million" && echo same)
        compare "$what downloads what was sent" "$got" same
    done
    kill -0 $server 2> /dev/null || { echo "FAILED  the server has ended on $backend"; rc=1; }
    kill $server; wait $server 2> /dev/null
    if [ "$(wc -l < "$dir/server")" != 1 ]; then echo "FAILED  the server has printed:"; cat "$dir/server"; rc=1; fi
    server=
done
exit $rc
