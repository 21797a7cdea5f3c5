#!/usr/bin/env bash
# msrv.sh CRATE_DIR [cargo args...]   checks a crate with Debian trixie's rustc (1.85.1), which is unpacked
# into the cache and started by trixie's dynamic loader; nothing is installed.
#   msrv.sh DIR check --all-features
#   msrv.sh --rustc        only prepares the compiler and prints its path
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n 2,5p "$0" >&2; exit 2; }
cache=${CI_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/reveille-ci}
root=$cache/rust-msrv
rustc=$cache/rustc-msrv
if [ ! -x "$rustc" ]; then
    "$here/apt-suite.sh" "${MSRV_SUITE:-trixie}" extract "$root" \
        rustc libstd-rust-dev libstd-rust-1.85 libllvm19 libc6 libstdc++6 libgcc-s1 zlib1g libzstd1 libxml2 \
        libffi8 libedit2 libz3-4 libtinfo6 libbsd0 libmd0 libicu76 liblzma5 >&2
    multi=x86_64-linux-gnu
    ld=$(find "$root" -name 'ld-linux-x86-64.so.2' -print -quit)
    printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" --sysroot "%s" "$@"\n' \
        "$ld" "$root/usr/lib/$multi:$root/lib/$multi:$root/usr/lib/llvm-19/lib" "$root/usr/bin/rustc" "$root/usr" \
        > "$rustc.part"
    chmod +x "$rustc.part"
    "$rustc.part" --version >&2
    mv "$rustc.part" "$rustc"
fi
if [ "$1" = --rustc ]; then echo "$rustc"; exit; fi
crate=$1; shift
[ $# -ge 1 ] || set -- check
"$rustc" --version
export RUSTC=$rustc CARGO_TARGET_DIR=${MSRV_TARGET_DIR:-$cache/target-msrv}
cd "$crate"
exec cargo "$@"
