#!/usr/bin/env bash
# .ci/supervisor.sh [SECONDS]     kills the children of the example `supervisor` at random (default: for 10 seconds)
# Two supervisors run at the same time: one notices the end of a child by a pidfd, the other by SIGCHLD. Each has eight
# commands that only sleep, one that writes a line at SIGHUP, and one that ignores SIGTERM. Checked:
#   - each child that is killed is reported with the signal that has killed it, and its command is started again;
#   - no process that has ended stays a zombie;
#   - SIGHUP is passed on;
#   - at SIGTERM the supervisor ends with status 0, after the end of every child that it has started.
# Prints the counts. Exit status 1 if a check fails.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
seconds=${1:-10}
dir=$(mktemp -d "${TMPDIR:-/tmp}/supervisor.XXXXXX") || exit 2
rc=0
ways=(pidfd sigchld)
declare -A pid=()
cleanup() {
    local way
    for way in "${!pid[@]}"; do kill -TERM "${pid[$way]}" 2> /dev/null; done
    wait
    rm -rf "$dir"
}
trap cleanup EXIT
failed() { echo "FAILED  $*"; rc=1; }

cargo build -q --release --features process --example supervisor || exit 1
target=${CARGO_TARGET_DIR:-target}/release/examples/supervisor

for way in "${ways[@]}"; do
    commands=()
    for _ in 1 2 3 4 5 6 7 8; do commands+=(--run 'exec sleep 1000'); done
    commands+=(--run "trap 'echo hup >> $dir/$way.hup' HUP; echo up >> $dir/$way.up; while :; do sleep 0.1; done")
    commands+=(--run "trap '' TERM; echo up >> $dir/$way.deaf; exec sleep 1000")
    "$target" --by "$way" --pause-ms 5 --max-pause-ms 40 --stable-ms 100 --grace-ms 500 "${commands[@]}" \
        > "$dir/$way.log" 2> "$dir/$way.err" &
    pid[$way]=$!
    : > "$dir/$way.kills"
done

# live WAY: the children of the sleeping commands that were started and have not ended, by the log.
live() {
    awk '$1 == "start" && $2 < 8 { alive[$4] = 1 } $1 == "exit" { delete alive[$4] } END { for (p in alive) print p }' \
        "$dir/$1.log"
}

