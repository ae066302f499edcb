"""Settings of the documentation: ``sphinx-build -W docs docs/_build``."""

from __future__ import annotations

import shutil
from pathlib import Path

import captum_sing

HERE = Path(__file__).parent

# The notebooks live beside the package; Sphinx wants its pages in one folder.
shutil.rmtree(HERE / "tutorials", ignore_errors=True)
shutil.copytree(HERE.parent / "tutorials", HERE / "tutorials", ignore=shutil.ignore_patterns(".*"))

project = "captum-sing"
author = "the captum-sing authors"
copyright = f"2026, {author}"
release = version = captum_sing.__version__

extensions = [
    "myst_nb",  # pages and notebooks; it brings myst_parser
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
suppress_warnings = ["ref.python"]  # one word names an attribute of several classes

autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
doctest_global_setup = "import torch; _ = torch.manual_seed(0)"

DEMO = "![What a classifier ignores in images of the embedded world](_static/demo.png)"
myst_enable_extensions = ["amsmath", "dollarmath", "substitution"]
myst_heading_anchors = 3
myst_substitutions = {"demo_picture": DEMO if (HERE / "_static" / "demo.png").exists() else ""}

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 300

html_theme = "furo"
html_title = f"captum-sing {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
