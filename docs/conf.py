"""Sphinx settings: Markdown pages, the API read from the docstrings, warnings as errors in CI."""

from importlib.metadata import version as installed_version

project = "Loopverse"
author = "The Loopverse authors"
version = release = installed_version("loopverse")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
default_role = "code"  # `z` in a docstring is code, as in Markdown

html_theme = "furo"
html_title = "Loopverse"

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the signature shows the types; "*units" is no emphasis
