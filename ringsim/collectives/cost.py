"""The alpha-beta model: what a collective costs on uniform links that nobody else uses (Hockney 1994; Thakur 2005).

    cost = messages one after another * alpha + bytes one after another / bandwidth

alpha is the path latency and the per-message overhead together. Each plan says its own formula (`predicted_ns`). What
is not here: links that are unequal or shared, framing, segments of unequal length; the simulation knows those.
"""

from __future__ import annotations

from fractions import Fraction


def alpha_beta_ns(messages: int, size_bytes: Fraction | int, alpha_ns: int, bandwidth: int) -> int:
    """Return the cost in ns, rounded up, of so many messages and bytes one after another, at `bandwidth` bit/s.

    >>> alpha_beta_ns(messages=6, size_bytes=1_500, alpha_ns=40_000, bandwidth=50_000_000)
    480000
    """
    bits = Fraction(8 * size_bytes)
    return messages * alpha_ns - (-bits.numerator * 10**9 // (bits.denominator * bandwidth))


def rounds_of_a_tree(ranks: int) -> int:
    """Return ceil(log2 N): in how many rounds of doubling one rank reaches all.

    >>> [rounds_of_a_tree(ranks) for ranks in (1, 2, 3, 8, 9)]
    [0, 1, 2, 3, 4]
    """
    return (ranks - 1).bit_length()
