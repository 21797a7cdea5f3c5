#!/usr/bin/env bash
# .ci/downstream.sh [BACKEND...]   every test program of tests/downstream on each of the named backends (default: all five)
# .ci/downstream.sh drawn          each program on one backend, which the commit and the name of the program draw; a tree
#                                  without git uses epoll
# The programs are built once. Not run are the snippets of docs/works-with.md, by `cargo test --doc`. Prints a line for each
# program, and the whole output of one that fails.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
root=$PWD
all=(epoll poll select rtsig io-uring)
dir=$(mktemp -d "${TMPDIR:-/tmp}/downstream.XXXXXX") || exit 2
trap 'rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
rc=0

# Prints the source and the executable of each test program.
programs() {
    set -o pipefail
    cargo test --locked --workspace --tests --no-run --message-format json --manifest-path tests/downstream/Cargo.toml |
        sed -n 's/.*"src_path":"\([^"]*\)".*"profile":{[^}]*"test":true}.*"executable":"\([^"]*\)".*/\1 \2/p'
}

# draw NAME: prints the backend of a program for this commit.
draw() {
    if [ -z "$commit" ]; then echo epoll; return; fi
    local sum
    sum=$(printf '%s %s' "$commit" "$1" | sha256sum)
    echo "${all[$((16#${sum:0:6} % ${#all[@]}))]}"
}

# run BACKEND SOURCE EXECUTABLE
run() {
    local backend=$1 name=${2#"$root/"} folder=$2 result
    # As cargo does: in the folder of the package.
    until [ -e "$folder/Cargo.toml" ]; do folder=$(dirname "$folder"); done
    (cd "$folder" && REVEILLE_BACKEND=$backend timeout --foreground -k 5 600 "$3") > "$dir/out" 2>&1 < /dev/null
    local status=$?
    result=$(sed -n 's/^test result: ok\. \([0-9]* passed\).*; \([0-9]* ignored\).*finished in \(.*\)/\1, \2, \3/p' "$dir/out")
    if [ $status = 0 ] && [ -n "$result" ]; then
        printf 'ok      %-8s %s: %s\n' "$backend" "$name" "$result"
        tests=$((tests + ${result%% *}))
    else
        echo "FAILED  $backend $name, with status $status:"
        cat "$dir/out"
        faults=$((faults + 1)) rc=1
    fi
}

# run_all NAME: runs all programs, on the backend `NAME` or, if that is `drawn`, on those that are drawn.
run_all() {
    local source executable backend tests=0 count=0 faults=0
    while read -r source executable; do
        backend=$1
        if [ "$backend" = drawn ]; then backend=$(draw "${source#"$root/"}"); fi
        count=$((count + 1))
        run "$backend" "$source" "$executable"
    done < "$dir/programs"
    echo "=== $1: $count programs, $tests tests passed, $faults programs failed"
}

commit=$(git rev-parse HEAD 2> /dev/null)
if ! (programs) > "$dir/programs" || [ ! -s "$dir/programs" ]; then echo "FAILED  the programs are not built"; exit 1; fi
for backend in "${@:-${all[@]}}"; do run_all "$backend"; done
exit $rc
