"""What bad links do to messages: drop them, or flip a bit that a checksum finds or nobody notices. All of it is drawn.

A draw belongs to (sender, receiver, channel, number of the message, instant, link), so no other message moves it. What
is not here: how bad a link is (`conditions.py`), which bit is flipped (`corruption.py`), and that what is lost is sent
again (`network.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from ringsim import seeds
from ringsim.world.conditions import LinkState
from ringsim.world.connection import Transfer
from ringsim.world.corruption import flipped

_MILLION = 10**6


def corrupting(states: Sequence[LinkState]) -> tuple[tuple[int, int], ...]:
    """Return by link how probable a flipped bit is, and one that a checksum finds; nothing where none flips any."""
    found = tuple((max(state.corrupt_ppm, state.detected_ppm), state.detected_ppm) for state in states)
    return found if any(ppm for ppm, _ in found) else ()


def is_lost(transfer: Transfer, seed: int, now_ns: int) -> bool:
    """Draw whether a link loses a message whose last byte leaves now; one with a flipped bit that is not found does not
    get lost, but is wrong from now on.
    """
    drops = enumerate(transfer.connection.route.drop_ppm)
    if any(ppm and _draw(seed, "drop", transfer, now_ns, at) < ppm for at, ppm in drops):
        return True
    for at, (ppm, detected_ppm) in enumerate(transfer.connection.route.corrupt_ppm):
        draw = _draw(seed, "corrupt", transfer, now_ns, at) if ppm else _MILLION
        if draw < detected_ppm:
            return True
        if draw < ppm:
            transfer.payload = flipped(transfer.payload, _draw(seed, "bit", transfer, now_ns, at, 1 << 62))
            transfer.is_wrong = True
    return False


def _draw(seed: int, what: str, transfer: Transfer, now_ns: int, position: int, bound: int = _MILLION) -> int:
    connection = transfer.connection
    name = (connection.source.name, connection.source.incarnation, connection.target.name)
    channel = -1 if connection.channel is None else connection.channel
    return seeds.below(seed, what, *name, channel, transfer.number, now_ns, position, bound=bound)
