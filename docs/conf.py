"""Sphinx settings."""

from importlib.metadata import version as installed

project = "Penstock"
author = "The Penstock developers"
copyright = "The Penstock developers; Apache License 2.0"
release = version = installed("penstock")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
exclude_patterns = ["_build"]
suppress_warnings = ["myst.xref_missing"]  # pages point at files of the repository, which are no pages here

html_theme = "furo"
html_title = "Penstock"
