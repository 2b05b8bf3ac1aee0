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
exclude_patterns = ["_build", "studies"]
default_role = "code"  # `z` in a docstring is code, as in Markdown

html_theme = "furo"
html_title = "Loopverse"

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

SECTIONS = ("Args:", "Attributes:", "Returns:", "Yields:", "Raises:")

autodoc_inherit_docstrings = False  # of torch's modules, say
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the signature shows the types; "*units" is no emphasis


def show_code_as_code(_app, _what, _name, _object, _options, lines: list[str]) -> None:
    """Turn Markdown's code blocks, fenced or indented, above a docstring's sections into Sphinx's."""
    shown: list[str] = []
    fenced = indented = False
    for number, line in enumerate(lines):
        if line.rstrip() in SECTIONS:
            shown += lines[number:]
            break
        if line.startswith("```"):
            fenced = not fenced
            language = line[3:].strip() or "text"
            shown += ["", f".. code-block:: {language}", ""] if fenced else [""]
            continue
        inside = line.startswith("    ") if line.strip() else indented
        if fenced:
            shown.append(f"    {line}")
        elif inside != indented:
            shown += ["", "::", "", line] if inside else ["", line]
        else:
            shown.append(line)
        indented = inside and not fenced
    lines[:] = shown


def setup(app) -> None:
    """Called by Sphinx; before napoleon, which has priority 500."""
    app.connect("autodoc-process-docstring", show_code_as_code, priority=400)
