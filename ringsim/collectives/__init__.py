"""Collectives: one plan in each file, which a strategy plays by `yield from node.collective(plan, buffer)`.

    ring.py        all-reduce in a ring: reduce-scatter, then all-gather
    broadcast.py   from one rank to all, along a binomial tree

A plan knows a `Node` and nothing else of the world. What is not here: when to play one (`strategies/`).
"""
