"""The seed paper's experiment, done again and questioned: `ringsim paper`.

    experiment.py   its network trained on one, three and four machines, by both of its learning rates, over some seeds
    hypotheses.py   what could have been measured, each as a scenario with one thing unknown
    fitting.py      the unknown for which a hypothesis comes nearest to the paper's table
    store.py        a copy of the data on each machine, against a central store

The paper: A. Nare, "Decentralized Distributed Machine Learning through Adapted Data Parallelism" (University of
Maryland). What is not here: tables and pictures (`report/paper.py`), and the conclusions (docs/paper.md).
"""
