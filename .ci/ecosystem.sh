#!/usr/bin/env bash
# .ci/ecosystem.sh [EXAMPLE...]     drives examples by programs of other projects (default: all of them)
#     kv              redis-cli, redis-benchmark
#     socks5          curl
#     dns_forwarder   dig, with dnsmasq as the name server
#     balancer        wrk and curl
#     graceful        wrk and curl, and graceful-client.py
# Each server listens on a free port of 127.0.0.1. What the script has started is ended with it.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.." || exit 2
target=${CARGO_TARGET_DIR:-$PWD/target}
dir=$(mktemp -d "${TMPDIR:-/tmp}/ecosystem.XXXXXX") || exit 2
pids=()
rc=0
trap cleanup EXIT
trap 'exit 130' INT TERM

cleanup() {
    end "${pids[@]}"
    rm -rf "$dir"
}

# end PID...: ends processes that `start` has started, and waits for them.
end() {
    local pid
    for pid in "$@"; do kill "$pid"; wait "$pid"; done 2> /dev/null
}

# start NAME PATTERN COMMAND...: starts a program, waits until its output has a line that the pattern (of sed) matches,
# and sets `found` to the group \1 of it and `pid`. Its output goes to $dir/NAME.
start() {
    local name=$1 pattern=$2 i
    shift 2
    : > "$dir/$name"
    "$@" > "$dir/$name" 2>&1 < /dev/null &
    pid=$!
    pids+=($pid)
    for ((i = 0; i < 600; i++)); do
        found=$(sed -n "s/$pattern/\1/p" "$dir/$name" | head -n 1)
        if [ -n "$found" ]; then return; fi
        kill -0 $pid 2> /dev/null || break
        sleep 0.05
    done
    echo "FAILED  $name does not start:"; cat "$dir/$name"
    exit 1
}

# serve EXAMPLE [ARGUMENTS]: starts an example and sets `host`, `port` and `pid`.
serve() {
    local example=$1
    shift
    start "$example" '^listening on \(127\.0\.0\.1:[0-9]*\)$' "$target/release/examples/$example" --addr 127.0.0.1:0 "$@"
    if [ "$(sed -n 1p "$dir/$example")" != "listening on $found" ]; then failed "$example: other lines come first"; fi
    host=${found%:*} port=${found##*:}
}

failed() { local text=$*; echo "FAILED  ${text:0:1000}"; rc=1; }

# compare WHAT GOT WANTED
compare() {
    if [ "$2" = "$3" ]; then echo "ok      $1"; else failed "$1: got ${2@Q}, not ${3@Q}"; fi
}

# contains WHAT GOT PART
contains() {
    case $2 in *"$3"*) echo "ok      $1" ;; *) failed "$1: ${3@Q} is not in ${2@Q}" ;; esac
}

# matches WHAT GOT PATTERN: an extended regular expression.
matches() {
    if [[ $2 =~ $3 ]]; then echo "ok      $1"; else failed "$1: ${2@Q} does not match ${3@Q}"; fi
}

# until_true SECONDS COMMAND...: tries until the command succeeds.
until_true() {
    local last=$((SECONDS + $1))
    until "${@:2}" > /dev/null 2>&1; do
        if [ $SECONDS -ge $last ]; then return 1; fi
        sleep 0.1
    done
}

# What every example does with its arguments.
check_arguments() {
    local example=$1 program=$target/release/examples/$1 out
    contains "$example --help" "$("$program" --help)" "usage: $example [--addr"
    out=$("$program" --nonsense 2>&1)
    compare "$example refuses what it does not know with status 2" $? 2
    contains "$example says so" "$out" 'unknown argument "--nonsense"'
    out=$("$program" --addr nonsense 2>&1)
    if [ $? = 0 ]; then failed "$example --addr nonsense succeeds"; fi
    contains "$example refuses an address" "$out" "$example: "
}

# check_alive EXAMPLE: it has not ended, and has not panicked.
check_alive() {
    kill -0 $pid 2> /dev/null || failed "$1 has ended"
    if grep -q panicked "$dir/$1"; then failed "$1:"; cat "$dir/$1"; fi
}

# --- kv: redis-cli, redis-benchmark ---------------------------------------------------------------

redis() { timeout 30 redis-cli -h "$host" -p "$port" "$@" 2>&1; }

