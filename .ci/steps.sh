# The steps of .ci/run, which sources this file: the function step_NAME for each, what it needs, and lists.
# A step runs in a process of its own, in the root of the repository. It has a folder CI_TMP of its own, next to those of the
# other steps. Steps run side by side: whatever is outside of CI_TMP and cargo's folders needs a lock.

# Targets whose types are checked: those with kqueue, those with event ports and /dev/poll, 32 bits, other C libraries.
# Each takes about 25 s of one core to build std for the first time, and 10 s for the library, its tests and examples.
cross_targets=(
    x86_64-unknown-freebsd x86_64-unknown-netbsd x86_64-unknown-openbsd x86_64-unknown-dragonfly x86_64-apple-darwin
    x86_64-unknown-illumos x86_64-pc-solaris
    i686-unknown-linux-gnu aarch64-linux-android x86_64-unknown-linux-musl
)
# Library and examples only. The tests have no code for OpenBSD, DragonFly or Solaris that they do not have for NetBSD,
# FreeBSD or illumos; they use ITIMER_REAL, which libc does not define for Android.
cross_no_tests=" x86_64-unknown-openbsd x86_64-unknown-dragonfly x86_64-pc-solaris aarch64-linux-android "

# --- what a step may need -------------------------------------------------------------------------

# A step calls `skip REASON` when a tool is not available. It has neither passed nor failed then.
skip() { echo "$*" > "$CI_TMP/skip"; echo "skipped: $*"; exit 77; }

# note TEXT: what the table says about a step that has passed.
note() { echo "$*" > "$CI_TMP/note"; }

# need COMMAND PACKAGE: installs PACKAGE if COMMAND is missing; fails if that does not work.
need() { command -v "$1" > /dev/null || { install_package "$2" && command -v "$1" > /dev/null; }; }

# install_package PACKAGE: by apt, as root.
install_package() {
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || return 1
    (
        flock 9
        if [ ! -e "$CI_TMP/../apt-updated" ]; then
            timeout -k 10 180 apt-get -q -o Acquire::Retries=3 update && touch "$CI_TMP/../apt-updated"
        fi
        timeout -k 10 300 apt-get -q -o Acquire::Retries=3 install -y --no-install-recommends "$1" 9>&-
    ) 9> "$CI_TMP/../apt-lock"
}

# need_component COMMAND COMPONENT: `cargo COMMAND`, from rustup if it is missing.
need_component() {
    cargo "$1" --version > /dev/null 2>&1 && return
    command -v rustup > /dev/null && flock "$CI_TMP/../rustup-lock" rustup component add "$2" &&
        cargo "$1" --version > /dev/null && return
    skip "no cargo $1 on this machine"
}

need_python() { need python3 python3 || skip "no python3 and it cannot be installed"; }

# Makes an empty crate with one test, to find out whether a toolchain does what a step needs.
probe_crate() {
    local dir=$CI_TMP/probe
    mkdir -p "$dir/src"
    printf '[package]\nname = "probe"\nversion = "0.0.0"\nedition = "2021"\n[workspace]\n' > "$dir/Cargo.toml"
    printf '#[test]\nfn probe() {}\n' > "$dir/src/lib.rs"
    echo "$dir"
}

need_nightly() {
    cargo +nightly --version || skip "no nightly toolchain on this machine"
}

# Copies the tracked files to $1, for a step that rewrites some of them.
copy_tree() {
    mkdir -p "$1"
    git -C "$root" ls-files -z | while IFS= read -r -d '' f; do
        if [ -e "$f" ]; then cp --parents -P "$f" "$1"; fi
    done
}

