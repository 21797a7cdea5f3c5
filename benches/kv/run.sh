#!/usr/bin/env bash
# benches/kv/run.sh [REQUESTS] [ROUNDS]     the example kv beside redis-server, both driven by redis-benchmark
# Question: how many commands a second does a plain server on this runtime answer, beside one of the fastest in C?
# Prints a table: commands a second and CPU time of the server for each, the medians of ROUNDS (5) rounds of REQUESTS
# (500,000) commands. 50 connections; 1 or 16 commands on the way in each; values of 3 bytes; 100,000 keys.
# The servers take turns. Both run on core 0 and redis-benchmark on core 1, so use a quiet machine with two cores: it takes
# 5 minutes there, and 2 with 200,000 commands.
# Needs redis-server and redis-benchmark (Debian: redis-server, redis-tools).
set -eu
cd "$(dirname "$0")/../.."
requests=${1:-500000} rounds=${2:-5}
target=${CARGO_TARGET_DIR:-$PWD/target}
dir=$(mktemp -d "${TMPDIR:-/tmp}/kv.XXXXXX")
pids=()
trap 'if [ ${#pids[@]} != 0 ]; then kill "${pids[@]}" 2> /dev/null || true; wait; fi; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
# pin CORE COMMAND...: replaces a subshell by the command.
pin() { if [ "$(nproc)" -gt 1 ]; then exec taskset -c "$@"; else exec "${@:2}"; fi; }

# listens PID FILE TEXT: waits until the server has written the text; fails if it has ended.
listens() {
    local i
    for ((i = 0; i < 200; i++)); do
        if grep -qs "$3" "$2"; then return; fi
        kill -0 "$1" 2> /dev/null || return 1
        sleep 0.05
    done
    return 1
}

cargo build --release --example kv
pin 0 "$target/release/examples/kv" --addr 127.0.0.1:0 > "$dir/kv" &
kv=$!
pids+=($kv)
listens $kv "$dir/kv" '^listening on' || { cat "$dir/kv"; exit 1; }
kv_port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$dir/kv")

# redis-server cannot choose a free port itself.
for attempt in 1 2 3 4 5; do
    redis_port=$((20000 + RANDOM % 10000))
    pin 0 redis-server --bind 127.0.0.1 --port $redis_port --save '' --appendonly no --dir "$dir" > "$dir/redis" &
    redis=$!
    pids+=($redis)
    if listens $redis "$dir/redis" 'Ready to accept connections'; then break; fi
    [ $attempt != 5 ] || { cat "$dir/redis"; exit 1; }
done

# The CPU time of a process, in milliseconds: the nanoseconds of its threads, because a tick is too long for few commands.
cpu() { awk '{ all += $1 } END { printf "%.3f\n", all / 1000000 }' "/proc/$1/task/"*/schedstat; }

# measure NAME PID PORT TEST PIPELINE: appends "NAME TEST PIPELINE commands-a-second CPU-microseconds" to the figures.
measure() {
    local before after rate
    before=$(cpu "$2")
    rate=$(pin 1 redis-benchmark -h 127.0.0.1 -p "$3" -t "$4" -P "$5" -n "$requests" -c 50 -r 100000 --csv |
        tail -n 1 | cut -d '"' -f 4)
    after=$(cpu "$2")
    awk -v b="$before" -v a="$after" -v n="$requests" -v row="$1 $4 $5 $rate" \
        'BEGIN { printf "%s %.2f\n", row, (a - b) * 1000 / n }' >> "$dir/figures"
}

# median NAME TEST PIPELINE FIELD
median() {
    awk -v a="$1" -v b="$2" -v c="$3" -v f="$4" '$1 == a && $2 == b && $3 == c { print $f }' "$dir/figures" |
        sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

tests=(ping_mbulk set get incr) pipelines=(1 16)
for ((round = 0; round < rounds; round++)); do
    for test in "${tests[@]}"; do
        for pipeline in "${pipelines[@]}"; do
            measure kv $kv "$kv_port" "$test" "$pipeline"
            measure redis $redis $redis_port "$test" "$pipeline"
        done
    done
done

redis-server --version | cut -d ' ' -f 1-3
echo "| command | on the way | kv, commands/s | redis, commands/s | kv, CPU µs each | redis, CPU µs each |"
echo "|---|---|---|---|---|---|"
for test in "${tests[@]}"; do
    for pipeline in "${pipelines[@]}"; do
        printf '| %s | %s | %.0f | %.0f | %s | %s |\n' "$test" "$pipeline" \
            "$(median kv $test $pipeline 4)" "$(median redis $test $pipeline 4)" \
            "$(median kv $test $pipeline 5)" "$(median redis $test $pipeline 5)"
    done
done
