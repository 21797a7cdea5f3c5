"""results.json to Markdown: one table under each name, for tables.md and for the page in docs."""

from scaling import plan

from harness.stats import median, quantile


def number(x):
    if abs(x) >= 100:
        return f"{x:,.0f}"
    return f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}"


def table(head, rows):
    """Nothing when nothing was measured."""
    if not rows:
        return ""
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def samples(results, point, what, per):
    """`what` per `per` of every run that counts: the first one of each process warms up."""
    found = []
    for process in results["times"].get(point.key, []):
        below = process[per] if isinstance(per, str) else [per] * len(process[what])
        found += [a / b for a, b in zip(process[what][1:], below[1:])]
    return found


def middle(results, point, what, per):
    found = samples(results, point, what, per)
    return median(found) if found else None


def cell(results, point, what, per, unit):
    found = samples(results, point, what, per)
    if not found:
        return "-"
    return f"{number(median(found) / unit)} ({number(quantile(found, 0.99) / unit)})"


def shown(name):
    how = plan.natural(name)
    return name if how == "edge" else f"{name}, {how}"


def points(results, sweep):
    return [plan.Point(*p) for p in results["points"] if p[0] == sweep]


def by_size(results, sweep, what, per, unit, of="pairs"):
    """Rows by name, columns by size; `per` is a column of the runs, or a function of the point."""
    mine = points(results, sweep)
    columns = sorted({getattr(p, of) for p in mine})
    rows = []
    for who in dict.fromkeys(p.who for p in mine):
        row = {getattr(p, of): p for p in mine if p.who == who}
        rows.append([shown(who)] + [
            cell(results, row[c], what, per(row[c]) if callable(per) else per, unit) if c in row else "-"
            for c in columns])
    return columns, rows


def turn(results):
    columns, rows = by_size(results, "turn", "cpu", "turns", 1e3)
    return table(["CPU of a turn, µs, among so many fds"] + [f"{c:,}" for c in columns], rows)


def turn_instructions(results):
    return instruction_table(results, "turn", "user instructions of a turn, among so many fds")


def instruction_table(results, sweep, title):
    counts = {k: v["instructions"] for k, v in results["counts"].items()
              if k.startswith(sweep + "/") and "instructions" in v}
    cells = {}
    for key, value in counts.items():
        _, who, how, pairs, _, _ = key.split("/")
        cells.setdefault(shown(who) if sweep == "turn" else how, {})[int(pairs)] = value
    columns = sorted({n for row in cells.values() for n in row})
    rows = [[name] + [number(row[c]) if c in row else "-" for c in columns] for name, row in cells.items()]
    return table([title] + [f"{c:,}" for c in columns], rows)


def idle(results):
    columns, rows = by_size(results, "idle", "cpu", "bytes", 1)
    return table(["CPU of an event, ns; 100 active among"] + [f"{c:,}" for c in columns], rows)


def register(results):
    columns, rows = by_size(results, "idle", "register_cpu", lambda p: p.pairs, 1)
    calls = {}
    for p in plan.registering(dict.fromkeys(p.who for p in points(results, "idle"))):
        counted = results["counts"].get(p.key, {}).get("register")
        # A turn for each run is among them, a five-hundredth.
        own = {name: [round(n), round(failed)] for name, (n, failed) in (counted or {}).items() if n > 0.5}
        calls[shown(p.who)] = "-" if counted is None else words_of(own)
    rows = [r + [calls[r[0]]] for r in rows if r[0] != "floor"]
    head = ["CPU to remove and add an fd, ns, of so many"] + [f"{c:,}" for c in columns] + ["calls"]
    return table(head, rows)


def active(results):
    columns, rows = by_size(results, "active", "cpu", "bytes", 1, "active")
    return table(["CPU of an event, ns; of 5,000 are active"] + [f"{c / 50:.0f} %" for c in columns], rows)


def calls_of(results, who, how, active):
    """The calls of an event besides its read and its write, in words; failed ones named."""
    counted = results["counts"].get(plan.Point("calls", who, how, 1000, active, 0).key, {}).get("calls")
    if counted is None:
        return "-", "-"
    own = dict(counted)
    for name in ("recvfrom", "sendto"):
        n, failed = own.pop(name, [0, 0])
        n -= 1
        if abs(n) >= 0.0005:
            own[name] = [n, failed]
    return f"{sum(n for n, _ in own.values()):.2f}", words_of(own)


def words_of(calls):
    """The most frequent first."""
    words = [f"{name} {n:g}" + (f", {failed:g} failed" if failed else "")
             for name, (n, failed) in sorted(calls.items(), key=lambda c: (-c[1][0], c[0]))]
    return "; ".join(words) or "none"


