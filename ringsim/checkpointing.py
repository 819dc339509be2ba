"""How often to save: the interval between checkpoints that costs the least, by Young and by Daly.

    time ── interval ── save ── interval ── save ── interv✗ restart ── interval ── save ── ...

Too rarely, and a failure takes much work with it; too often, and saving is all the work there is. `interval` is the
time of work between two saves, without the save; failures come at random (Poisson) with a mean time between them. Times
are integers of nanoseconds in and out; the formulas are floats, which nothing in a run depends on. What is not here:
who saves what (`strategies/`), and what that cost in a run (`accounting.py`).
"""

from __future__ import annotations

import math


def young_ns(save_ns: int, between_failures_ns: int) -> int:
    """Return Young's interval, sqrt(2 save M) for a mean time M between failures.

    J. W. Young, *A first order approximation to the optimum checkpoint interval*, CACM 17(9), 1974.

    >>> young_ns(save_ns=50, between_failures_ns=10_000)
    1000
    """
    return round(math.sqrt(2 * save_ns * between_failures_ns))


def daly_first_order_ns(save_ns: int, between_failures_ns: int, restart_ns: int) -> int:
    """Return Daly's first estimate, sqrt(2 save (M + R)) - save: it also knows the time R of a restart.

    It holds while interval and save are short beside M; not less than 0. J. T. Daly, *A model for predicting the
    optimum checkpoint interval for restart dumps*, ICCS 2003, and the paper of `daly_ns`.

    >>> daly_first_order_ns(save_ns=50, between_failures_ns=9_000, restart_ns=1_000)
    950
    """
    return max(0, round(math.sqrt(2 * save_ns * (between_failures_ns + restart_ns)) - save_ns))


def daly_ns(save_ns: int, between_failures_ns: int) -> int:
    """Return Daly's higher-order estimate: with x = save / 2M, sqrt(2 save M) (1 + sqrt(x) / 3 + x / 9) - save.

    Where saving takes 2M or longer, it is M. J. T. Daly, *A higher order estimate of the optimum checkpoint interval
    for restart dumps*, Future Generation Computer Systems 22(3), 2006.

    >>> daly_ns(save_ns=50, between_failures_ns=10_000)
    967
    >>> daly_ns(save_ns=300, between_failures_ns=100)
    100
    """
    if save_ns >= 2 * between_failures_ns:
        return between_failures_ns
    x = save_ns / (2 * between_failures_ns)
    return round(math.sqrt(2 * save_ns * between_failures_ns) * (1 + math.sqrt(x) / 3 + x / 9) - save_ns)
