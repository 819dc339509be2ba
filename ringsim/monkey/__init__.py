"""`ringsim monkey`: every fault at every instant of a scenario, one at a time, and the invariants after each.

    cases.py      what is tried: kinds of fault, their targets, the instants, and in which order
    playing.py    one case: played twice, and the invariants asked
    crowd.py      many cases, on all cores
    folder.py     what is done is written down, and not done again
    shrink.py     a case that breaks an invariant, made as small as it goes
    hunt.py       all of it together: the base run, the cases, the summary

As SimGrid's monkey does (its example `platform-failures`), and as TigerBeetle's simulator keeps what it found as a
small case that is played again. What is not here: the invariants (`ringsim/invariants.py`), and words on the terminal
(`report/monkey.py`, `commands/monkey.py`).
"""
