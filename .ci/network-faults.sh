#!/usr/bin/env bash
# .ci/network-faults.sh     runs tests/network_faults.rs between two network namespaces: loss, resets, lost SYNs, link down
# It needs root, iproute2 and nftables. Exit status 77: this machine cannot make the namespaces.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
for tool in ip nft; do
    command -v "$tool" > /dev/null || { echo "skipped: no $tool on this machine"; exit 77; }
done
faults=$here/tools/netfault.sh
trap '"$faults" down' EXIT
if ! reason=$("$faults" up 2>&1 && "$faults" loss 1 2>&1 && "$faults" clear 2>&1); then
    echo "skipped: no network namespaces here: $(tail -n 1 <<< "$reason")"
    exit 77
fi
cargo test -q --all-features --test network_faults --no-run || exit 1
# Through cargo, which knows where the program is; what is built needs no network.
REVEILLE_NETWORK_FAULTS=$faults ip netns exec rvB cargo test -q --offline --all-features --test network_faults -- --nocapture