# raw TEXT: sends bytes (as in printf) and prints what comes back until the server closes the connection.
raw() { timeout 30 bash -c 'exec 3<> "/dev/tcp/$0/$1" && printf "$2" >&3 && cat <&3' "$host" "$port" "$1" | tr -d '\r'; }

# The same with what comes from the standard input.
raw_in() { timeout 60 bash -c 'exec 3<> "/dev/tcp/$0/$1" && cat >&3 && cat <&3' "$host" "$port"; }

redis_is() { [ "$(redis get "$1")" = "$2" ]; }

# The same for bytes, in hexadecimal digits.
hex() { timeout 30 bash -c 'exec 3<> "/dev/tcp/$0/$1" && printf "$2" >&3 && cat <&3' "$host" "$port" "$1" 2> /dev/null | od -An -v -tx1 | tr -d ' \n'; }

check_kv() {
    local out long
    serve kv
    compare "kv PING" "$(redis ping)" PONG
    compare "kv SET and GET" "$(redis set greeting 'hello world'; redis get greeting)" $'OK\nhello world'
    compare "kv GET of a key that is not there" "$(redis --no-raw get nothing)" '(nil)'
    compare "kv INCR" "$(redis incr n; redis incr n; redis get n)" $'1\n2\n2'
    contains "kv INCR of a text" "$(redis incr greeting)" 'ERR value is not an integer'
    compare "kv EXISTS and DEL" "$(redis exists n greeting no; redis del n greeting no; redis exists n)" $'2\n2\n0'
    matches "kv SET EX and TTL" "$(redis set k v ex 100; redis ttl k)" $'^OK\n(9[0-9]|100)$'
    compare "kv SET ends an expiry" "$(redis set k v; redis ttl k; redis ttl no)" $'OK\n-1\n-2'
    matches "kv EXPIRE" "$(redis expire k 50; redis ttl k; redis expire no 1)" $'^1\n(4[0-9]|50)\n0$'
    compare "kv SET PX" "$(redis set brief v px 50)" OK
    if until_true 30 redis_is brief ''; then echo "ok      kv forgets a key in time"; else failed "kv keeps an expired key"; fi
    # An expiry that was replaced does nothing: `brief` would be gone first.
    redis set kept v px 50 > /dev/null; redis set kept w > /dev/null; redis set brief v px 100 > /dev/null
    until_true 30 redis_is brief ''
    compare "kv forgets an expiry that was replaced" "$(redis get kept)" w
    contains "kv refuses an expiry of 0" "$(redis set k v ex 0)" 'ERR invalid expire time'
    contains "kv counts arguments" "$(redis get)" "ERR wrong number of arguments for 'get' command"
    contains "kv names what it does not know" "$(redis lpush list v)" "ERR unknown command 'lpush'"

    long=$(head -c 100000 /dev/zero | tr '\0' x)
    compare "kv takes a long value" "$(printf %s "$long" | redis -x set long; redis get long)" "OK"$'\n'"$long"
    # 50,000 commands before the first reply is read, in the protocol's own form.
    out=$(for ((i = 0; i < 50000; i++)); do printf '*2\r\n$4\r\nINCR\r\n$4\r\nmany\r\n'; done | redis --pipe)
    contains "kv runs 50,000 commands in one go" "$out" 'errors: 0, replies: 50000'
    compare "kv has run all of them" "$(redis get many)" 50000
    # 1,000 replies of 100 kB, which do not fit into any buffer of the system.
    out=$( (for ((i = 0; i < 1000; i++)); do echo GET long; done; echo QUIT) | raw_in | wc -c)
    compare "kv writes replies that do not fit into one buffer" "$out" $((1000 * (9 + 100000 + 2) + 5))

    compare "kv lines" "$(raw 'SET a 1\r\n\r\n  get  a \nQUIT\r\n')" $'+OK\n$1\n1\n+OK'
    contains "kv refuses a wrong length" "$(raw '*1\r\n$-5\r\n')" '-ERR Protocol error: invalid bulk length'
    contains "kv refuses too many arguments" "$(raw '*9999999\r\n')" '-ERR Protocol error: invalid multibulk length'
    contains "kv refuses what is no string" "$(raw '*1\r\n:5\r\n')" "-ERR Protocol error: expected '$', got ':'"
    contains "kv refuses a line without an end" "$(printf %s "${long:0:16384}" | raw_in)" '-ERR Protocol error: too big inline request'

    # Each line of the summary: "NAME","requests per second",...
    for pipeline in 1 16; do
        out=$(timeout 60 redis-benchmark -h "$host" -p "$port" -t ping,set,get,incr -n 20000 -c 50 -P $pipeline -r 1000 --csv 2>&1)
        compare "kv serves redis-benchmark -P $pipeline" "$(grep -cE '^"[A-Z_]+","[1-9]' <<< "$out")" 5
        if grep -qiE 'error|warning' <<< "$out"; then failed "redis-benchmark: $out"; fi
    done
    check_alive kv
    end $pid

    # With one client at a time, a second one waits until the first one has left.
    serve kv --max-clients 1
    exec 4<> "/dev/tcp/$host/$port"
    printf 'PING\r\n' >&4
    read -r -t 30 -u 4 out
    redis ping 4>&- > "$dir/ping" &
    sleep 0.3
    compare "kv lets a client wait" "${out%?} $(cat "$dir/ping")" "+PONG "
    exec 4>&-
    wait $!
    compare "kv serves it when another has left" "$(cat "$dir/ping")" PONG
    out=$(for ((i = 0; i < 20; i++)); do redis incr clients & done; wait)
    compare "kv serves clients that wait for others to leave" "$(sort -n <<< "$out" | paste -sd ' ')" "$(seq 20 | paste -sd ' ')"
    check_alive kv
    end $pid
}

