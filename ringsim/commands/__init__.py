"""The commands of the command line, by what they are for, and what all of them share (`wiring.py`).

What is not here: how a mistake becomes an exit code (`cli.py`).
"""