# readme_commands WORDS: the command lines with WORDS in the first fenced block of README.md that has any. Prints one
# a line, without `$ ` prompts and with continued lines joined.
readme_commands() {
    [ -f README.md ] || { echo "README.md is missing" >&2; return 1; }
    awk -v words="$1" '
        /^ *```/ { if (fenced && found) exit; fenced = !fenced; next }
        !fenced { next }
        { line = line $0 }
        /\\$/ { sub(/\\$/, " ", line); next }
        { sub(/^ *(\$ )?/, "", line)
          if (index(line, words) && line !~ /^#/) { print line; found = 1 }
          line = "" }
    ' README.md | grep . || { echo "README.md has no command with: $1" >&2; return 1; }
}

# --- the steps ------------------------------------------------------------------------------------

step_fmt() {
    need_component fmt rustfmt
    local rc=0 package
    cargo fmt --check -- --color never || rc=1
    for package in backends costs peers size/reveille size/smol size/tokio; do
        cargo fmt --check --manifest-path "benches/$package/Cargo.toml" -- --color never || rc=1
    done
    cargo fmt --all --check --manifest-path tests/downstream/Cargo.toml -- --color never || rc=1
    return $rc
}

step_house() {
    local rc=0 package
    # With the features of the step `test`, which then finds the library compiled.
    cargo test --all-features --test house || rc=1
    echo "Cargo.lock matches Cargo.toml:"
    cargo metadata --locked --format-version 1 > /dev/null || rc=1
    for package in backends costs size/reveille; do
        cargo metadata --locked --format-version 1 --manifest-path "benches/$package/Cargo.toml" > /dev/null || rc=1
    done
    cargo metadata --locked --format-version 1 --manifest-path tests/downstream/Cargo.toml > /dev/null || rc=1
    return $rc
}

step_clippy() {
    need_component clippy clippy
    local rc=0 package
    cargo clippy --all-targets --all-features -- -D warnings || rc=1
    cargo clippy --all-targets --no-default-features -- -D warnings || rc=1
    for package in backends costs size/reveille; do
        cargo clippy --manifest-path "benches/$package/Cargo.toml" --locked -- -D warnings || rc=1
    done
    return $rc
}

step_doc() {
    RUSTDOCFLAGS=-Dwarnings cargo doc --no-deps --all-features
}

step_test() {
    local cmd
    cmd=$(readme_commands 'cargo test') || return 1
    printf '+ %s\n' "$cmd"
    case $cmd in *--all-features*) ;; *) echo "README.md's command leaves features out"; return 1 ;; esac
    bash -e -c "$cmd"
}

# All tests but those in the documentation and of the tree, which `test` runs.
step_test_backend() {
    local programs
    mapfile -t programs < <(test_programs)
    REVEILLE_BACKEND=$1 cargo test --all-features "${programs[@]}"
}

# The command in README.md starts a server that answers a client.
step_echo() {
    need_python
    local cmd
    cmd=$(readme_commands 'cargo run --release --example echo') || return 1
    cmd=${cmd%%$'\n'*}
    printf '+ %s\n' "$cmd"
    cargo build --release --example echo || return 1
    python3 "$here/echo-client.py" command "$cmd"
}

# The examples that are not in `client-BACKEND`.
step_examples() {
    need_python
    local rc=0
    cargo build --release --example many_threads --example echo_shared_buffer --example hosted || return 1
    cargo build --release --example own_backend --features conformance || return 1
    python3 "$here/echo-client.py" many --example many_threads --connections "${CI_CONNECTIONS:-1000}" || rc=1
    python3 "$here/echo-client.py" many --example echo_shared_buffer --connections "${CI_CONNECTIONS:-1000}" || rc=1
    prints hosted "50 requests answered" || rc=1
    prints own_backend "10 clients were echoed by own-poll" --features conformance || rc=1
    if need socat socat; then
        "$here/unix-echo.sh" "${backends[@]}" || rc=1
    else
        note "no socat, so unix_echo did not run"
    fi
    return $rc
}

# The examples `http` and `https`: a gigabyte each way by HTTP/1 and HTTP/2, less on the other backends; limits; the end.
step_http() {
    need_python
    need cc gcc
    need curl curl || skip "no curl and it cannot be installed"
    need openssl openssl || skip "no openssl and it cannot be installed"
    need wrk wrk && need h2load nghttp2-client || note "no wrk or h2load, so no load was applied"
    curl --version | grep -q HTTP2 || skip "this curl does not know HTTP/2"
    "$here/http.sh" "${backends[0]}" || return 1
    CI_HTTP_BYTES=${CI_HTTP_BYTES:-67108864} "$here/http.sh" "${backends[@]:1}"
}

# The HTTP server in README.md, as it is printed.
step_readme() {
    need cc gcc
    need wrk wrk || skip "no wrk and it cannot be installed"
    local out=$CI_TMP/readme.out rc
    "$here/readme-http.sh" > "$out" 2>&1
    rc=$?
    cat "$out"
    if [ $rc = 77 ]; then skip "$(sed -n 's/^skipped: //p' "$out" | tail -n 1)"; fi
    return $rc
}

# Clients of `http` and `https` that are slow, or go away in the middle.
step_attacks() {
    need_python
    need cc gcc
    local rc=0
    "$here/http-churn.sh" 500 5 || rc=1
    if need slowhttptest slowhttptest; then
        "$here/slow-loris.sh" 4 || [ $? = 77 ] || rc=1
    else
        note "no slowhttptest, so only clients that go away"
    fi
    return $rc
}

# Examples and the clients of the protocols that they speak.
step_ecosystem() {
    need_python
    local tool
    for tool in redis-cli:redis-tools curl:curl dig:bind9-dnsutils dnsmasq:dnsmasq-base wrk:wrk; do
        need "${tool%:*}" "${tool#*:}" || skip "no ${tool%:*} and it cannot be installed"
    done
    local rc=0
    "$here/ecosystem.sh" || rc=1
    need ps procps || { echo "no ps and it cannot be installed: the supervisor is not checked"; return $rc; }
    "$here/supervisor.sh" 10 || rc=1
    return $rc
}

# prints EXAMPLE TEXT [cargo arguments]: the example ends with status 0 and prints the text.
prints() {
    local example=$1 text=$2 out=$CI_TMP/prints.out
    shift 2
    timeout --foreground -k 5 120 cargo run -q --release --example "$example" "$@" > "$out" 2>&1
    local rc=$?
    tail -n 5 "$out"
    if [ $rc != 0 ]; then echo "FAILED  $example ended with status $rc"; return 1; fi
    grep -qF "$text" "$out" || { echo "FAILED  $example does not print: $text"; return 1; }
    echo "ok      $example: $text"
}

step_client() {
    need_python
    cargo build --release --example echo --example callback_echo || return 1
    local rc=0 example job jobs=() connections=${CI_CONNECTIONS:-1000}
    # Far beyond 1,024, where the fd_set of the C library ends.
    if [ "$1" = select ] && [ -z "${CI_CONNECTIONS:-}" ]; then connections=3000; fi
    for example in echo callback_echo; do
        python3 "$here/echo-client.py" many --example $example --backend "$1" --connections "$connections" || rc=1
    done
    # These mostly wait, so they run side by side.
    for job in "emfile echo 200" "emfile callback_echo 200" "idle-close callback_echo $connections"; do
        set -- "$1" $job
        python3 "$here/echo-client.py" "$2" --example "$3" --backend "$1" --connections "$4" > "$CI_TMP/$2-$3.out" 2>&1 &
        jobs+=("$!:$2-$3")
    done
    for job in "${jobs[@]}"; do
        wait "${job%%:*}" || rc=1
        echo "--- ${job#*:}"
        cat "$CI_TMP/${job#*:}.out"
    done
    return $rc
}

need_strace() {
    need strace strace || skip "no strace and it cannot be installed"
    sleep 20 & local pid=$!
    timeout -k 2 2 strace -f -qq -o /dev/null -p $pid 2>"$CI_TMP/strace.err"
    kill $pid
    if [ -s "$CI_TMP/strace.err" ]; then skip "strace cannot attach: $(head -n 1 "$CI_TMP/strace.err")"; fi
}

# System calls that a kernel, a sandbox or a shortage refuses.
step_faults() {
    need_python
    need_strace
    cargo build --release --example echo --example callback_echo --example many_threads --example sleep || return 1
    python3 "$here/faults.py"
}

step_syscalls() {
    need_python
    need_strace
    cargo build --release --example echo || return 1
    local b rc=0
    for b in "${backends[@]}"; do
        python3 "$here/syscalls.py" echo --example echo --backend "$b" || rc=1
        python3 "$here/syscalls.py" idle --example echo --backend "$b" --connections 1000 || rc=1
    done
    # It prints `sleeping`, sleeps one second three times and prints `done`.
    local sleeper=${CI_SLEEP_EXAMPLE:-sleep}
    cargo build --release --example "$sleeper" || return 1
    for b in "${backends[@]}"; do
        python3 "$here/syscalls.py" sleep --example "$sleeper" --backend "$b" --sleeps 3 || rc=1
    done
    return $rc
}

step_test_release() {
    # Optimized code matters here; linking each test with LTO would take most of the time. The code in the documentation is
    # not optimized, other steps build the examples optimized, and network_faults does nothing outside of its step.
    local programs
    mapfile -t programs < <(test_programs network_faults)
    CARGO_PROFILE_RELEASE_LTO=off cargo test --release --all-features "${programs[@]}"
}

# New seeds for the models.
step_soak() {
    "$here/soak.sh" "${CI_SOAK_SECONDS:-60}" && "$here/churn.sh" 3000 10
}

# Half of the time without a sanitizer, half in optimized code under AddressSanitizer, which no other step runs.
step_fuzz() {
    local seconds=$((${CI_FUZZ_SECONDS:-60} / 2)) out=$CI_TMP/fuzz.out rc
    "$here/fuzz.sh" "$seconds" plain || return 1
    "$here/fuzz.sh" "$seconds" address-optimized > "$out" 2>&1
    rc=$?
    cat "$out"
    if [ $rc = 77 ]; then
        note "without a sanitizer: $(sed -n 's/^skipped: //p' "$out" | tail -n 1)"
        return 0
    fi
    return $rc
}

# The tests with random delays.
step_delays() {
    need cc gcc
    local out=$CI_TMP/delays.out rc
    "$here/delays.sh" "${CI_DELAYS_SECONDS:-60}" > "$out" 2>&1
    rc=$?
    cat "$out"
    if [ $rc = 77 ]; then skip "$(sed -n 's/^skipped: //p' "$out" | tail -n 1)"; fi
    return $rc
}

# Loss, resets, lost SYNs and a link that goes down, between two network namespaces.
step_network() {
    local out=$CI_TMP/network.out rc
    need ip iproute2 && need nft nftables || skip "no iproute2 or nftables on this machine"
    "$here/network-faults.sh" > "$out" 2>&1
    rc=$?
    cat "$out"
    if [ $rc = 77 ]; then skip "$(sed -n 's/^skipped: //p' "$out" | tail -n 1)"; fi
    return $rc
}

# Compares counts of instructions, allocations and system calls with benches/costs/record.json.
step_costs() {
    need_python
    local tool out=$CI_TMP/costs.out rc reasons
    # costs.py prints what it cannot measure without them.
    for tool in valgrind strace; do need $tool $tool || echo "no $tool and it cannot be installed"; done
    python3 "$here/costs.py" > "$out" 2>&1
    rc=$?
    cat "$out"
    [ $rc = 0 ] || return $rc
    reasons=$(sed -n 's/^skipped: //p' "$out" | paste -sd ';' | sed 's/;/; /g')
    if [ -n "$reasons" ]; then skip "$reasons"; fi
}

step_loom() {
    local out=$CI_TMP/loom.out
    # Not optimized: all models together take a second, and optimizing loom and the tests takes a minute.
    RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$CARGO_TARGET_DIR/ci-loom LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-2} \
        cargo test --lib loom > "$out" 2>&1
    local rc=$?
    cat "$out"
    if [ $rc = 0 ] && ! grep -qE '^test result: ok\. [1-9]' "$out"; then
        echo "no loom model ran"; rc=1
    fi
    return $rc
}

# The kqueue backend over libkqueue, a library that imitates kqueue on Linux.
step_libkqueue() {
    local out=$CI_TMP/libkqueue.out rc
    "$here/tools/kq-smoke.sh" > "$out" 2>&1
    rc=$?
    cat "$out"
    if [ $rc = 77 ]; then skip "$(sed -n 's/^skipped: //p' "$out" | tail -n 1)"; fi
    return $rc
}

# Programs of other crates on reveille, each on one backend, drawn from the hash of the commit.
step_downstream() {
    need cc gcc
    local manifest=tests/downstream/Cargo.toml rc=0
    local programs=${CARGO_TARGET_DIR:-$PWD/tests/downstream/target}/debug
    "$here/downstream.sh" drawn || rc=1
    cargo test --locked --workspace --doc --manifest-path $manifest || rc=1
    cargo clippy --locked --manifest-path $manifest --workspace --all-targets -- -D warnings || rc=1
    # All targets, so that nothing is built again with other features.
    cargo build --locked --manifest-path $manifest --workspace --all-targets || return 1
    "$programs/udp_gso" --rounds 100 || rc=1
    "$programs/quic" --bytes 100000 || rc=1
    "$programs/resolver" --names localhost || rc=1
    # web.sh leaves out what it has no clients for.
    local tool missing=()
    for tool in curl:curl wrk:wrk h2load:nghttp2-client; do need "${tool%:*}" "${tool#*:}" || missing+=("${tool%:*}"); done
    need python3 python3 && { python3 -c 'import websockets' || /usr/bin/python3 -c 'import websockets'; } 2> /dev/null ||
        install_package python3-websockets || missing+=(python3-websockets)
    if [ ${#missing[@]} -gt 0 ]; then note "web.sh and apps.sh without ${missing[*]}"; fi
    CI_WEB_PROGRAMS=$programs "$here/web.sh" || rc=1
    # It leaves out what it has no clients for, too, but needs a curl that knows HTTP/2.
    if curl --version 2> /dev/null | grep -q HTTP2; then CI_APPS_BYTES=${CI_APPS_BYTES:-134217728} "$here/apps.sh" || rc=1; fi
    return $rc
}

# The clients of databases, beside their servers.
step_databases() {
    need cc gcc
    need_python
    need redis-server redis-server || skip "no redis-server and it cannot be installed"
    [ -n "$(command -v initdb /usr/lib/postgresql/*/bin/initdb)" ] || need psql postgresql ||
        skip "no PostgreSQL and it cannot be installed"
    "$here/databases.sh" cargo test --locked --workspace --manifest-path tests/downstream/Cargo.toml --test databases
}

# feature_sets: `none`, then each feature of Cargo.toml. With `all`: every set of features, joined by commas. If a feature
# switches on another one, the sets that have the first without the second are left out: they are the same as those with both.
feature_sets() {
    local names=() sets=("") set name
    mapfile -t names < <(sed -n '/^\[features\]/,/^\[dep/s/^\([a-z-]*\) *= .*/\1/p' Cargo.toml | grep -v '^default$')
    [ ${#names[@]} -gt 1 ] || { echo "Cargo.toml has no features" >&2; return 1; }
    if [ "${1:-}" != all ]; then printf '%s\n' none "${names[@]}"; return; fi
    for name in "${names[@]}"; do
        for set in "${sets[@]}"; do sets+=("${set:+$set,}$name"); done
    done
    # Lines of two features, the first of which switches on the second; then the sets.
    awk '
        !sets && NF == 0 { sets = 1; next }
        !sets { of[++count] = $1; needs[count] = $2; next }
        { for (i = 1; i <= count; i++)
              if (index("," $0 ",", "," of[i] ",") && !index("," $0 ",", "," needs[i] ",")) next
          print $0 == "" ? "none" : $0 }
    ' <(feature_links "${names[@]}"; echo) <(printf '%s\n' "${sets[@]}")
}

# feature_links NAME...: a line `A B` for each of these features A that names another one, B, in Cargo.toml.
feature_links() {
    local name other
    for name in "$@"; do
        for other in "$@"; do
            if sed -n "/^\[features\]/,/^\[dep/s/^$name *= //p" Cargo.toml | grep -qF "\"$other\""; then
                echo "$name $other"
            fi
        done
    done
}

# for_features SETS COMMAND...: runs the command with the arguments for each set of features.
for_features() {
    local set rc=0 arguments
    for set in $1; do
        echo "--- features: $set"
        arguments=(--no-default-features)
        if [ "$set" != none ]; then arguments+=(--features "$set"); fi
        "${@:2}" "${arguments[@]}" || { echo "FAILED  features: $set"; rc=1; }
    done
    return $rc
}

# The library with every set of features, without warnings of the compiler; with each feature alone, without those of clippy.
step_features() {
    need_component clippy clippy
    local sets rc=0
    sets=$(feature_sets all) || return 1
    echo "$(wc -l <<< "$sets") sets of features"
    export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/ci-features RUSTFLAGS="${RUSTFLAGS:-} -Dwarnings"
    for_features "$sets" cargo check -q --lib || rc=1
    for_features "$(feature_sets)" cargo clippy -q --lib || rc=1
    return $rc
}

step_minimal() {
    need_nightly
    need git git || skip "no git and it cannot be installed"
    local dir=$CI_TMP/minimal
    copy_tree "$dir"
    cd "$dir" || return 1
    cargo +nightly -Zdirect-minimal-versions update || return 1
    export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/ci-minimal
    cargo check --all-features --all-targets || return 1
    for_features "$(feature_sets)" cargo check -q --lib
}

step_msrv() {
    local want rustc have probe
    want=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
    [ -n "$want" ] || { echo "Cargo.toml declares no rust-version"; return 1; }
    rustc=$("$here/tools/msrv.sh" --rustc) || skip "rustc $want is not available"
    have=$("$rustc" --version | cut -d' ' -f2)
    case $have. in "$want".*) ;; *) skip "Cargo.toml declares $want, the available compiler is $have" ;; esac
    probe=$(probe_crate)
    "$here/tools/msrv.sh" "$probe" check || skip "rustc $have cannot compile an empty crate here"
    export MSRV_TARGET_DIR=$CARGO_TARGET_DIR/ci-msrv
    "$here/tools/msrv.sh" "$root" check --all-features --lib --examples || return 1
    for_features "$(feature_sets)" "$here/tools/msrv.sh" "$root" check -q --lib
}

# Builds std for each target with an empty crate first: a failure there is the machine's, not the project's.
step_cross() {
    need_nightly
    local t rc=0 probe what missing=() done=0
    probe=$(probe_crate)
    "$here/tools/cross-src.sh" || skip "the sources of std are not available"
    for t in "${cross_targets[@]}"; do
        if ! "$here/tools/cross-check.sh" -c clippy -t "$t" "$probe" --lib; then missing+=("$t"); continue; fi
        done=$((done + 1))
        what=(--all-targets)
        case $cross_no_tests in *" $t "*) what=(--lib --examples) ;; esac
        "$here/tools/cross-check.sh" -c clippy -t "$t" "$root" --all-features "${what[@]}" -- -D warnings || rc=1
    done
    if [ ${#missing[@]} -gt 0 ]; then
        echo "std cannot be built for: ${missing[*]}"
        if [ $done = 0 ]; then skip "std cannot be built for ${missing[*]}"; fi
        note "checked $done of ${#cross_targets[@]} targets; no std for ${missing[*]}"
    fi
    return $rc
}

# Test programs in which no thread but those of the test harness runs code of the library. ThreadSanitizer runs the others.
single_threaded=(
    backends_model budgets churn copy fairness fd_closed_behind_back kept_wakes migrating pollable_files precise_timers
    proc_file_changes process_exit shrink tcp_connect unwind_safe
)

# Fails if one of them does not exist, or names something that starts a thread.
check_single_threaded() {
    local name found
    for name in "${single_threaded[@]}"; do
        found=$(grep -nE 'thread::(spawn|scope|Builder)|spawn_blocking|[Uu]nblock|lookup_host' "tests/$name.rs")
        [ $? = 1 ] || { printf '%s\n' "$found" "FAILED  tests/$name.rs starts threads; see single_threaded in .ci/steps.sh"; return 1; }
    done
}

# test_programs [NAME...]: arguments of cargo for the unit tests and all test programs but those named and `house`, which
# only reads files.
test_programs() {
    local file name
    echo --lib
    for file in tests/*.rs tests/*/main.rs; do
        name=${file#tests/} name=${name%.rs} name=${name%/main}
        case " $* house " in *" $name "*) continue ;; esac
        printf '%s\n' --test "$name"
    done
}

# sanitize NAME FLAGS [PROGRAM...]: the unit and integration tests, which try every backend of this host, but not those of
# the named programs. FLAGS: -s or nothing, for san.sh.
sanitize() {
    need_nightly
    local san=$1 flags=($2) probe programs
    mapfile -t programs < <(test_programs "${@:3}")
    probe=$(probe_crate)
    # Not optimized: such code runs faster, but takes minutes more to compile. Backtraces of panics that tests expect took most of the time of some programs.
    export RUST_BACKTRACE=0
    if [ ${#flags[@]} -gt 0 ]; then "$here/tools/cross-src.sh" || skip "the sources of std are not available"; fi
    "$here/tools/san.sh" "${flags[@]}" "$san" "$probe" --lib ||
        skip "an empty crate does not link or run with the $san sanitizer"
    # The model of the timer wheel takes a minute; the wheel has neither threads nor unsafe code.
    "$here/tools/san.sh" "${flags[@]}" "$san" "$root" --all-features "${programs[@]}" --no-fail-fast -- --skip timer::model
}

# AddressSanitizer includes the leak detection of LeakSanitizer.
step_asan() { sanitize address ""; }
step_tsan() {
    if [ -f "$here/tsan.supp" ]; then
        export TSAN_OPTIONS="halt_on_error=0:second_deadlock_stack=1:suppressions=$here/tsan.supp"
    fi
    check_single_threaded && sanitize thread -s "${single_threaded[@]}"
}
