"""Bar charts as SVG, one file per group, one panel per workload; no library."""

from html import escape

from harness import plan
from harness.tables import metric_rounds, number, order, summary

WIDTH, LABEL, BAR, GAP, PANEL = 720, 130, 16, 6, 44
COLOURS = {"raw": "#8a8f98", "reveille": "#c2410c", "peer": "#3b6ea5"}


def colour(name):
    return COLOURS["raw" if name.startswith("raw") else name if name == "reveille" else "peer"]


def text(x, y, content, size=12, weight="normal", anchor="start", fill="#1f2328"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-weight="{weight}" '
            f'text-anchor="{anchor}" fill="{fill}">{escape(content)}</text>')


def panel(top, title, rows):
    """`rows`: (name, value, low, high, note). Bars start at zero and share one scale."""
    room = WIDTH - LABEL - 190
    # One contestant far beyond the others must not flatten them: its bar is cut and says so.
    values = sorted(r[1] for r in rows)
    most = min(values[-1], 4 * values[len(values) // 2]) or 1
    out = [text(10, top + 22, title, 14, "bold")]
    y = top + PANEL - 10
    for name, value, low, high, note in rows:
        wide = room * min(value, most) / most
        out.append(text(LABEL - 8, y + 12, name, anchor="end"))
        out.append(f'<rect x="{LABEL}" y="{y}" width="{max(wide, 1):.1f}" height="{BAR}" rx="2" '
                   f'fill="{colour(name)}"/>')
        if value > most:
            x = LABEL + wide - 14
            out.append(f'<path d="M{x:.0f} {y + BAR + 1} l6 {-BAR - 2} h4 l-6 {BAR + 2} z" fill="#fff"/>')
        elif low is not None:
            a, b = (LABEL + room * min(v, most) / most for v in (low, high))
            m = y + BAR / 2
            out.append(f'<path d="M{a:.1f} {m} H{b:.1f} M{a:.1f} {m - 4} v8 M{b:.1f} {m - 4} v8" '
                       'stroke="#1f2328" fill="none"/>')
            wide = max(wide, b - LABEL)
        out.append(text(LABEL + wide + 8, y + 12, note, 11, fill="#57606a"))
        y += BAR + GAP
    return out, y + 12


def drawing(title, panels):
    body, y = [text(10, 26, title, 17, "bold")], 36
    for heading, rows in panels:
        out, y = panel(y, heading, rows)
        body += out
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0f}" width="{WIDTH}" '
            f'height="{y:.0f}" font-family="system-ui, sans-serif">\n'
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(body) + "\n</svg>\n")


def rows_of(results, shape, metric):
    rounds = metric_rounds(results["rounds"].get(shape.key, []), metric)
    rows = []
    for name in order(results, {c for row in rounds for c in row}):
        s = summary(rounds, name, shape.reference)
        low, high = s["quartiles"]
        ratio = f"  ({s['ratio']:.2f} x)" if s["ratio"] and name != shape.reference else ""
        rows.append((name, s["median"], low, high, number(s["median"]) + ratio))
    return rows


def instruction_rows(results, shape):
    counts = results["counts"].get(shape.key, {})
    names = order(results, {c for c, got in counts.items() if "instructions" in got})
    return [(c, counts[c]["instructions"], None, None, number(counts[c]["instructions"])) for c in names]


def render(results):
    groups = {}
    for key, title in (("echo", "TCP echo: server CPU per request, ns"),
                       ("streams", "Streams: CPU per request, connection, MiB or block, ns"),
                       ("http", "HTTP: server CPU per request, ns"),
                       ("datagrams", "UDP: CPU per datagram, ns"),
                       ("closures", "Closures on other threads: time of each, ns"),
                       ("tasks", "Tasks: CPU per operation, ns"), ("timers", "Timers: CPU per operation, ns"),
                       ("lateness", "Sleeps on an idle runtime: late by, p50, us")):
        groups[key] = (title, [s for s in plan.SHAPES if s.group == key])
    out = {}
    for key, (title, shapes) in groups.items():
        panels = [(s.title, rows_of(results, s, s.metrics[0][0])) for s in shapes]
        panels = [p for p in panels if p[1]]
        if panels:
            out[key] = drawing(title, panels)
    shapes = [s for s in plan.SHAPES if results["counts"].get(s.key)]
    panels = [(s.title, instruction_rows(results, s)) for s in shapes]
    panels = [p for p in panels if p[1]]
    if panels:
        out["instructions"] = drawing("User-space instructions per operation", panels)
    live = results["live"].get("connection", {})
    rows = [(c, live[c]["rss"], None, None, number(live[c]["rss"]))
            for c in order(results, {c for c, got in live.items() if "rss" in got})]
    if rows:
        out["memory"] = drawing("Memory", [("resident bytes per idle connection", rows)])
    return out
