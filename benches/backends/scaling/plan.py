"""What is measured: sweeps of points, each point one process."""

import resource
from dataclasses import dataclass

# How each one is used where triggers are not the question: by reveille's futures, and by its own default.
NATURAL = {"floor": "edge", "mio": "edge", "polling": "oneshot"}
# The mechanism of the callback loop that the timeouts are measured on.
TIMEOUTS_ON = "epoll"
POLICIES = ("none", "push", "again")


@dataclass(frozen=True)
class Point:
    sweep: str
    who: str
    # A trigger; with timeouts, what a read does to them.
    how: str
    pairs: int
    active: int
    writes: int
    # The limit of queued signals, or 0: as it is.
    pending: int = 0

    @property
    def key(self):
        return f"{self.sweep}/{self.who}/{self.how}/{self.pairs}/{self.active}/{self.pending}"

    def command(self, program, runs, writes=None):
        what = ["timeouts" if self.sweep == "timeouts" else "ring", self.who, self.how]
        pending = ["--pending", self.pending] if self.pending else []
        keep = ["--keep", 1] if self.sweep == "turn" else []
        return [program, *what, *keep, "--pairs", self.pairs, "--active", self.active,
                "--writes", writes or self.writes, "--runs", runs, *pending]


def natural(who):
    return NATURAL.get(who, "edge")


def descriptors(pairs):
    return 2 * pairs + 50


def fits(point):
    return descriptors(point.pairs) <= resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def times(names, quick):
    """`names`: who can be measured, with the triggers of each."""
    sizes = (100, 1000, 5000, 9000) if quick else (100, 1000, 2000, 5000, 9000)
    points = []
    for who in names:
        how = natural(who)
        # Fewer turns where poll takes milliseconds for one.
        points += [Point("turn", who, how, n, 1, 100 if n <= 1000 else 40) for n in (10, *sizes)]
        points += [Point("idle", who, how, n, 100, 1000) for n in sizes]
        for share in (1, 10, 50, 100) if quick else (1, 5, 10, 25, 50, 100):
            active = 5000 * share // 100
            points.append(Point("active", who, how, 5000, active, max(active, 1000)))
        points += [Point("triggers", who, t, 1000, 100, 1000) for t in names[who]]
    for n in (1000, 9000):
        points += [Point("timeouts", TIMEOUTS_ON, policy, n, 100, 1000) for policy in POLICIES]
        if "rtsig" in names:
            limits = (64, 1024) if quick else (32, 64, 96, 256, 1024)
            points += [Point("overflow", "rtsig", "edge", n, 100, 1000, limit) for limit in limits]
    return [p for p in points if fits(p)]


# Two lengths for each number of bytes on the way: what the longer one has more of is counted. For instructions they
# are further apart, for set-up differs a little from process to process: the keys of hash tables are random.
CALLS_OF = {1: (40, 140), 100: (400, 1400)}
INSTRUCTIONS_OF = {1: (40, 140), 100: (400, 8400)}


def calls(names):
    return [Point("calls", who, how, 1000, active, 0)
            for who in names for how in names[who] for active in CALLS_OF]


# Two numbers of runs of a ring of 500, for what it takes to remove and add an fd: the first run only adds.
REGISTER_RUNS = (2, 4)


def registering(names):
    return [Point("register", who, natural(who), 500, 1, 0) for who in names]


def instructions(names, quick):
    points = [Point("calls", who, how, 1000, 100, 0) for who in names for how in names[who]]
    for who in names:
        for n in (100, 9000) if quick else (100, 1000, 9000):
            points.append(Point("turn", who, natural(who), n, 1, 0))
    points += [Point("timeouts", TIMEOUTS_ON, policy, n, 100, 0) for policy in POLICIES for n in (1000, 9000)]
    return [p for p in points if fits(p)]
