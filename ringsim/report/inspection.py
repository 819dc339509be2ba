"""An inspection as a table: a few lines of facts, then the links, of which a long list is shortened.

What is not here: the facts (`ringsim/inspection.py`), and the machine's form (`summary` there).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ringsim.inspection import Collective, Direction, Inspection, Route, Sharing
from ringsim.topology.routes import is_switch
from ringsim.units import RATE, SHARE, format_duration

MOST_LINKS = 16  # Lines of links that are shown; the others are in the JSON.
MOST_SHARED = 6
MOST_RANKS = 16


def inspection_table(found: Inspection) -> RenderableType:
    """Return what `inspect` prints."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(found):
        table.add_row(name, value)
    return Group(table, Text(), _links_table(found.links))


def _rows(found: Inspection) -> Iterator[tuple[str, str]]:
    switches = f", {_count(len(found.switches), 'switch', 'switches')}" if found.switches else ""
    yield "topology", f"{found.topology}: {_count(len(found.machines), 'machine', 'machines')}{switches}"
    if found.added:
        yield "added", f"{', '.join(found.added)}, by the strategy"
    if len(found.machines) > 1:
        links, latency_ns = found.diameter.links, found.diameter.latency_ns
        yield "diameter", f"{_count(links, 'link', 'links')}; {format_duration(latency_ns)} the longest path latency"
        how = "over all halves" if found.bisection.exact else "of the halves that were tried"
        at_most = "" if found.bisection.exact else "at most "
        yield "bisection", f"{at_most}{RATE.format(found.bisection.bandwidth)}, the least {how}"
    if found.route is not None:
        yield "route", _route(found.route)
    if found.collective is not None:
        yield from _collective_rows(found.collective)


def _route(route: Route) -> str:
    if not route.links:
        return "none is needed: it is one machine"
    places = " -> ".join([route.links[0][0], *(target for _, target in route.links)])
    return f"{places}: {format_duration(route.latency_ns)}, {RATE.format(route.bandwidth)}"


def _collective_rows(collective: Collective) -> Iterator[tuple[str, str]]:
    yield collective.name, _sharing(collective.sharing)
    for source, target, number in collective.sharing.shared[:MOST_SHARED]:
        yield "", f"{source} -> {target}: {number}"
    left = len(collective.sharing.shared) - MOST_SHARED
    if left > 0:
        yield "", f"... and {left:,} more directions"
    if collective.order is None or collective.ordered is None:
        return
    if collective.ordered == collective.sharing:
        yield "best order", "as listed: no better one is known"
    else:
        ranks = ", ".join(collective.order[:MOST_RANKS]) + (", ..." if len(collective.order) > MOST_RANKS else "")
        yield "best order", f"{ranks}: {_sharing(collective.ordered)}"


def _sharing(sharing: Sharing) -> str:
    most = f"at most {sharing.most} on one direction" if sharing.most > 1 else "no two on one direction of a link"
    return f"{_count(sharing.connections, 'connection', 'connections')} over {sharing.links:,} links, {most}"


def _links_table(links: Sequence[Direction]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("link", "bandwidth", "latency", "drop"):
        table.add_column(heading, justify="left" if heading == "link" else "right")
    lines = list(_lines(links))
    for line in lines[:MOST_LINKS]:
        table.add_row(*line)
    if len(lines) > MOST_LINKS:
        table.add_row(f"... and {len(lines) - MOST_LINKS:,} more; all of them with --json", "", "", "")
    return table


def _lines(links: Sequence[Direction]) -> Iterator[tuple[str, str, str, str]]:
    """Yield a line for each link whose directions are equal, and else one for each direction."""
    known = {(link.source, link.target): link for link in links}
    done: dict[tuple[str, str], None] = {}
    for (source, target), link in known.items():
        figures = link.bandwidth, link.latency_ns, link.drop_ppm
        back = known.get((target, source))
        equal = back is not None and (back.bandwidth, back.latency_ns, back.drop_ppm) == figures
        if equal and (target, source) in done:
            continue
        done[source, target] = None
        ends = (target, source) if equal and is_switch(source) and not is_switch(target) else (source, target)
        words = f"loopback of {source}" if source == target else (" <-> " if equal else " -> ").join(ends)
        yield words, RATE.format(link.bandwidth), format_duration(link.latency_ns), SHARE.format(link.drop_ppm)


def _count(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
