#!/usr/bin/env bash
# .ci/readme-http.sh     compiles the HTTP server in README.md as it is printed there, and loads it by wrk
# The program is the block of Rust in README.md that names hyper, its Cargo.toml the dependencies in the block of TOML that
# does; only the path of reveille is changed. The versions are those of tests/downstream, so its downloads serve here.
# It listens on the port that is printed. If another program has the port, it is only compiled.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
root=$PWD
command -v wrk > /dev/null || { echo "skipped: no wrk"; exit 77; }
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/tests/downstream/target}
dir=$(mktemp -d "${TMPDIR:-/tmp}/readme-http.XXXXXX") || exit 2
server=
cleanup() { if [ -n "$server" ]; then kill "$server" 2> /dev/null; wait "$server" 2> /dev/null; fi; rm -rf "$dir"; }
trap cleanup EXIT
trap 'exit 130' INT TERM

# block LANGUAGE: the first fenced block of README.md in that language that names hyper.
block() {
    awk -v language="$1" '
        /^```/ { if (fenced && text ~ /hyper/) { printf "%s", text; exit }
                 fenced = !fenced && $0 ~ "^```" language "([,]|$)"; text = ""; next }
        fenced { text = text $0 "\n" }
    ' README.md
}

mkdir "$dir/src"
block rust > "$dir/src/main.rs"
{
    printf '[package]\nname = "readme-http"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n'
    block toml | sed "s|path = \"../reveille\"|path = \"$root\"|"
    printf '[lints.rust]\nwarnings = "deny"\n'
} > "$dir/Cargo.toml"
cp tests/downstream/Cargo.lock "$dir"
lines=$(wc -l < "$dir/src/main.rs")
if [ "$lines" -lt 10 ] || [ "$lines" -ge 25 ]; then echo "FAILED  the server in README.md has $lines lines"; exit 1; fi
cargo build --manifest-path "$dir/Cargo.toml" || { echo "FAILED  it does not compile"; exit 1; }
echo "ok      the server in README.md compiles: $lines lines"

addr=$(sed -n 's/.*bind("\([0-9.:]*\)").*/\1/p' "$dir/src/main.rs")
is_open() { (exec 3<> "/dev/tcp/${addr%:*}/${addr#*:}") 2> /dev/null; }
if is_open; then echo "skipped: another program listens on $addr"; exit 77; fi
"$CARGO_TARGET_DIR/debug/readme-http" &
server=$!
for ((i = 0; i < 600; i++)); do
    if is_open; then break; fi
    kill -0 $server 2> /dev/null || { server=; echo "FAILED  it has ended"; exit 1; }
    sleep 0.1
done
# Within two seconds a server that is held up may answer none.
for seconds in 2 10 30; do
    timeout 90 wrk -t 1 -c 50 -d $seconds --timeout 30 "http://$addr/" > "$dir/wrk" 2>&1
    cat "$dir/wrk"
    if ! grep -q '^ *0 requests in' "$dir/wrk"; then break; fi
done
if ! grep -qE '[1-9][0-9]* requests in' "$dir/wrk" || grep -qE 'Socket errors|Non-2xx' "$dir/wrk"; then
    echo "FAILED  wrk has errors"; exit 1
fi
kill -0 $server || { echo "FAILED  it has ended under load"; exit 1; }
echo "ok      the server in README.md serves wrk"
