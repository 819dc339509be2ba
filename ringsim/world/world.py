"""`play`: machines, network, programs and faults put together, and played to the end in virtual time.

What is not here: what the programs do (`strategies/`), and what the run means (`simulation.py`).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

import simpy

from ringsim.errors import NodeError, UsageError
from ringsim.node import Group, Member, Operation, Program
from ringsim.scenario import Host, Scenario, rank_names
from ringsim.trace import Trace
from ringsim.world import faults
from ringsim.world.account import Account
from ringsim.world.background import BackgroundTraffic
from ringsim.world.clock import Clock, Phase
from ringsim.world.conditions import Condition
from ringsim.world.connection import Address, Link
from ringsim.world.deliveries import Deliveries
from ringsim.world.faults import Strike
from ringsim.world.network import Network
from ringsim.world.news import News
from ringsim.world.node import SimNode
from ringsim.world.played import Books, Collectives, Ending, Injected, Played
from ringsim.world.sharing import Sharing
from ringsim.world.stage import Stage
from ringsim.world.storage import Store

Fidelity = Literal["auto", "message"]

_ENDINGS: dict[str, Ending] = {"over": "over", "dry": "stalled", "late": "late"}  # by how the clock came to stand


@dataclass
class _Machine:
    host: Host
    ranks: tuple[str, ...]
    processor: int
    up: bool = True
    notice: str = "reset"
    slowed: dict[Strike, Fraction] = field(default_factory=dict)  # so many times as slow, by fault


@dataclass(slots=True)
class _Life:
    node: SimNode
    process: simpy.Process | None = None
    running: bool = False


def play(
    scenario: Scenario,
    programs: Sequence[Program],
    extra_machines: Sequence[Host],
    trace: Trace,
    shuffle_ties: int | None = None,
    fidelity: Fidelity = "auto",
) -> Played:
    """Play `programs` on the scenario's machines and `extra_machines`, with the scenario's faults.

    Faults on machines that do not exist here are left out. fidelity: `message` plays every message of a collective;
    `auto` plays those that nothing disturbs in closed form. It must change nothing, and neither must `shuffle_ties`,
    which seeds a random order of SimPy's own ties.
    """
    with rare_collections():
        world = World(scenario, programs, extra_machines, trace, shuffle_ties, fidelity)
        return world.close_books(_play(world, scenario, programs))


def _play(world: World, scenario: Scenario, programs: Sequence[Program]) -> Ending:
    for number, fault in enumerate(scenario.faults):
        if faults.applies(world, fault):
            faults.start(world, number, fault)
        else:
            world.not_applicable(number)
    for flow in scenario.cluster.network.background:
        if flow.source not in world.network.graph or flow.target not in world.network.graph:
            continue  # Another strategy has that machine; this one plays the same scenario without it.
        world.clock.start(world.background.play(flow))
    for program in programs:
        world.start(program.node)
    may_end = lambda: world.is_over() or world.moments.are_in_vain  # noqa: E731
    ending = world.clock.run(may_end, scenario.max_virtual_time)
    if world.play_by_messages() and ending == "dry":
        # Nobody is left to enter a collective: those who have, go on until they cannot.
        ending = world.clock.run(may_end, scenario.max_virtual_time)
    if ending == "over" and not world.is_over():
        return "in vain"
    return _ENDINGS[ending]


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let Python look for garbage less often: nearly all that a run makes lives to its end, or goes by itself."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class World:
    """The running simulation, as nodes and faults see it."""

    def __init__(
        self,
        scenario: Scenario,
        programs: Sequence[Program],
        extra_machines: Sequence[Host],
        trace: Trace,
        shuffle_ties: int | None,
        fidelity: Fidelity,
    ):
        self.scenario = scenario
        self.fidelity = fidelity
        self.seed = scenario.seed
        self.trace = trace
        self.clock = Clock(shuffle_ties)
        self.sharing = Sharing(self.clock)
        self.moments = faults.Moments(self.clock)
        self._nodes: dict[str, SimNode] = {}  # in their latest lives
        self._accounts: dict[str, Account] = {}
        self._deliveries = Deliveries(self.clock, trace, self._nodes, self._answers, self._accounts, lambda: self._news)
        settings = scenario.cluster.network
        self.network = Network(
            self.clock,
            self.sharing,
            settings,
            scenario.cluster.nodes,
            extra_machines,
            self.seed,
            self._deliveries.landed,
            self._deliveries.on_wire,
        )
        self.background = BackgroundTraffic(self.network, self.sharing)
        hosts = [_with_defaults(host, scenario) for host in (*scenario.cluster.nodes, *extra_machines)]
        self._machines = {
            host.name: _Machine(host, rank_names(host), self.sharing.resource(host.speed or 1)) for host in hosts
        }
        self.store = Store(self.clock, self.sharing, scenario.cluster.storage)
        self._programs = {program.node: program for program in programs}
        self._lives: dict[str, _Life] = {}
        self._paused: dict[str, Strike] = {}  # machines that stand still, and by which strike
        for machine in self._machines.values():
            for rank in machine.ranks:
                address = Address(len(self._lives), rank, machine.host.name, 0)
                self._accounts[rank] = Account()
                self._begin_life(rank, address)
        self.clock.lingers = lambda stirred_ns: any(
            life.node.detector.may_suspect(stirred_ns) for life in self._lives.values()
        )
        self._restarts_pending = 0
        self._running_workers = 0
        self._stages: dict[Group, Stage] = {}
        self.collectives = Collectives()
        self._books = Books()
        self._news = News(self.clock, self.network)

    # --- what nodes ask -----------------------------------------------------------------------------------------------

    def account(self, rank: str) -> Account:
        return self._accounts[rank]

    def address(self, rank: str) -> Address:
        """Return where `rank` is now, in its latest life."""
        if rank not in self._lives:
            raise UsageError(f"a message to {rank!r}, which does not exist; there are {', '.join(self._lives)}")
        return self._lives[rank].node.address

    def host(self, node: SimNode) -> Host:
        return self._machines[node.address.host].host

    def processor(self, node: SimNode) -> int:
        """Return the resource that `node` computes on; ranks on one machine share it."""
        return self._machines[node.address.host].processor

    def lives(self, member: Member) -> bool:
        """Say whether a member of a group is still the life that it was then."""
        node = self._lives[member.name].node
        return node.alive and node.incarnation == member.incarnation

    def stage(self, group: Group) -> Stage:
        """Return where the collectives of a group are played."""
        stage = self._stages.get(group)
        if stage is None:
            stage = self._stages[group] = Stage(self, group)
        return stage

    def close(self, node: SimNode, stage: Stage) -> None:
        """`node` is out of its group: it sends nothing more of this generation, and the others see a reset.

        What is sent to it still comes, to nobody: its peers do not know yet. (To take that off the network here would
        make it matter who acts first at an instant.)
        """
        generation = stage.group.generation
        self.network.retire(lambda one: one.channel == generation and one.source is node.address)
        for member in stage.group.members:
            peer = self._lives[member.name].node
            if peer is not node:
                self._news.left(node.address, generation, peer)
        node.account.set(self.clock.now_ns, recovering=True)

    def play_by_messages(self) -> bool:
        """Go on by messages with all collectives that are foreseen; say whether there are any."""
        disturbed = [stage for stage in self._stages.values() if stage.disturb()]
        return bool(disturbed)

    def _disturb(self, ranks: Sequence[str]) -> None:
        """Go on by messages with what is foreseen for groups in which any of `ranks` is."""
        for stage in self._stages.values():
            if any(rank in stage.group.ranks for rank in ranks):
                stage.disturb()

    # --- what faults do -----------------------------------------------------------------------------------------------

    def has(self, machine: str) -> bool:
        """Say whether there is such a machine, with a program on it."""
        return machine in self._machines and any(rank in self._programs for rank in self._machines[machine].ranks)

    def not_applicable(self, number: int) -> None:
        """Note a fault on a machine that does not exist under this strategy."""
        self._books.not_applicable.append(number)

    @property
    def has_wrong_numbers(self) -> bool:
        """Whether a flipped bit has come to somebody who has not noticed."""
        return self._deliveries.has_wrong_numbers

    def _answers(self, machine: str) -> bool:
        """Say whether a machine tells those who send to what it has lost."""
        return self._machines[machine].up or self._machines[machine].notice == "reset"

    def is_up(self, machine: str) -> bool:
        return self._machines[machine].up

    def ranks(self, machine: str) -> tuple[str, ...]:
        return self._machines[machine].ranks

    def note(self, strike: Strike, struck: str, ranks: tuple[str, ...] = ()) -> None:
        """Write down that a fault strikes now."""
        self._books.injected[strike] = Injected(strike.number, struck, ranks, self.clock.now_ns)

    def note_end(self, strike: Strike) -> None:
        """Write down that a fault is over now."""
        self._books.injected[strike] = replace(self._books.injected[strike], ended_at_ns=self.clock.now_ns)

    def moment(self, strike: Strike, delay_ns: int, *, matters: bool) -> simpy.Event:
        """Return an event `delay_ns` from now, at which a fault is over. matters: nobody has stalled before."""
        event = self.clock.event()
        key = (strike.number, strike.nth, 1)
        self.clock.at(self.clock.now_ns + delay_ns, Phase.FAULT, key, faults.once(event), daemon=not matters)
        return event

    def restart_moment(self, strike: Strike, machine: str, delay_ns: int) -> simpy.Event:
        """Return an event `delay_ns` from now. If a program begins anew then, the run has not stalled before.

        If it is a worker's, the run is not over before either; a helper's may have nobody left to help.
        """
        self._restarts_pending += self._has_restarting_worker(machine)
        restarts = any(program.restarts for program in self._programs_on(machine))
        return self.moment(strike, delay_ns, matters=restarts)

    def crash(self, machine: str, notice: str) -> None:
        """A machine dies: what it held is gone, its flows stop, and its peers see a reset, or nothing (`silence`)."""
        dying = self._machines[machine]
        self._disturb(dying.ranks)
        dying.up, dying.notice = False, notice
        if machine in self._paused:
            self.note_end(self._paused.pop(machine))
        for rank in dying.ranks:
            life = self._lives[rank]
            life.node.record("crash", notice=notice)
            if notice == "reset":
                # In silence what is sent to it still leaves, and comes to nobody: its senders cannot know.
                self.network.kill(lambda one, rank=rank: one.target.name == rank)  # type: ignore[misc]
            self._end_life(life, reset=notice == "reset")
            self.account(rank).set(self.clock.now_ns, up=False)

    def restart(self, machine: str) -> None:
        """A dead machine is back, empty; programs that restart begin anew."""
        self._restarts_pending -= self._has_restarting_worker(machine)
        self._machines[machine].up = True
        for rank in self._machines[machine].ranks:
            old = self._lives[rank].node.address
            address = Address(old.index, old.name, old.host, old.incarnation + 1)
            self._begin_life(rank, address)
        present = [Member(rank, life.node.incarnation) for rank, life in self._lives.items()]
        for rank in self._machines[machine].ranks:
            node = self._lives[rank].node
            node.mailbox.meet(present)
            node.record("restart", incarnation=node.incarnation)
            if rank in self._programs and self._programs[rank].restarts:
                self.account(rank).set(self.clock.now_ns, up=True, recovering=True)
                self.start(rank)
            else:
                # Nobody listens there: what is sent to it is answered with a reset.
                node.alive = False

    def pause(self, strike: Strike, machine: str) -> None:
        """A machine stands still. What it has sent still leaves, and what is sent to it comes and waits."""
        self._disturb(self.ranks(machine))
        self._paused[machine] = strike
        for node in self._living(machine):
            node.record("pause")
            node.pause()
            node.account.set(self.clock.now_ns, up=False)

    def resume(self, strike: Strike, machine: str) -> None:
        """A machine that has stood still since `strike` goes on, unless it has died meanwhile."""
        if self._paused.get(machine) != strike:
            return
        self.note_end(self._paused.pop(machine))
        for node in self._living(machine):
            node.record("resume")
            node.account.set(self.clock.now_ns, up=True)
            node.resume()

    def is_paused(self, machine: str) -> bool:
        return machine in self._paused

    def _living(self, machine: str) -> list[SimNode]:
        return [node for rank in self.ranks(machine) if (node := self._lives[rank].node).alive]

    def slow_down(self, strike: Strike, machine: str, factor: Fraction) -> None:
        """A machine computes `factor` times as slow as before."""
        self._machines[machine].slowed[strike] = factor
        self._set_pace(machine)

    def speed_up(self, strike: Strike, machine: str) -> None:
        """What a fault has slowed down is as fast as before."""
        del self._machines[machine].slowed[strike]
        self._set_pace(machine)

    def is_slowed(self, machine: str, number: int) -> bool:
        """Say whether a machine is slower by this fault of the scenario."""
        return any(strike.number == number for strike in self._machines[machine].slowed)

    def _set_pace(self, machine: str) -> None:
        one, pace = self._machines[machine], Fraction(1)
        for factor in one.slowed.values():
            pace *= factor
        self.sharing.change(one.processor, max(1, int((one.host.speed or 1) / pace)))
        for rank in one.ranks:
            self._lives[rank].node.record("pace", slower_ppm=int(pace * 1_000_000))

    def degrade(self, strike: Strike, links: Sequence[Link], condition: Condition) -> None:
        """Put a condition on directions of links."""
        self._alter(lambda: self.network.conditions.put(strike, links, condition), links)

    def restore(self, strike: Strike, links: Sequence[Link]) -> None:
        """Take it off again."""
        self._alter(lambda: self.network.conditions.take_off(strike), links)

    def part(self, strike: Strike, groups: Sequence[Sequence[str]]) -> None:
        """Separate groups of machines."""
        self.trace.record(self.clock.now_ns, "", "partition", groups=[list(group) for group in groups])
        self._alter(lambda: self.network.conditions.part(strike, groups), ())

    def heal(self, strike: Strike, groups: Sequence[Sequence[str]]) -> None:
        """Let them reach each other again."""
        self.trace.record(self.clock.now_ns, "", "heal", groups=[list(group) for group in groups])
        self._alter(lambda: self.network.conditions.heal(strike), ())

    def _alter(self, change: Callable[[], object], links: Sequence[Link]) -> None:
        self.play_by_messages()
        self.network.alter(change)
        self.background.look()
        for link in links:
            state = self.network.conditions.link(link)._asdict()
            self.trace.record(self.clock.now_ns, link[0], "link", to=link[1], **state)

    # --- lives --------------------------------------------------------------------------------------------------------

    def _begin_life(self, rank: str, address: Address) -> None:
        self._nodes[rank] = SimNode(self, address, self._accounts[rank])
        self._lives[rank] = _Life(self._nodes[rank])

    def start(self, rank: str) -> None:
        """Run this rank's program in its present life."""
        life = self._lives[rank]
        self._set_running(life, True)
        life.process = self.clock.start(self._live(life, self._programs[rank]))

    def _live(self, life: _Life, program: Program) -> Generator[Any, Any, None]:
        node = life.node
        try:
            result = yield from _as_operation(program, node)
        except simpy.Interrupt:
            return  # The machine died; `crash` has seen to everything.
        except NodeError as error:
            node.record("ended", reason=str(error))
            self._books.failures.append((self.clock.now_ns, node.address.index, node.name, str(error)))
            self._end_life(life, reset=True)
            self.account(node.name).set(self.clock.now_ns, recovering=False)
        else:
            self._set_running(life, False)
            node.detector.stop()
            self.account(node.name).set(self.clock.now_ns, recovering=False)
            self._books.results[node.name] = result

    def _end_life(self, life: _Life, *, reset: bool) -> None:
        node = life.node
        self._set_running(life, False)
        if not node.alive:
            return
        self._disturb((node.name,))
        node.die()
        self.network.retire(lambda one: one.source is node.address)
        process = life.process
        if process is not None and process.is_alive and process is not self.clock.environment.active_process:
            process.interrupt()
        if reset:
            for other in self._lives.values():
                if other.node is not node and other.node.alive:
                    self._news.lost(node.address, other.node, restarted=False)

    def is_over(self) -> bool:
        """Say whether no worker runs any more, and none will again."""
        if self._running_workers:
            return False
        some_came_to_an_end = any(result is not None for result in self._books.results.values())
        return some_came_to_an_end or not self._restarts_pending

    def _has_restarting_worker(self, machine: str) -> bool:
        return any(program.worker and program.restarts for program in self._programs_on(machine))

    def _programs_on(self, machine: str) -> list[Program]:
        return [self._programs[rank] for rank in self._machines[machine].ranks if rank in self._programs]

    def _set_running(self, life: _Life, running: bool) -> None:
        program = self._programs.get(life.node.name)
        if program is not None and program.worker:
            self._running_workers += running - life.running
        life.running = running

    # --- the end ------------------------------------------------------------------------------------------------------

    def close_books(self, ending: Ending) -> Played:
        """Stop the clock and return what is left."""
        waiting = {
            rank: life.node.waits_for for rank, life in self._lives.items() if life.running and life.node.waits_for
        }
        traffic = self.network.close_books(self.background.close_books())
        for account in self._accounts.values():
            account.close(self.clock.now_ns)
        for (end, to), count in traffic.links.items():
            self.trace.record(self.clock.now_ns, end, "link_bytes", to=to, bytes=count)
        return Played(
            ending,
            self.clock.now_ns,
            {rank: self._books.results[rank] for rank in self._lives if rank in self._books.results},
            {name: reason for _, _, name, reason in sorted(self._books.failures)},
            waiting,
            self._accounts,
            traffic,
            self.collectives,
            tuple(self._books.injected.values()),
            frozenset(self._books.not_applicable),
        )


def _with_defaults(host: Host, scenario: Scenario) -> Host:
    cluster = scenario.cluster
    return host.model_copy(
        update={
            "speed": cluster.speed if host.speed is None else host.speed,
            "jitter": cluster.jitter if host.jitter is None else host.jitter,
            "straggle": cluster.straggle if host.straggle is None else host.straggle,
        }
    )


def _as_operation(program: Program, node: SimNode) -> Operation[Any]:
    operation = program.run(node)
    if not isinstance(operation, Generator):
        raise UsageError(f"the program of {program.node} is not a generator: there is no `yield from` in its function")
    return operation