# --- socks5: curl ---------------------------------------------------------------------------------

# A web server in a folder, as in `python3 web.py ADDRESS PORT FOLDER`. It prints its address, and answers `/name` by
# the name that it was given as the fourth argument.
cat > "$dir/web.py" << 'END'
import functools, http.server, socket, sys

class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def do_GET(self):
        if self.path != "/name":
            return super().do_GET()
        body = sys.argv[4].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
    request_queue_size = 1024

    def handle_error(self, *_):
        pass

server = Server((sys.argv[1], int(sys.argv[2])), functools.partial(Handler, directory=sys.argv[3]))
print("web", server.server_address[1], flush=True)
server.serve_forever()
END

# web NAME ADDRESS [PORT]: starts a web server and sets `found` to its port.
web() { start "$1" '^web \([0-9]*\)$' python3 "$dir/web.py" "$2" "${3:-0}" "$dir" "$1"; }

# A free port of 127.0.0.1, for a program that cannot choose one.
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# held: starts a program that holds two ports of UDP and one of TCP, so that no other program gets them. Sets `silent` to
# the port from which nothing is read, `closed` to one that refuses what is sent to it, because its socket is connected to
# itself, and `refusing` to that of TCP: nobody listens there, until a server with SO_REUSEADDR does.
held() {
    start held '^held \([0-9 ]*\)$' python3 -c '
import socket, time
silent, closed = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
tcp = socket.socket(); tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
for each in silent, closed, tcp: each.bind(("127.0.0.1", 0))
closed.connect(closed.getsockname())
print("held", *(each.getsockname()[1] for each in (silent, closed, tcp)), flush=True)
time.sleep(3600)'
    read -r silent closed refusing <<< "$found"
}

