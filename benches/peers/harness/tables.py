"""results.json to Markdown."""

from harness import plan
from harness.stats import interval, median, quartiles, ratios


def number(x, unit=""):
    if x is None:
        return "-"
    if abs(x) >= 1000:
        text = f"{x:,.0f}"
    elif abs(x) >= 100 or x == int(x):
        text = f"{x:.0f}"
    else:
        text = f"{x:.2f}" if abs(x) < 10 else f"{x:.1f}"
    return text + unit


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def metric_rounds(rounds, metric):
    return [{c: r[metric] for c, r in row.items() if metric in r} for row in rounds]


def summary(rounds, contestant, reference):
    """Median, quartiles, rounds, ratio and its interval of one contestant; None when never measured."""
    values = [r[contestant] for r in rounds if contestant in r]
    if not values:
        return None
    ratio = ratios(rounds, contestant, reference)
    return {"median": median(values), "quartiles": quartiles(values), "n": len(values),
            "ratio": median(ratio) if ratio else None, "interval": interval(ratio) if ratio else None}


def order(results, names):
    return [c for c in results["list"] if c in names]


def time_tables(results):
    out = []
    for shape in plan.SHAPES:
        rounds = results["rounds"].get(shape.key)
        counts = results["counts"].get(shape.key, {})
        if not rounds and not counts:
            continue
        errors = results["errors"].get(shape.key, {})
        out.append(f"### {shape.title} (`{shape.key}`)\n")
        names = {c for row in rounds or [] for c in row} | set(counts) | set(errors)
        head = ["", *[title for _, title in shape.metrics
                      for title in (title, "quartiles", f"ratio to {shape.reference}", "95 %")],
                "rounds", "system calls", "instructions", "allocations; bytes"]
        rows = [row_of(shape, c, rounds or [], counts.get(c, {})) for c in order(results, names)]
        out.append(table(head, rows))
        out += [f"- {c}, {what}: {error}\n" for c in order(results, errors)
                for what, error in errors[c].items()]
    return out


def row_of(shape, contestant, rounds, counts):
    row, first = [contestant], None
    for metric, _ in shape.metrics:
        s = summary(metric_rounds(rounds, metric), contestant, shape.reference)
        first = first or s
        row += [number(s["median"]), "{} - {}".format(*map(number, s["quartiles"]))] if s else ["-", "-"]
        ratio, between = (s["ratio"], s["interval"]) if s else (None, None)
        row += [f"{ratio:.2f}" if ratio else "-",
                "{:.2f} - {:.2f}".format(*between) if between else "-"]
    alloc = counts.get("allocations")
    return row + [str(first["n"]) if first else "-", calls(counts.get("syscalls")),
                  number(counts.get("instructions")),
                  f"{number(round(alloc['allocs'], 3))}; {number(round(alloc['bytes'], 1))}" if alloc else "-"]


def calls(counts):
    """`2.02 (recvfrom 1, sendto 1, epoll_wait 0.02)`, failed ones named."""
    if counts is None:
        return "-"
    total = sum(n for n, _ in counts.values())
    parts = [f"{name} {number(round(n, 3))}" + (f", {number(round(e, 3))} failed" if e >= 0.0005 else "")
             for name, (n, e) in sorted(counts.items(), key=lambda item: -item[1][0]) if n >= 0.005]
    return f"{number(round(total, 3))} ({'; '.join(parts)})" if parts else number(round(total, 3))


def memory_table(results):
    live = results["live"]
    if not live:
        return []
    names = {c for rows in live.values() for c in rows}
    head = ["live bytes (allocations) per", *[title for _, _, title in plan.LIVE], "idle connection",
            f"resident bytes per idle connection ({plan.IDLE_CONNECTIONS:,})"]
    rows = []
    for c in order(results, names):
        row = [c]
        for key, _, _ in plan.LIVE:
            r = live.get(key, {}).get(c)
            row.append(f"{number(r['live'])} ({number(round(r['allocs'], 2))})" if r else "-")
        r = live.get("connection", {}).get(c, {})
        row.append(f"{number(r['live'])} ({number(round(r['allocs'], 2))})" if "live" in r else "-")
        rows.append(row + [number(r.get("rss"))])
    notes = [f"- {c}, {key}: {error}\n" for key in [*(k for k, _, _ in plan.LIVE), "connection"]
             for c, errors in results["errors"].get(key, {}).items() for error in errors.values()]
    return ["## Memory\n", table(head, rows), *notes]


def idle_table(results):
    if not results["idle"]:
        return []
    head = ["idle server, per second", "threads", "wake-ups", "CPU, us", "system calls"]
    rows = [[c, number(r["threads"]), number(r["wakeups"]), number(r["cpu_us"]), number(r["syscalls"])]
            for c, r in results["idle"].items()]
    return ["## Idleness\n", table(head, rows)]


def left_out(results):
    rows = []
    for name, what in results["list"].items():
        if "error" in what:
            rows.append([name, "all", what["error"]])
        rows += [[name, w, why] for w, why in what.get("missing", {}).items()]
    return ["## Left out\n", table(["", "workload", "reason"], rows)]


def render(results):
    env = results["env"]
    versions = ", ".join(f"{n} {v}" for n, v in env["versions"].items())
    head = (f"Measured on {env['date']}: {env['cpu']}, {env['cores']} cores, Linux {env['kernel']}, "
            f"{env['rustc']}, load {env['load']:.1f} at the start.\n\n{versions}; {env['valgrind']} for "
            "instructions.\n\nTimes are medians over interleaved rounds; ratios are taken round by "
            "round; the 95 % interval of their median is by order statistics (none below 6 rounds).\n")
    parts = [head, "## Times and counts\n", *time_tables(results), *memory_table(results),
             *idle_table(results), *left_out(results)]
    return "\n".join(parts)
