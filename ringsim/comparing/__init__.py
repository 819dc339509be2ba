"""Several ways of training on one scenario, side by side.

    entries.py         what `compare --strategies` is given, as overrides of a scenario
    playing.py         all of them played, each against the local twin; equal gradients are computed once
    requirements.py    the four requirements of the seed paper, each a number

What is not here: the tables (`report/comparison.py`), and what can be measured in one run alone (`measures.py`).
"""
