"""`loopverse new`: a package with a domain of one's own, complete and ready to train."""

from __future__ import annotations

import importlib.util
import keyword
import os
import shutil
import tempfile
from pathlib import Path
from shlex import quote

from rich.console import Console

from loopverse import registry
from loopverse.cli.arguments import Parser
from loopverse.cli.overview import show_examples
from loopverse.errors import UserError

FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
    "src/{name}/__init__.py": "init.py",
    "src/{name}/config.py": "config.py",
    "src/{name}/data.py": "data.py",
    "src/{name}/domain.py": "domain.py",
    "src/{name}/py.typed": "",
    "src/{name}/configs/domain/{name}.yaml": "domain.yaml",
    "tests/test_{name}.py": "test.py",
}
"""Where each file goes, and the template that it is made of; without one it is empty."""


def command(arguments: list[str]) -> int:
    """Write the package and say what to type next.

    Raises:
        ValueError: a name that cannot be, or a place that cannot be written to; nothing was written.
    """
    options = _parser().parse_args(arguments)
    check_name(options.name)
    folder = write_package(options.name, options.path)
    console = Console(highlight=False)
    console.print(f"[bold]written[/]  {folder}\n", soft_wrap=True)
    name = options.name
    show_examples(
        console,
        {
            f"pip install -e {quote(str(folder))}": "make it known to Loopverse",
            f"loopverse check {name}": "is the contract kept?",
            f"loopverse train domain={name} name=first": "a minute on two CPU cores",
            "loopverse diagnose runs/first": "what does each loop do?",
            f"$EDITOR {quote(str(folder / 'src' / name / 'data.py'))}": "put in data of your own",
        },
        title="next",
    )
    return 0


def check_name(name: str) -> None:
    """Refuse a name that a package or a domain cannot have.

    Raises:
        ValueError: why, and what to do.
    """
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise UserError(
            f"a domain is named like a module of Python, letters, digits and _, got {name!r}: for example "
            "`loopverse new protein`"
        )
    if name != name.lower():
        raise UserError(f"a domain's name is in small letters, got {name!r}: use {name.lower()!r}")
    if name in registry.domain_entry_points():
        raise UserError(f"there is a domain {name!r} already: choose another name")
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.origin is not None:  # a mere folder of that name is none
        raise UserError(
            f"there is a module {name!r} already, which it would hide: choose another name"
        )


def write_package(name: str, path: Path) -> Path:
    """Write all files, or none.

    Returns:
        The folder of the package.

    Raises:
        ValueError: the folder exists, or cannot be made.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # here, or --help would wait

    folder = path / name
    if folder.exists():
        raise UserError(f"{folder} exists: choose another name, or another place with --path DIR")
    templates = Environment(
        loader=PackageLoader("loopverse.cli", "package"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    kind = "".join(part.capitalize() for part in name.split("_")) or "Domain"
    scratch: Path | None = None
    try:
        path.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=path))
        scratch.chmod(0o755)
        for place, template in FILES.items():
            file = scratch / place.format(name=name)
            file.parent.mkdir(parents=True, exist_ok=True)
            content = ""
            if template:
                content = templates.get_template(f"{template}.jinja").render(name=name, kind=kind)
            file.write_text(content, encoding="utf-8")
        os.rename(scratch, folder)  # noqa: PTH104  Path.rename would replace an empty folder as well
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        if scratch is not None and scratch.exists():
            shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _parser() -> Parser:
    parser = Parser(
        "new",
        "Write a package with a domain of your own: adapter, settings, data, tests with every check of the "
        "contract, README. It trains at once; replace its data and its adapter piece by piece.",
        {
            "loopverse new protein": "in ./protein",
            "loopverse new protein --path ~/projects": "elsewhere",
        },
    )
    parser.add_argument("name", metavar="NAME", help="of the domain and of its package")
    parser.add_argument(
        "--path", metavar="DIR", type=Path, default=Path(), help="where its folder is made (here)"
    )
    return parser
