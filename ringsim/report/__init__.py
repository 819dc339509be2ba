"""Showing results to people and machines.

    table.py        one run, or several side by side, as a table on the terminal
    run_folder.py   summary.json, metrics.csv, trace.jsonl and the resolved scenario in a folder
    progress.py     a progress bar while a run lasts
    inspection.py   a network that was looked at, as a table
    monkey.py       what the monkey has found, as a table
    paper.py        the seed paper's experiment, as tables and a picture

What is not here: figures. Everything shown is in `Result`, `Inspection` or `Hunt`.
"""