# is_child WAY PID: the number still belongs to a child of the supervisor. The log may not yet tell that it has ended.
is_child() {
    local stat
    { read -r stat < "/proc/$2/stat"; } 2> /dev/null || return 1
    stat=${stat##*) ? }
    [ "${stat%% *}" = "${pid[$1]}" ]
}

# zombies WAY: the ended processes that the supervisor has not reaped.
zombies() { ps -o pid=,stat= --ppid "${pid[$1]}" | awk '$2 ~ /^Z/ { print $1 }' | sort; }

# is_reaped WAY PID
is_reaped() { ! zombies "$1" | grep -qx "$2"; }

# until_true LIMIT COMMAND...: waits until the command succeeds, at most so many tenths of a second.
until_true() {
    local left=$1
    while ! "${@:2}"; do
        left=$((left - 1))
        [ $left -gt 0 ] || return 1
        sleep 0.1
    done
}

signals=(KILL TERM SEGV USR1 INT)
looks=0
end=$((SECONDS + seconds))
look=$SECONDS
declare -A before=([pidfd]="" [sigchld]="")
while [ $SECONDS -lt $end ]; do
    for way in "${ways[@]}"; do
        kill -0 "${pid[$way]}" 2> /dev/null || { failed "$way: the supervisor has ended: $(tail -n 3 "$dir/$way.err")"; exit 1; }
        # Up to six at once.
        for victim in $(live "$way" | shuf -n $((RANDOM % 6 + 1))); do
            signal=${signals[RANDOM % ${#signals[@]}]}
            is_child "$way" "$victim" || continue
            kill -s "$signal" "$victim" 2> /dev/null && echo "$victim $(kill -l "$signal")" >> "$dir/$way.kills"
        done
        if [ $((RANDOM % 20)) = 0 ]; then kill -s WINCH "${pid[$way]}"; fi
    done
    if [ $SECONDS != $look ]; then
        look=$SECONDS looks=$((looks + 1))
        for way in "${ways[@]}"; do
            now=$(zombies "$way")
            # A zombie now and a second ago: the supervisor was held up, or will never reap it. Nothing else ends meanwhile.
            for stays in $(comm -12 <(echo "${before[$way]}") <(echo "$now")); do
                until_true 300 is_reaped "$way" "$stays" || failed "$way: a zombie: $stays"
            done
            before[$way]=$now
        done
    fi
    sleep "0.0$((RANDOM % 9 + 1))"
done

# all_started WAY: every command has a child that has not ended.
all_started() {
    awk '$1 == "start" { up[$2] = 1 } $1 == "exit" { up[$2] = 0 } END { for (n = 0; n < 10; n++) if (!up[n]) exit 1 }' \
        "$dir/$1.log"
}
# has_trap WAY NUMBER FILE: the last child of a command has set its trap.
has_trap() {
    [ "$(awk -v number="$2" '$1 == "start" && $2 == number { starts++ } END { print starts + 0 }' "$dir/$1.log")" = \
        "$(cat "$dir/$1.$3" 2> /dev/null | wc -l)" ]
}
for way in "${ways[@]}"; do
    until_true 300 all_started "$way" || failed "$way: a command was not started again: $(tail -n 20 "$dir/$way.log")"
    until_true 300 has_trap "$way" 8 up || failed "$way: the command with a trap has not started"
    rm -f "$dir/$way.hup"
    kill -HUP "${pid[$way]}"
    until_true 300 test -e "$dir/$way.hup" || failed "$way: SIGHUP was not passed on"
    # The sleeping commands have ended by it, and come back.
    until_true 300 all_started "$way" || failed "$way: a command was not started again after SIGHUP"
    until_true 300 has_trap "$way" 9 deaf || failed "$way: the command that ignores SIGTERM has not started"
    no_zombies() { [ -z "$(zombies "$way")" ]; }
    until_true 50 no_zombies || failed "$way: zombies at the end: $(zombies "$way")"
    kill -TERM "${pid[$way]}"
    wait "${pid[$way]}"
    status=$?
    unset "pid[$way]"
    [ $status = 0 ] || failed "$way: the supervisor ended with status $status: $(cat "$dir/$way.err")"
    awk -v way="$way" -v kills="$dir/$way.kills" '
        $1 == "start" { started[$4] = $2; starts++; up[$2]++; last[$2] = NR }
        $1 == "exit" { how[$4] = $5 " " $6; ended[$4] = NR; exits++ }
        $1 == "restart" { restarts++ }
        $1 == "kill" { killed[$4] = $2; deaf += $2 == 9 }
        $1 == "stop" { stopped[$2] = 1 }
        $1 == "end" { is_over = 1 }
        END {
            while ((getline line < kills) > 0) {
                split(line, part, " "); count++
                # A process that gets a second signal ends by one of the two.
                sent[part[1]] = sent[part[1]] " " part[2] " "
            }
            for (p in sent) {
                split(how[p], part, " ")
                if (!(p in ended)) bad("child " p " was killed and has not ended")
                else if (part[1] != "signal" || !index(sent[p], " " part[2] " ")) bad("child " p ": " how[p] ", not" sent[p])
                # A later start of the same command.
                else if (last[started[p]] < ended[p]) bad("command " started[p] " was not started again after " p)
            }
            for (p in started) if (!(p in ended)) bad("child " p " has not ended")
            if (!is_over) bad("the log has no end")
            if (deaf != 1) bad(deaf + 0 " children that ignore SIGTERM got SIGKILL, not 1")
            # The others may be too late as well, but it is SIGTERM that has ended them.
            for (p in killed) if (killed[p] != 9 && how[p] == "signal 9" && !(p in sent)) bad("child " p " needed SIGKILL")
            for (n = 0; n < 10; n++) if (!stopped[n]) bad("command " n " was not stopped")
            if (starts != restarts + 10) bad(starts " starts after " restarts " restarts of 10 commands")
            printf "%s  %s: %d kills of %d children, %d restarts, %d exits\n", rc ? "FAILED" : "ok    ", way, count, length(sent), restarts, exits
            exit rc
        }
        function bad(text) { print "FAILED  " way ": " text; rc = 1 }
    ' "$dir/$way.log" || rc=1
    # The shell of the command with a trap reports that SIGHUP has ended its `sleep`.
    grep -vx 'Hangup *' "$dir/$way.err" && failed "$way: it has written that to its standard error"
done
echo "        $looks looks for zombies in $seconds s"
exit $rc
