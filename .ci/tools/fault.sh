#!/usr/bin/env bash
# fault.sh PROGRAM [ARGS...]   runs a program under injected errors of system calls (strace), one rule at a time.
# Prints for each rule the exit status, how often the error was injected, and the last line of the output.
# A crash or a hang is a failure. An exit with an error is not: the output must show whether it is right.
# `not reached` means that the program never made the call. LIMIT is the time limit of a run in seconds.
# Other rules: RULES="epoll_wait:error=EINTR:when=3+5 read:error=EINTR:when=10+7" fault.sh PROGRAM
set -uo pipefail
[ $# -ge 1 ] || { sed -n 2,6p "$0" >&2; exit 2; }
rules=${RULES:-epoll_wait:error=EINTR:when=3+5 epoll_pwait2:error=EINTR:when=3+5 epoll_pwait2:error=ENOSYS
 epoll_pwait2:error=EPERM poll:error=EINTR:when=3+5 ppoll:error=EINTR:when=3+5 pselect6:error=EINTR:when=3+5
 rt_sigtimedwait:error=EINTR:when=3+5 io_uring_enter:error=EINTR:when=3+5 read:error=EINTR:when=20+7
 recvfrom:error=EINTR:when=5+7 write:error=EINTR:when=5+7 sendto:error=EINTR:when=5+7
 accept4:error=ECONNABORTED:when=1+3 accept4:error=EMFILE:when=2 accept4:error=ENOBUFS:when=2
 epoll_ctl:error=ENOMEM:when=3 epoll_ctl:error=ENOSPC:when=3 epoll_create1:error=ENOSYS epoll_create1:error=EMFILE
 io_uring_setup:error=EPERM io_uring_setup:error=ENOSYS eventfd2:error=EMFILE eventfd2:error=ENOSYS
 timerfd_create:error=ENOSYS pidfd_open:error=ENOSYS mmap:error=ENOMEM:when=60+1}
out=$(mktemp) log=$(mktemp)
trap 'rm -f "$out" "$log"' EXIT
bad=0
for r in $rules; do
    # strace injects only into calls that it traces, and does not warn.
    timeout -k 5 "${LIMIT:-30}" strace -f -qq -o "$log" -e trace="${r%%:*}" -e inject="$r" "$@" >"$out" 2>&1
    rc=$?
    n=$(grep -c INJECTED "$log")
    case $rc in
        124|137) v=TIME-OUT; bad=1 ;;
        132|134|139) v="CRASH $rc"; bad=1 ;;
        *) v="rc=$rc" ;;
    esac
    if grep -q '^strace: invalid' "$out"; then v="BAD RULE"; bad=1; elif [ "$n" = 0 ]; then v="not reached ($v)"; fi
    printf '%-44s %-20s x%-6s %s\n' "$r" "$v" "$n" "$(tail -n 1 "$out" | cut -c1-80)"
done
exit $bad
