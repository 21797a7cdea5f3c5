#!/usr/bin/env bash
# apt-suite.sh SUITE[,SUITE...] CMD...   searches, downloads or extracts packages of another Debian suite
# without changing the machine's apt state (it has its own lists, cache and dpkg status).
#   apt-suite.sh sid update
#   apt-suite.sh sid policy rust-src
#   apt-suite.sh sid download DIR PKG...      fetches the .deb files into DIR
#   apt-suite.sh sid extract  DIR PKG...      fetches and unpacks them into DIR (no maintainer script runs)
# The mirror is that of the machine's .sources file, which is copied with the suite replaced.
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,7p "$0" >&2; exit 2; }
suites=${1//,/ }; cmd=$2; shift 2
state=${CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/reveille-ci}/apt/${suites// /+}
mkdir -p "$state"/{etc/sources.list.d,lists/partial,cache/archives/partial}
exec 8> "$state/in-use"
flock 8

src=
for f in /etc/apt/sources.list.d/*.sources; do
    [ -e "$f" ] || continue
    if grep -qE '^URIs:.*/debian/?[[:space:]]*$' "$f"; then src=$f; break; fi
done
[ -n "$src" ] || { echo "apt-suite: no deb822 .sources file with a Debian archive here" >&2; exit 2; }

# The first stanza that names the main archive (not -security), with its suite replaced.
awk -v RS= -v s="$suites" '/URIs:[^\n]*\/debian\/?([ \t]*\n|[ \t]*$)/ && !done {
    n = split($0, l, "\n")
    for (i = 1; i <= n; i++) {
        if (l[i] ~ /^#/) continue
        if (l[i] ~ /^Suites:/) l[i] = "Suites: " s
        print l[i]
    }
    done = 1
}' "$src" > "$state/etc/sources.list.d/suite.sources"
: > "$state/status"
opts=(-q -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$state/etc/sources.list.d"
      -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
      -o Dir::State="$state" -o Dir::State::lists="$state/lists" -o Dir::State::status="$state/status"
      -o Dir::Cache="$state/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none
      -o Acquire::Retries=3 -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false)

# Lists older than a day are fetched again.
fresh() {
    [ -n "$(find "$state/lists" -maxdepth 1 -name '*_Packages*' -mmin -1440 -print -quit 2>/dev/null)" ] ||
        apt-get "${opts[@]}" update >&2
}

case $cmd in
    update) apt-get "${opts[@]}" update ;;
    policy|show|search|depends|rdepends) fresh; apt-cache "${opts[@]}" "$cmd" "$@" ;;
    download|extract)
        fresh
        dir=$1; shift
        mkdir -p "$dir"; dir=$(cd "$dir" && pwd)
        dl=$dir
        if [ "$cmd" = extract ]; then dl=$state/debs; mkdir -p "$dl"; fi
        for p in "$@"; do
            rm -f "$dl/${p%%[=/]*}"_*.deb
            (cd "$dl" && apt-get "${opts[@]}" download "$p" >&2)
            if [ "$cmd" = extract ]; then
                dpkg-deb -x "$dl/${p%%[=/]*}"_*.deb "$dir"
                rm -f "$dl/${p%%[=/]*}"_*.deb
            fi
        done ;;
    *) echo "apt-suite: unknown command $cmd" >&2; exit 2 ;;
esac
