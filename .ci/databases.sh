#!/usr/bin/env bash
# .ci/databases.sh [COMMAND...]     runs a command beside a server of Redis and one of PostgreSQL (default: the tests of
# their clients in tests/downstream). Both listen only on Unix sockets in a new folder. REVEILLE_REDIS and
# REVEILLE_POSTGRES have the paths; a server that is not installed has none. As root, the servers run as another user.
# What the script has started is ended with it, and the folder is removed.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
dir=$(mktemp -d "${TMPDIR:-/tmp}/databases.XXXXXX") || exit 2
pids=()
trap cleanup EXIT
trap 'exit 130' INT TERM

cleanup() {
    local pid
    # PostgreSQL ends its connections at SIGINT, and waits for them at SIGTERM.
    for pid in "${pids[@]}"; do kill -INT "$pid"; wait "$pid"; done 2> /dev/null
    rm -rf "$dir"
}

# As which user the servers run.
as=()
if [ "$(id -u)" = 0 ]; then
    user=$(getent passwd postgres > /dev/null && echo postgres || echo nobody)
    as=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --clear-groups env "HOME=$dir")
fi

# start NAME SOCKET COMMAND...: starts a server and waits until it listens.
start() {
    local name=$1 socket=$2 i
    shift 2
    "${as[@]}" "$@" > "$dir/$name.log" 2>&1 < /dev/null &
    pids+=($!)
    for ((i = 0; i < 600; i++)); do
        if python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])' "$socket" 2> /dev/null
        then return; fi
        kill -0 $! 2> /dev/null || break
        sleep 0.05
    done
    echo "FAILED  $name does not start:"; cat "$dir/$name.log"
    exit 1
}

mkdir "$dir/redis" "$dir/postgres"
chmod 755 "$dir"
if [ ${#as[@]} != 0 ]; then chown "$user" "$dir/redis" "$dir/postgres"; fi

if command -v redis-server > /dev/null; then
    export REVEILLE_REDIS=$dir/redis/socket
    start redis "$REVEILLE_REDIS" redis-server --port 0 --unixsocket "$REVEILLE_REDIS" --dir "$dir/redis" --save '' \
        --appendonly no
else
    echo "skipped: redis-server is not installed"
fi

# Debian has the server's programs in a folder of their own.
bin=$(dirname "$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2> /dev/null | tail -n 1)")
if [ -x "$bin/initdb" ]; then
    export REVEILLE_POSTGRES=$dir/postgres/.s.PGSQL.5432
    "${as[@]}" "$bin/initdb" -D "$dir/postgres/data" -U postgres -A trust --no-sync > "$dir/initdb.log" 2>&1 ||
        { echo "FAILED  initdb:"; cat "$dir/initdb.log"; exit 1; }
    start postgres "$REVEILLE_POSTGRES" "$bin/postgres" -D "$dir/postgres/data" -k "$dir/postgres" -p 5432 \
        -c listen_addresses= -c fsync=off
else
    echo "skipped: initdb of PostgreSQL is not installed"
fi

if [ $# = 0 ]; then set -- cargo test --locked --manifest-path tests/downstream/Cargo.toml --workspace --test databases; fi
"$@"
