"""What was sent, counted: bytes by link direction and by node, with framing and acknowledgements.

What is not here: what is on its way (`network.py`), and what a message takes on the wire (`transport.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ringsim.result import Whereabouts
from ringsim.scenario import Framed, Ideal, Tcp
from ringsim.world.connection import Connection, Link, Route, Transfer
from ringsim.world.transport import acknowledgement_bytes, wire_size_bytes


@dataclass
class Traffic:
    """Bytes that left, counted per link direction and per node; background traffic is in `links` only."""

    links: dict[Link, int]
    wire: dict[str, int] = field(default_factory=dict)
    payload: dict[str, int] = field(default_factory=dict)
    between: dict[tuple[str, str], int] = field(default_factory=dict)  # payload, by who sent it to whom
    messages: int = 0
    whereabouts: Whereabouts = field(default_factory=Whereabouts)


def added_up(
    connections: Iterable[Connection],
    background: dict[Link, int],
    in_flight: Iterable[Transfer],
    transport: Ideal | Framed | Tcp,
) -> Traffic:
    """Add up what has left on all connections, and what background traffic has sent on each link.

    in_flight: the messages that have left and not arrived.
    """
    traffic = Traffic(dict(background))
    for connection in connections:
        _add(connection, transport, traffic)
    flying = sum(wire_size_bytes(transport, transfer.size_bytes) for transfer in in_flight)
    traffic.whereabouts += Whereabouts(in_flight=flying)
    return traffic


def _add(connection: Connection, transport: Ideal | Framed | Tcp, traffic: Traffic) -> None:
    sent, broken = connection.sent.items(), connection.broken
    source, target = connection.source.name, connection.target.name
    cut_off = sum(on_wire for on_wire, _ in broken)
    wire = _wire_bytes(connection.sent, transport) + connection.lost_bytes + cut_off
    thrown_away = _wire_bytes(connection.thrown_away, transport)
    received = _wire_bytes(connection.arrived, transport) - thrown_away
    traffic.whereabouts += Whereabouts(received, thrown_away, cut_off, connection.lost_bytes)
    payload = sum(number * size for size, number in sent) + sum(of_payload for _, of_payload in broken)
    traffic.messages += sum(connection.sent.values())
    traffic.wire[source] = traffic.wire.get(source, 0) + wire
    traffic.payload[source] = traffic.payload.get(source, 0) + payload
    if payload:  # A connection may be there that has carried nothing.
        traffic.between[source, target] = traffic.between.get((source, target), 0) + payload
    for link in connection.route.links:
        traffic.links[link] += wire
    if connection.route.back:
        back = sum(number * acknowledgement_bytes(transport, size) for size, number in sent)
        back += sum(acknowledged_bytes(connection.route, on_wire) for on_wire, _ in broken)
        traffic.wire[target] = traffic.wire.get(target, 0) + back
        traffic.whereabouts += Whereabouts(acknowledgements=back)
        for link in connection.route.back:
            traffic.links[link] += back


def _wire_bytes(messages: Mapping[int, int], transport: Ideal | Framed | Tcp) -> int:
    """Return what messages take on the wire, given how many there are of each size."""
    return sum(number * wire_size_bytes(transport, size) for size, number in messages.items())


def acknowledged_bytes(route: Route, wire_bytes: int) -> int:
    """Return what the acknowledgements of a stream of so many bytes take on the way back."""
    assert route.weights is not None, "there is a way back"
    return wire_bytes * min(route.weights) // max(route.weights)
