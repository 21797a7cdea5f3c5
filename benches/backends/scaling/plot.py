"""Lines on logarithmic axes as SVG; no library."""

from html import escape
from math import ceil, floor, log10

from scaling import tables

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 120, 60, 60
# Colour and dashes: this crate's backends are drawn through, others dashed.
STYLE = {
    "epoll": ("#c2410c", ""), "io-uring": ("#7c3aed", ""), "rtsig": ("#15803d", ""), "poll": ("#1d4ed8", ""),
    "select": ("#0e7490", ""), "mio": ("#6b7280", "6 3"), "polling": ("#a16207", "6 3"), "floor": ("#9ca3af", "2 3"),
}


def text(x, y, content, size=12, weight="normal", anchor="start", fill="#1f2328", more=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
            f'text-anchor="{anchor}" fill="{fill}"{more}>{escape(content)}</text>')


class Axis:
    """Values between two powers of ten, or as given, onto pixels."""

    def __init__(self, values, begin, end, whole):
        low, high = log10(min(values)), log10(max(values))
        self.low, self.high = (floor(low), ceil(high)) if whole else (low, high)
        self.begin, self.end = begin, end

    def at(self, value):
        share = (log10(value) - self.low) / ((self.high - self.low) or 1)
        return self.begin + share * (self.end - self.begin)

    def powers(self):
        return [10**p for p in range(ceil(self.low - 1e-9), floor(self.high + 1e-9) + 1)]


def apart(wanted, room):
    """Heights near the wanted ones, `room` apart, none below the lowest wanted one."""
    order = sorted(range(len(wanted)), key=lambda i: -wanted[i])
    placed, last = [0.0] * len(wanted), None
    for i in order:
        placed[i] = wanted[i] if last is None else min(wanted[i], last - room)
        last = placed[i]
    return placed


def drawing(title, x_title, y_title, x_ticks, series):
    """`series`: name -> [(x, y)]."""
    x = Axis([p[0] for line in series.values() for p in line], LEFT, WIDTH - RIGHT, False)
    y = Axis([p[1] for line in series.values() for p in line], HEIGHT - BOTTOM, TOP, True)
    out = [text(10, 26, title, 17, "bold")]
    for value in y.powers():
        h = y.at(value)
        out.append(f'<path d="M{LEFT} {h:.1f} H{WIDTH - RIGHT}" stroke="#d8dee4"/>')
        out.append(text(LEFT - 8, h + 4, f"{value:,g}", anchor="end"))
    for value, word in x_ticks:
        w = x.at(value)
        out.append(f'<path d="M{w:.1f} {TOP} V{HEIGHT - BOTTOM}" stroke="#eaeef2"/>')
        out.append(text(w, HEIGHT - BOTTOM + 18, word, anchor="middle"))
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x_title, anchor="middle"))
    out.append(text(LEFT, TOP - 14, y_title))
    ends = apart([y.at(line[-1][1]) for line in series.values()], 14)
    for (name, line), label in zip(series.items(), ends):
        colour, dashes = STYLE.get(name, ("#1f2328", ""))
        dots = [(x.at(a), y.at(b)) for a, b in line]
        path = " L".join(f"{a:.1f} {b:.1f}" for a, b in dots)
        out.append(f'<path d="M{path}" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}" fill="none"/>')
        out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{colour}"/>' for a, b in dots]
        a, b = dots[-1]
        out.append(f'<path d="M{a + 4:.1f} {b:.1f} L{a + 20:.1f} {label:.1f}" stroke="{colour}" stroke-width="0.7"/>')
        out.append(text(a + 24, label + 4, name, 12, "bold", fill=colour))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
            f'font-family="system-ui, sans-serif">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
            + "\n".join(out) + "\n</svg>\n")


def lines(results, sweep, per, unit, of):
    series = {}
    for p in tables.points(results, sweep):
        value = tables.middle(results, p, "cpu", per)
        if value is not None:
            series.setdefault(p.who, []).append((of(p), value / unit))
    return {name: sorted(line) for name, line in series.items()}


def render(results):
    out = {}
    if series := lines(results, "turn", "turns", 1e3, lambda p: p.pairs):
        ticks = sorted({p[0] for line in series.values() for p in line})
        out["idle"] = drawing("The cost of a turn, by how many fds are watched",
                              "fds watched, one of them ready in each turn", "CPU of a turn, µs (with one read and one write)",
                              [(t, f"{t:,}") for t in ticks], series)
    if series := lines(results, "active", "bytes", 1, lambda p: p.active / 50):
        ticks = sorted({p[0] for line in series.values() for p in line})
        out["active"] = drawing("The cost of an event, by how many of 5,000 fds are active",
                                "share of the fds that are ready in each turn",
                                "CPU of an event, ns (with one read and one write)",
                                [(t, f"{t:g} %") for t in ticks], series)
    return out
