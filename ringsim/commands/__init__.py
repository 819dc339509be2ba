"""Commands of the command line that have a file of their own, and what all commands share (`wiring.py`).

What is not here: the other commands, and how a mistake becomes an exit code (`cli.py`).
"""
