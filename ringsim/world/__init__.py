"""The world: virtual time, machines, the network and what goes wrong with them. The only floor that imports simpy.

    clock.py      virtual nanoseconds, and the canonical order of what happens at one instant
    sharing.py    max-min fair shares of links and processors, in integers
    network.py    the graph, its connections, messages as flows
    mailbox.py    what has reached a node, and what it waits for
    account.py    where a node's time went
    node.py       the simulated `Node`
    faults.py     one small generator for each kind of fault
    world.py      puts them together and plays a scenario

What is not here: numbers. The world carries payloads and never looks inside.
"""