check_socks5() {
    local web4 web6='' silent closed refusing out address
    head -c 20000000 /dev/urandom > "$dir/random"
    web web4 127.0.0.1
    web4=$found
    if [ -e /proc/net/if_inet6 ] && grep -q ' lo$' /proc/net/if_inet6; then
        web web6 ::1
        web6=$found
    fi
    held
    serve socks5
    proxied() { timeout 60 curl -sS --noproxy '' --socks5-hostname "$host:$port" "$@" 2>&1; }

    for address in "127.0.0.1:$web4" "localhost:$web4" ${web6:+"[::1]:$web6"}; do
        proxied -o "$dir/got" "http://$address/random" || failed "socks5 $address: curl ended with status $?"
        if cmp "$dir/got" "$dir/random"; then echo "ok      socks5 $address"; else failed "socks5 $address"; fi
        rm -f "$dir/got"
    done
    [ -n "$web6" ] || echo "skipped: socks5 over IPv6, which this host does not have"
    # By 20 clients at a time, with two requests over each connection.
    out=$(proxied --parallel --parallel-max 20 -w '%{http_code}\n' $(for ((i = 0; i < 100; i++)); do
        echo -o /dev/null -o /dev/null "http://127.0.0.1:$web4/name" "http://127.0.0.1:$web4/name"; done))
    compare "socks5 200 requests" "$(grep -c '^200$' <<< "$out")" 200
    contains "socks5 a port where nobody listens" "$(proxied "http://127.0.0.1:$refusing/")" '(5)'
    contains "socks5 a host without an address" "$(proxied "http://nowhere.invalid/")" '(4)'
    compare "socks5 refuses BIND" "$(hex '\x05\x01\x00\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50')" 050005070001000000000000
    compare "socks5 refuses an unknown kind of address" "$(hex '\x05\x01\x00\x05\x01\x00\x09')" 050005080001000000000000
    compare "socks5 refuses clients with passwords only" "$(hex '\x05\x01\x02')" 05ff
    compare "socks5 refuses other versions" "$(hex '\x04\x01')" ''
    check_alive socks5
    end $pid

    # The client is silent, and the connection ends all the same.
    serve socks5 --limit-ms 100
    compare "socks5 closes the connection of a silent client" "$(hex '\x05')" ''
    end "${pids[@]}"
    pids=()
}

# --- dns_forwarder: dig ---------------------------------------------------------------------------

check_dns_forwarder() {
    local dns silent closed refusing i out text
    # It cannot choose a free port itself, and another program may take the port.
    for ((i = 0; i < 5; i++)); do
        dns=$(free_port)
        text=$(head -c 200 /dev/zero | tr '\0' t)
        dnsmasq --keep-in-foreground --log-facility=- --port="$dns" --listen-address=127.0.0.1 --bind-interfaces \
            --conf-file=/dev/null --pid-file= --user="$(id -un)" --no-resolv --no-hosts --no-daemon \
            --host-record=one.test,192.0.2.1,2001:db8::1 --cname=alias.test,one.test \
            $(for n in 1 2 3 4 5 6 7 8 9; do echo "--txt-record=long.test,$n$text"; done) > "$dir/dnsmasq" 2>&1 < /dev/null &
        pid=$!
        pids+=($pid)
        if until_true 10 grep -q started "$dir/dnsmasq" && kill -0 $pid 2> /dev/null; then break; fi
    done
    if [ $i = 5 ]; then failed "dnsmasq does not start: $(cat "$dir/dnsmasq")"; return; fi
    held
    ask() { timeout 60 dig @127.0.0.1 -p "$port" +tries=1 +timeout=30 "$@" 2>&1; }

    serve dns_forwarder --upstream "127.0.0.1:$dns" --wait-ms 5000
    compare "dns_forwarder A" "$(ask +short one.test)" 192.0.2.1
    compare "dns_forwarder AAAA, over TCP" "$(ask +short +tcp one.test aaaa)" 2001:db8::1
    compare "dns_forwarder CNAME" "$(ask +short alias.test)" $'one.test.\n192.0.2.1'
    contains "dns_forwarder a name that is refused" "$(ask other.example)" 'status: REFUSED'
    out=$(ask +bufsize=512 long.test txt)
    contains "dns_forwarder truncates" "$out" 'Truncated, retrying in TCP mode'
    compare "dns_forwarder has the rest over TCP" "$(grep -c '^long\.test\..*ttttt"$' <<< "$out")" 9
    # dig ignores answers with another id than it has sent, so each of these had its own.
    for ((i = 0; i < 200; i++)); do echo "one.test a"; done > "$dir/queries"
    compare "dns_forwarder 200 queries" "$(ask +short -f "$dir/queries" | grep -c '^192\.0\.2\.1$')" 200
    compare "dns_forwarder 200 queries on one connection" \
        "$(ask +short +tcp +keepopen -f "$dir/queries" | grep -c '^192\.0\.2\.1$')" 200
    check_alive dns_forwarder
    end $pid

    serve dns_forwarder --upstream "127.0.0.1:$silent,127.0.0.1:$closed,127.0.0.1:$dns" --wait-ms 3000
    compare "dns_forwarder asks the next name server" "$(ask +short one.test)" 192.0.2.1
    matches "dns_forwarder was refused or without an answer before" "$(cat "$dir/dns_forwarder")" \
        "127.0.0.1:$silent: timed out.*127.0.0.1:$closed: .*refused"
    compare "dns_forwarder asks the next name server over TCP" "$(ask +short +tcp one.test)" 192.0.2.1
    end $pid
    serve dns_forwarder --upstream "127.0.0.1:$silent" --wait-ms 100
    contains "dns_forwarder says that nobody has answered" "$(ask one.test)" 'status: SERVFAIL'
    check_alive dns_forwarder
    end "${pids[@]}"
    pids=()
}

