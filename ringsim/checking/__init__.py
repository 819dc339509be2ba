"""`check`: play a scenario again under other conditions, and see that it is the same run.

    conditions.py   what must not matter: cores, threads, seeds of hashes, flags, caches, who used JAX first
    replay.py       play under a condition, in a process of its own where it takes one
    difference.py   the first event or number that came out otherwise, in words

What is not here: comparing with what was recorded elsewhere (`ringsim/records.py`).
"""
