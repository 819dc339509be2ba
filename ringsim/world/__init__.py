"""The world: virtual time, machines, the network and what goes wrong with them. The only floor that imports simpy.

    clock.py        virtual nanoseconds, and the canonical order of what happens at one instant
    max_min.py      max-min fair shares of links and processors, in integers
    sharing.py      when they change, and what that costs
    connection.py   connections, the messages on them, and their routes, as plain state
    network.py      when a message leaves and arrives
    transport.py    what framing, acknowledgements and slow start add
    background.py   flows that belong to nobody
    traffic.py      the bytes that were sent, added up
    mailbox.py      what has reached a node, and which connections are broken
    seat.py         a member's seat in a collective that is played message by message
    stage.py        the collectives of a group: which are foreseen, and what happens if one is disturbed
    undisturbed.py  one collective in closed form
    account.py      where a node's time went
    node.py         the simulated `Node`
    faults.py       one small generator for each kind of fault
    world.py        puts them together and plays a scenario
    naive.py        a ring as anybody would write it at first: the benchmark's reference

What is not here: numbers. The world carries payloads and never looks inside.
"""