# --- balancer: wrk, curl --------------------------------------------------------------------------

check_balancer() {
    local left_port left_pid right_port silent closed refusing seconds
    # It can start on this port again and again.
    held
    left_port=$refusing
    web left 127.0.0.1 "$left_port"
    left_pid=$pid
    web right 127.0.0.1
    right_port=$found
    serve balancer --to "127.0.0.1:$left_port,127.0.0.1:$right_port" --check-ms 100
    load() { timeout 60 wrk -t 1 -c 20 -d "$1" --timeout 20 "http://$host:$port/name" 2>&1; }
    # served_by_wrk WHAT. Within a second a server that is held up may answer none.
    served_by_wrk() {
        local seconds out
        for seconds in 1 5 20; do
            out=$(load $seconds)
            if [[ $out != *' 0 requests in'* ]]; then break; fi
        done
        no_errors "$1" "$out"
    }
    # Names the servers that answer ten requests, each over a connection of its own.
    answers() {
        local i
        for ((i = 0; i < 10; i++)); do timeout 20 curl -sS --noproxy '*' "http://$host:$port/name" 2>&1; echo; done |
            sort -u | paste -sd ' '
    }
    # Whether the balancer has written a line since `from_now`.
    local from=1
    logged() { grep -q "$1" <(tail -n "+$from" "$dir/balancer"); }
    from_now() { from=$(($(wc -l < "$dir/balancer") + 1)); }
    both_answer() { [ "$(answers)" = "left right" ]; }

    compare "balancer both servers answer" "$(answers)" "left right"
    served_by_wrk "balancer wrk"

    # Connections to the server that ends are broken; those to the other one go on.
    for seconds in 3 10 30; do
        if ! kill -0 $left_pid 2> /dev/null; then web left 127.0.0.1 "$left_port"; left_pid=$pid; fi
        load $seconds > "$dir/wrk" &
        sleep $((seconds / 3))
        from_now
        end $left_pid
        wait $!
        if ! grep -q ' 0 requests in' "$dir/wrk"; then break; fi
    done
    matches "balancer wrk while a server ends" "$(cat "$dir/wrk")" '[1-9][0-9]* requests in'
    if until_true 30 logged "^127.0.0.1:$left_port is down"; then echo "ok      balancer marks the server as down"
    else failed "balancer does not mark the server as down"; fi
    compare "balancer the other server answers" "$(answers)" right
    served_by_wrk "balancer wrk with one server"

    from_now
    web left 127.0.0.1 "$left_port"
    left_pid=$pid
    if until_true 30 logged "^127.0.0.1:$left_port is up"; then echo "ok      balancer marks the server as up again"
    else failed "balancer does not mark the server as up again"; fi
    if until_true 30 both_answer; then echo "ok      balancer both servers answer again"
    else failed "balancer: only $(answers) answers"; fi
    served_by_wrk "balancer wrk with both servers"
    if grep -q panicked "$dir/balancer"; then failed "balancer: $(cat "$dir/balancer")"; fi

    # Without checks: a server that refuses is noticed by the first client that is sent there.
    serve balancer --to "127.0.0.1:$left_port,127.0.0.1:$right_port" --check-ms 600000
    compare "balancer without checks" "$(answers)" "left right"
    from_now
    end $left_pid
    compare "balancer sends clients on" "$(answers)" right
    if logged "^127.0.0.1:$left_port is down"; then echo "ok      balancer marks what refuses a client"
    else failed "balancer does not mark what refuses a client"; fi
    check_alive balancer
    end "${pids[@]}"
    pids=()
}

# --- graceful: wrk, curl, a client of its own -----------------------------------------------------

