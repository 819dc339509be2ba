"""Settings of the documentation: `python -m sphinx -W docs docs/_build`."""

import importlib.metadata

project = "ringsim"
author = "The ringsim authors"
copyright = "2026, The ringsim authors"
try:
    release = importlib.metadata.version("ringsim")
except importlib.metadata.PackageNotFoundError:  # The documentation can be built without an installed ringsim.
    release = "0.1.0"

extensions = ["myst_nb"]
nb_execution_mode = "off"  # The pages have no notebooks; tests/test_docs.py runs their code blocks.
myst_heading_anchors = 3
highlight_language = "text"
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"ringsim {release}"
