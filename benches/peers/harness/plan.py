"""What is measured: shapes of the echo, the micro workloads, their references and run lengths.

`n` of a micro workload is chosen for some 20 to 100 ms; `count` are the two lengths whose difference
gives system calls and instructions per operation; `every` = only each so many rounds, for slow ones.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Echo:
    key: str
    title: str
    conns: int
    size: int
    depth: int
    requests: int
    buffer: int
    others: int = 0
    count: tuple = (2000, 6000)
    reference: str = "rawepoll"
    metrics: tuple = (("cpu_ns", "server CPU per request, ns"),)
    every: int = 1
    kind: str = "echo"
    path: str = "/"
    warm: int = 1000
    instructions: bool = False
    group: str = field(default="echo")

    def load_args(self, requests):
        return ["--kind", self.kind, "--conns", self.conns, "--size", self.size, "--depth", self.depth,
                "--requests", requests, "--others", self.others, "--path", self.path,
                "--warm", self.warm]

    def able(self, what):
        """Whether a contestant of which `peers list` says this can run it."""
        return what.get("serve") if self.kind == "echo" else self.kind in what.get("servers", [])


@dataclass(frozen=True)
class Micro:
    key: str
    title: str
    workload: str
    n: int
    reference: str
    k: int = 0
    us: int = 0
    count: tuple = (2000, 12000)
    metrics: tuple = (("cpu_ns", "CPU per operation, ns"),)
    every: int = 1
    instructions: bool = True
    group: str = field(default="tasks")

    def args(self, n, warm=None):
        args = ["--n", n, "--k", self.k, "--us", self.us]
        return args + (["--warm", warm] if warm is not None else [])

    def able(self, what):
        return self.workload in what.get("micro", [])


ECHO = [
    Echo("echo-64-1", "64 B, 1 connection", 1, 64, 1, 4_000, 4096, instructions=True),
    Echo("echo-64-64", "64 B, 64 connections", 64, 64, 1, 25_000, 4096, count=(4000, 12000),
         instructions=True),
    Echo("echo-64-512", "64 B, 512 connections", 512, 64, 1, 25_000, 4096, count=(5000, 15000)),
    Echo("echo-64-4096", "64 B, 4,096 connections", 4096, 64, 1, 40_000, 4096, count=(8192, 24576)),
    Echo("echo-64-64-d16", "64 B, 64 connections, depth 16", 64, 64, 16, 300_000, 4096,
         count=(32_000, 96_000)),
    Echo("echo-16k-64", "16 KiB, 64 connections", 64, 16384, 1, 15_000, 16385, count=(2000, 6000)),
    Echo("echo-64-64-among-8000", "64 B, 64 connections, 8,000 idle ones beside them", 64, 64, 1,
         25_000, 4096, others=8000, count=(4000, 12000), every=3),
]

PER_CONNECTION = (("cpu_ns", "server CPU per connection, ns"),)
PER_DATAGRAM = (("cpu_ns", "server CPU per datagram, ns"),)
PER_MIB = (("cpu_ns", "proxy CPU per MiB, ns"), ("ns", "time per MiB, ns"))
PER_STREAM = (("cpu_ns", "server CPU per stream, ns"),)
PER_MIB_SERVED = (("cpu_ns", "server CPU per MiB, ns"),)

# Servers beside the echo over TCP. The answers of hyper and quinn are all alike, so tokio is the reference;
# the hand-written server does what these three requests need and nothing else.
SERVERS = [
    Echo("unix-64-1", "Unix stream, 64 B, 1 connection", 1, 64, 1, 6_000, 4096, kind="unix",
         instructions=True, group="streams"),
    Echo("unix-64-64", "Unix stream, 64 B, 64 connections", 64, 64, 1, 40_000, 4096, kind="unix",
         count=(4000, 12000), instructions=True, group="streams"),
    Echo("once-64", "connect, one request of 64 B, close; 64 at once", 64, 64, 1, 4_000, 128,
         kind="once", count=(1000, 3000), metrics=PER_CONNECTION, instructions=True, group="streams"),
    Echo("copy-1", "proxy, both ways at once, 1 connection", 1, 0, 1, 200, 8192, kind="proxy",
         count=(20, 60), warm=20, metrics=PER_MIB, group="streams"),
    Echo("copy-1-64k", "the same with buffers of 64 KiB for all that take a size", 1, 0, 1, 200, 65536,
         kind="proxy", count=(20, 60), warm=20, metrics=PER_MIB, group="streams"),
    Echo("copy-16", "proxy, both ways at once, 16 connections", 16, 0, 1, 256, 8192, kind="proxy",
         count=(32, 96), warm=32, metrics=PER_MIB, group="streams"),
    Echo("hello-64", "HTTP hello world, 64 connections", 64, 0, 1, 12_000, 4096, kind="http",
         path="/hello", count=(2000, 6000), reference="tokio", instructions=True, group="http"),
    Echo("hello-4096", "HTTP hello world, 4,096 connections", 4096, 0, 1, 24_000, 4096, kind="http",
         path="/hello", count=(8192, 24576), reference="tokio", group="http"),
    Echo("h2-8-16", "HTTP/2 hello world, 8 connections with 16 streams each", 8, 0, 16, 24_000, 4096,
         kind="http2", path="/hello", count=(4000, 12000), reference="tokio", instructions=True,
         group="http"),
    Echo("tls-64", "HTTP hello world over TLS, 64 connections", 64, 0, 1, 12_000, 4096, kind="tls",
         path="/hello", count=(2000, 6000), reference="tokio", instructions=True, group="http"),
    Echo("post-1m", "HTTP POST of 1 MiB, 4 connections", 4, 1 << 20, 1, 1_200, 4096, kind="http",
         count=(100, 400), warm=20, reference="tokio", instructions=True, group="http"),
    Echo("get-1m", "HTTP GET of 1 MiB, 4 connections", 4, 0, 1, 600, 4096, kind="http",
         path="/big", count=(100, 400), warm=20, reference="tokio", instructions=True, group="http"),
    Echo("quic-32", "QUIC, streams of 32 bytes there and back, 4 connections with 16 at once", 4, 32,
         16, 40_000, 4096, kind="quic", count=(2000, 6000), metrics=PER_STREAM, reference="tokio",
         instructions=True, group="http"),
    Echo("quic-128m", "QUIC, 128 MiB there and back on one stream", 1, 0, 1, 128, 4096,
         kind="quic-bulk", count=(8, 24), warm=16, metrics=PER_MIB_SERVED, reference="tokio",
         instructions=True, group="http"),
    Echo("udp-64-1", "UDP, 64 B, 1 peer", 1, 64, 1, 6_000, 2048, kind="udp", metrics=PER_DATAGRAM,
         instructions=True, group="datagrams"),
    Echo("udp-64-64", "UDP, 64 B, 64 peers", 64, 64, 1, 40_000, 2048, kind="udp",
         count=(4000, 12000), metrics=PER_DATAGRAM, instructions=True, group="datagrams"),
    Echo("udp-64-1-d32", "UDP, 64 B, 1 peer, 32 outstanding", 1, 64, 32, 48_000, 2048, kind="udp",
         count=(6400, 19200), metrics=PER_DATAGRAM, instructions=True, group="datagrams"),
]

LATE = (("p50_us", "late by, p50, us"), ("p99_us", "late by, p99, us"))

CROSS = (("p50_ns", "round trip, p50, ns"), ("cpu_ns", "CPU of the task's thread, ns"),
         ("process_cpu_ns", "CPU of both threads, ns"))

ROUND_TRIP = (("p50_ns", "round trip, p50, ns"), ("cpu_ns", "CPU of all threads, ns"))
IN_FLIGHT = (("ns", "time per closure, ns"), ("cpu_ns", "CPU of all threads, ns"))

MICRO = [
    Micro("spawn-task", "spawn + join in a task", "spawn-task", 200_000, "rawexec"),
    Micro("spawn-root", "spawn + join from block_on", "spawn-root", 200_000, "rawexec"),
    Micro("switch-1", "switch, 1 task", "switch", 1_000_000, "rawexec", k=1),
    Micro("switch-100", "switch, 100 tasks", "switch", 1_000_000, "rawexec", k=100),
    Micro("switch-10000", "switch, 10,000 tasks", "switch", 1_000_000, "rawexec", k=10_000,
          count=(100_000, 300_000)),
    Micro("yield-100", "own yield_now, 100 tasks", "yield", 1_000_000, "rawexec", k=100),
    Micro("ping-pong", "local wake ping-pong", "ping-pong", 500_000, "rawexec"),
    Micro("cross", "wake across threads and back, p50 of the round trip", "cross", 5_000, "tokio", count=(500, 1500),
          metrics=CROSS, instructions=False),
    Micro("cross-10us", "the same, the thread busy for 10 us before it answers", "cross", 5_000,
          "tokio", us=10, count=(500, 1500), metrics=CROSS, instructions=False),
    Micro("cross-100us", "the same, the thread busy for 100 us before it answers", "cross", 2_000,
          "tokio", us=100, count=(500, 1500), metrics=CROSS, instructions=False),
    Micro("blocking-1", "a closure on a thread that may block, and back", "blocking", 3_000, "tokio",
          k=1, count=(500, 2500), metrics=ROUND_TRIP, group="closures"),
    Micro("blocking-64", "the same, 64 in flight", "blocking", 20_000, "tokio", k=64,
          count=(2000, 6000), metrics=IN_FLIGHT, instructions=False, group="closures"),
    Micro("pipe", "64 KiB blocks through a pipe to another task", "pipe", 4_000, "rawepoll",
          count=(200, 600), group="streams"),
    Micro("udp-recv", "UDP, 64 B, receiving what waits", "udp-recv", 40_960, "rawepoll",
          count=(2560, 7680), metrics=(("cpu_ns", "CPU per datagram, ns"),), group="datagrams"),
    Micro("timer-0", "timer create + poll + drop", "timer", 200_000, "rawwheel", group="timers"),
    Micro("timer-100k", "timer create + poll + drop, 100 thousand others", "timer", 200_000,
          "rawwheel", k=100_000, group="timers"),
    Micro("timer-1m", "timer create + poll + drop, 1 million others", "timer", 200_000, "rawwheel",
          k=1_000_000, every=3, instructions=False, group="timers"),
    Micro("reset-later", "reset to a later given deadline", "reset-later", 500_000, "rawwheel",
          group="timers"),
    Micro("reset-earlier", "reset to an earlier given deadline", "reset-earlier", 500_000, "rawwheel",
          group="timers"),
    Micro("timeout-ready", "timeout of a ready future", "timeout-ready", 1_000_000, "rawwheel",
          group="timers"),
    Micro("sleep-register", "register 1 million sleeps", "sleep-register", 1_000_000, "rawwheel",
          count=(20_000, 60_000), every=3, group="timers"),
    Micro("timer-storm", "1 million timers over one second", "timer-storm", 1_000_000, "rawwheel",
          metrics=(("cpu_ns", "CPU per timer, ns"), ("register_ms", "CPU to register, ms"),
                   ("fire_ms", "CPU to fire, ms")),
          count=(20_000, 60_000), every=5, instructions=False, group="timers"),
    Micro("timer-storm-tasks", "1 million timers over one second, a task each", "timer-storm-tasks",
          1_000_000, "rawwheel", metrics=(("cpu_ns", "CPU per timer, ns"),),
          count=(20_000, 60_000), every=5, instructions=False, group="timers"),
    Micro("late-100us", "sleep(100 us) on an idle runtime", "late", 100, "rawwheel", us=100,
          count=(50, 150), metrics=LATE, instructions=False, group="lateness"),
    Micro("late-1ms", "sleep(1 ms) on an idle runtime", "late", 100, "rawwheel", us=1_000,
          count=(50, 150), metrics=LATE, instructions=False, group="lateness"),
    Micro("late-10ms", "sleep(10 ms) on an idle runtime", "late", 30, "rawwheel", us=10_000,
          count=(10, 40), metrics=LATE, instructions=False, group="lateness"),
    Micro("late-1s", "sleep(1 s) on an idle runtime", "late", 2, "rawwheel", us=1_000_000,
          count=(1, 3), metrics=LATE, every=5, instructions=False, group="lateness"),
]

# Kept things whose live bytes are read: workload, how many, title. Numbers just below a power of two,
# so that doubling tables have little slack.
LIVE = [
    ("live-task", 130_000, "task with a 64 B future"),
    ("live-timer", 130_000, "outstanding timer, with its boxed sleep"),
    ("live-fd", 1_020, "registered fd (UDP socket)"),
]
IDLE_CONNECTIONS = 8_000
SHAPES = ECHO + SERVERS + MICRO
