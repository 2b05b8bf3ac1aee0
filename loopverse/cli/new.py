"""`loopverse new`: a domain of your own to start from, a package that trains as it is written."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
import tempfile
from pathlib import Path
from shlex import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console

from loopverse import registry
from loopverse.cli.arguments import Parser
from loopverse.cli.overview import COMMANDS, more_commands, show_examples
from loopverse.errors import UserError

SUFFIX = ".jinja"
PLACEHOLDER = "NAME"
"""In the paths of templates, what the domain is called."""


def command(arguments: list[str]) -> int:
    """Write a package with a domain of one's own, and say what to type next."""
    options = _parser().parse_args(arguments)
    _check_name(options.name)
    target = options.path / options.name
    write_package(options.name, target)
    _show_next(options.name, target)
    return 0


def write_package(name: str, target: Path) -> None:
    """Write the package, all of it or nothing.

    Args:
        name: of the domain, which nothing else is called.
        target: the folder to make; the one that it lies in must exist.

    Raises:
        UserError: there is something of that name already, or no folder to put it in.
        OSError: nothing can be written there.
    """
    if not target.parent.is_dir():
        raise UserError(f"there is no folder {target.parent}: make it, or choose another --path")
    if os.path.lexists(target):
        raise UserError(f"{target} exists already: choose another name, or another place by --path")
    title = "".join(part.capitalize() for part in name.split("_"))
    words = {"name": name, "title": title, "dashed": name.replace("_", "-")}
    templates = Environment(
        loader=PackageLoader("loopverse.cli"),
        autoescape=False,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    # Beside the target, so that a rename, which cannot stop half-way, puts all of it in its place.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as beside:
        made = Path(beside) / name
        for template in templates.list_templates(extensions=[SUFFIX.removeprefix(".")]):
            file = made / template.removesuffix(SUFFIX).replace(PLACEHOLDER, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(templates.get_template(template).render(words), encoding="utf-8")
        made.rename(target)


def _check_name(name: str) -> None:
    """Refuse a name that no domain can have, or that something else has.

    Raises:
        UserError: what is wrong with it, and what to do.
    """
    if keyword.iskeyword(name) or not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise UserError(
            "NAME must be small letters, digits and single underscores, begin with a letter and be no "
            f"keyword of Python, such as protein_folds, got {name!r}"
        )
    modules = [module for module in (name, f"loopverse_{name}") if _is_module(module)]
    for kind, taken in (
        ("domain", registry.domain_entry_points()),
        ("command", {**COMMANDS, **more_commands()}),
        ("module", {name: modules} if modules else {}),
    ):
        if name in taken:
            raise UserError(f"there is a {kind} {name!r} already: choose another name")


def _is_module(name: str) -> bool:
    """Whether a module of that name is installed; a mere folder of that name is none."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


def _show_next(name: str, target: Path) -> None:
    console = Console(highlight=False)
    shown = quote(str(target))
    here = shown if target.is_absolute() else f"./{shown}"
    console.print(
        f"wrote [bold]{shown}[/], which multiplies numbers until you change it\n", soft_wrap=True
    )
    lines = {
        f"pip install -e {here}": "once; what you change afterwards is seen at once",
        f"loopverse train domain={name} name={name}": "under a minute on two CPU cores",
        f"loopverse check {name}": "against the contract, after every change of yours",
        f"loopverse evaluate runs/{name} --loops 1,2,4,8": "see what each loop buys",
    }
    show_examples(console, lines, "next")
    data = Path(shown) / f"loopverse_{name}" / "data.py"
    console.print(
        f"Your data goes into {data}; {Path(shown) / 'README.md'} says the rest.", soft_wrap=True
    )


def _parser() -> Parser:
    parser = Parser(
        "new",
        "Write a domain of your own to start from: a typed package with data, an adapter, settings and "
        "tests, which trains as it is and is made yours piece by piece.",
        {
            "loopverse new protein": "writes the folder protein",
            "pip install -e ./protein && loopverse train domain=protein": "and it learns",
        },
    )
    parser.add_argument("name", metavar="NAME", help="of the domain: what will stand after domain=")
    parser.add_argument(
        "--path",
        metavar="DIR",
        type=Path,
        default=Path(),
        help="the folder to write it into; default: this one",
    )
    return parser
