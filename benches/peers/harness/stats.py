"""Medians, spread, and the 95 % interval of a median by order statistics."""

from math import comb


def quantile(values, q):
    s = sorted(values)
    at = (len(s) - 1) * q
    low = int(at)
    high = min(low + 1, len(s) - 1)
    return s[low] + (s[high] - s[low]) * (at - low)


def median(values):
    return quantile(values, 0.5)


def quartiles(values):
    return quantile(values, 0.25), quantile(values, 0.75)


def interval(values):
    """(low, high) of the median at 95 %, without any assumption on the distribution.

    With fewer than six values no such interval exists: None.
    """
    s, n = sorted(values), len(values)
    if n < 6:
        return None
    below, k = 0.0, 0
    while k < n // 2:
        below += comb(n, k) / 2**n
        if 2 * below > 0.05:
            break
        k += 1
    return s[k - 1], s[n - k]


def ratios(rounds, contestant, reference):
    """Round by round: only rounds in which both were measured."""
    return [r[contestant] / r[reference] for r in rounds
            if r.get(contestant) and r.get(reference)]