# graceful_under_wrk SECONDS: ends the server after this time. Returns 75 if wrk was held up, so that the check shows nothing.
# When the server ends, wrk has a response on every connection that it had made. It then tries to connect again, and
# counts the refusals as errors of its first write. A connection that is reset would be an error of a read.
graceful_under_wrk() {
    local out status client begin took
    # Not by `timeout`: wrk prints its counts when it gets SIGINT, which a background process of a script ignores otherwise.
    setsid python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])' \
        wrk -t 1 -c 50 -d 60 --timeout 20 "http://$host:$port/" > "$dir/wrk" 2>&1 &
    client=$!
    pids+=($client)
    sleep "$1"
    begin=${EPOCHREALTIME/[.,]/}
    kill -TERM $pid
    wait $pid
    status=$?
    took=$((${EPOCHREALTIME/[.,]/} - begin))
    # It may not have read the last responses yet.
    sleep 1
    kill -INT $client
    wait $client
    pids=()
    compare "graceful ends cleanly under wrk" $status 0
    out=$(tail -n 2 "$dir/graceful")
    matches "graceful has answered what it has read" "$out" $'^nothing was left\nread ([0-9]+) requests, answered ([0-9]+)$'
    compare "graceful has answered every request" "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
    if grep -q panicked "$dir/graceful"; then failed "graceful: $(cat "$dir/graceful")"; fi
    out=$(cat "$dir/wrk")
    # Without an error it prints no line of them.
    if [[ $out =~ [1-9][0-9]*' requests in' ]] &&
        [[ $out != *'Socket errors'* || $out =~ 'Socket errors: connect '[0-9]+', read 0, write '[0-9]+', timeout 0' ]]; then
        echo "ok      graceful: wrk has lost no request"
    # It had sent nothing, or has left a connection idle for the second that the server grants it: IDLE in graceful.rs.
    elif [[ ! $out =~ [1-9][0-9]*' requests in' ]] || [ $took -ge 900000 ]; then
        echo "again: wrk was held up: $out"
        return 75
    else
        failed "graceful: wrk has lost requests: $out"
    fi
}

check_graceful() {
    local seconds status
    serve graceful --grace 30
    get() { timeout 30 curl -sS --noproxy '*' "$@" "http://$host:$port/" 2>&1; }
    compare "graceful GET" "$(get)" hello
    compare "graceful HTTP/1.0" "$(get -0)" hello
    matches "graceful HEAD" "$(get -I)" '^HTTP/1.1 200 OK'
    compare "graceful POST" "$(head -c 900000 /dev/zero | get --data-binary @- -H 'Expect: 100-continue')" hello
    contains "graceful refuses a long body" "$(head -c 2000000 /dev/zero | get -i --data-binary @-)" '413 Content Too Large'
    contains "graceful refuses a chunked body" "$(echo x | get -i -H 'Transfer-Encoding: chunked' --data-binary @-)" 501
    contains "graceful refuses what is no request" "$(raw 'nonsense\r\n\r\n')" '400 Bad Request'
    contains "graceful refuses a long head" "$( (printf 'GET / HTTP/1.1\r\nx: '; head -c 20000 /dev/zero) | raw_in)" 431

    for seconds in 2 5 10 20 20; do
        graceful_under_wrk $seconds
        status=$?
        if [ $status != 75 ]; then break; fi
        serve graceful --grace 30
    done
    if [ $status = 75 ]; then failed "graceful: no end under wrk took less than a second"; fi

    timeout 300 python3 "$here/graceful-client.py" "$target/release/examples/graceful" || rc=1
}

# no_errors WHAT OUTPUT-OF-WRK
no_errors() {
    matches "$1" "$2" '[1-9][0-9]* requests in'
    case $2 in *'Socket errors'* | *Non-2xx*) failed "$1: $2" ;; esac
}

# --- all of them ----------------------------------------------------------------------------------

all=(kv socks5 dns_forwarder balancer graceful)
examples=("$@")
if [ $# = 0 ]; then examples=("${all[@]}"); fi
build=()
for example in "${examples[@]}"; do build+=(--example "$example"); done
cargo build --release --features signal "${build[@]}" || exit 1
for example in "${examples[@]}"; do
    check_arguments "$example"
    "check_$example"
done
exit $rc