def triggers(results):
    rows = []
    for p in points(results, "triggers"):
        alone, words = calls_of(results, p.who, p.how, 1)
        among, _ = calls_of(results, p.who, p.how, 100)
        counted = results["counts"].get(plan.Point("calls", p.who, p.how, 1000, 100, 0).key, {})
        instructions = counted.get("instructions")
        rows.append([p.who, p.how, cell(results, p, "cpu", "bytes", 1),
                     number(instructions) if instructions is not None else "-", among, alone, words])
    return table(["", "trigger", "CPU of an event, ns", "user instructions", "calls, 100 active",
                  "calls, 1 active", "which, 1 active"], rows)


def timeouts(results):
    words = {"none": "no timeouts", "push": "`push_timeout`", "again": "`clear_timeout`, `set_timeout`"}
    mine = points(results, "timeouts")
    sizes = sorted({p.pairs for p in mine})
    rows = []
    for policy in plan.POLICIES:
        row = {p.pairs: p for p in mine if p.how == policy}
        if sorted(row) != sizes or not row:
            continue
        keys = [plan.Point("timeouts", plan.TIMEOUTS_ON, policy, n, 100, 0).key for n in sizes]
        counted = [results["counts"].get(key, {}).get("instructions") for key in keys]
        rows.append([words[policy]]
                    + [cell(results, row[n], "cpu", "bytes", 1) for n in sizes]
                    + ["-" if c is None else number(c) for c in counted]
                    + [cell(results, row[n], "register_cpu", n, 1) for n in sizes])
    head = [f"CPU of an event, ns, {n:,} fds" for n in sizes] + [f"user instructions, {n:,}" for n in sizes]
    return table(["each read"] + head + [f"detach, attach, ns, {n:,}" for n in sizes], rows)


def overflow(results):
    rows = []
    for p in points(results, "overflow"):
        lost = samples(results, p, "overflows", "turns")
        rows.append([f"{p.pairs:,}", f"{p.pending:,}", f"{100 * sum(lost) / len(lost):.0f} %" if lost else "-",
                     cell(results, p, "cpu", "turns", 1e3), cell(results, p, "cpu", "bytes", 1)])
    head = ["fds", "limit of queued signals", "turns with a signal lost", "CPU of a turn, µs", "CPU of an event, ns"]
    return table(head, rows)


def kernel(results):
    """The share of the kernel, where there were enough ticks of its clock to tell."""
    words = []
    for p in points(results, "turn"):
        # Each sum is exact, its parts are estimated by ticks of 4 ms.
        processes = results["times"].get(p.key, [])
        user, system = (sum(r[k] for r in processes) for k in ("user_us", "kernel_us"))
        if user + system > 400_000:
            words.append(f"{p.who} among {p.pairs:,}: {100 * system / (user + system):.0f} % of "
                         f"{(user + system) / 1e6:.1f} s")
    return "" if not words else "In the kernel, where a loop ran long enough for ticks to tell: " + "; ".join(words) + ".\n"


def machine(results):
    e = results["env"]
    low, high = min(e["loads"]), max(e["loads"])
    last = ", the last one not whole," if "time" in results["errors"] else ""
    text = (f"Measured on {e['date']} on {e['cores']} cores ({e['cpu']}), Linux {e['kernel']}, {e['rustc']}, release with thin "
            f"LTO; mio {e['versions']['mio']}, polling {e['versions']['polling']}. {e['rounds']} interleaved "
            f"round{'s' * (e['rounds'] != 1)}{last} of {e['runs']} runs for each point, the first run of each process dropped. "
            f"The load average was {low:.1f} to {high:.1f}")
    quiet = "." if high < 1.5 else ": others were using the machine, so that figures a third apart may be equal."
    return text + quiet + "\n"


ALL = {"machine": machine, "turn": turn, "turn-instructions": turn_instructions, "kernel": kernel, "idle": idle,
       "register": register, "active": active, "triggers": triggers, "timeouts": timeouts, "overflow": overflow}


def render(results):
    return {name: make(results) for name, make in ALL.items()}


def fill(page, tables):
    """The page with what stands between `<!-- NAME -->` and `<!-- end -->` replaced, where there is something new."""
    for name, text in tables.items():
        begin, end = f"<!-- {name} -->\n", "<!-- end -->"
        if text and begin in page:
            before, rest = page.split(begin, 1)
            page = f"{before}{begin}\n{text}\n{end}" + rest.split(end, 1)[1]
    return page
