"""`ringsim bench`: how fast ringsim is, as ratios to references that are timed beside it in the same process.

    case        what is timed, the reference, the bars                 case.py; one file for each kind of case:
    contest     ours and the reference, ready to go, at a size         rings.py  flows.py  training.py
                                                                       children.py  start.py
    figure      best of a few rounds, in which the two take turns      stopwatch.py
    suite       all cases in their order                               suite.py

A machine is as fast as its other work lets it be, so a time alone says little; a ratio of two times that were taken in
turn says more. The two also have to agree: a fast wrong answer is an error, not a figure. What is not here: the table
for people (`report/bench.py`), and two references that need a library which only one room may import (`world/naive.py`,
`learning/plain_loop.py`).
"""
