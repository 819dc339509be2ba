"""Collectives: one plan in each file, which a strategy plays by `yield from node.collective(plan, buffer)`.

    ring.py                all-reduce in a ring: reduce-scatter, then all-gather
    tree.py                all-reduce along a binomial tree: to rank 0 and back
    halving_doubling.py    all-reduce by exchanges over distances N/2, N/4, ..., 1 and back
    hierarchical.py        all-reduce inside groups, and across them
    parameter_server.py    all-reduce by push to servers and pull from them
    reduce_scatter.py      the ring's first half: every rank ends with one segment of the sum
    all_gather.py          its second half: every rank brings one segment
    broadcast.py           from one rank to all, along a binomial tree

    vectors.py             segments; a vector of which only the size is known
    ring_times.py          the closed form of the three rings
    rounds.py              the closed form of collectives that go in rounds
    in_memory.py           all generators with mailboxes and no time: the numbers alone
    cost.py                the textbook's alpha-beta model
    table.py               all of them by name
    fitted.py              one of them by name, for a given cluster

A plan knows a `Seat` (`ringsim/plan.py`) and nothing else of the world. What is not here: when to play one
(`strategies/`).
"""
