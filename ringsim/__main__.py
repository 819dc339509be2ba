"""`python -m ringsim`: the command line."""

from ringsim.cli import main

if __name__ == "__main__":
    main()
