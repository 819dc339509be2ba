"""What goes wrong: one small generator for each kind of fault, run as a process of the world.

A fault waits for its moment, then uses the verbs of the world, which come in pairs: crash and restart. What is not
here: how a strategy takes it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import simpy

from ringsim.scenario import Crash

if TYPE_CHECKING:
    from ringsim.world.world import World

Fault = Generator[Any, Any, None]


def crash(world: World, number: int, fault: Crash, moment: simpy.Event) -> Fault:
    """At `moment` a machine dies with all it held; after `restart_after` it is back, empty.

    A machine that is already dead when the moment comes is left alone.
    """
    yield moment
    if not world.is_up(fault.node):
        return
    world.crash(number, fault.node, fault.notice)
    if fault.restart_after is not None:
        yield world.restart_moment(number, fault.node, fault.restart_after)
        world.restart(fault.node)
