"""The documentation is executed: code blocks run in order, and printed output is what it says.

Lines that only call `loopverse` run in this process, others in a shell. Blocks of one page share a folder, and Python blocks share their names. A block of ``text`` right
after one of Python is its output. Training is cut to a few steps, and
calibration and diagnosis to a few batches, by words added to the command. An HTML comment before a block changes what happens to it:

    <!-- ci: test -->          the test command: `.ci/run` runs it in an environment of its own
    <!-- ci: train -->         set-up and training: the commands before the last are left out here
    <!-- not run: REASON -->   it needs what a test does not have
    <!-- file: PATH -->        it is the content of that file, which is written and not run
    <!-- install: FOLDER -->   the package in that folder is found from then on, without pip

Tables that a page links to, `](assets/NAME.csv)`, lie in its folder.
"""

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from loopverse.cli import main

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
SHORT = "training.steps=2 training.batch_size=2 training.valid_batches=1"
TINY = "size=tiny"
FEW = "--batches 4 --rules fixed_point"

FENCE = re.compile(
    r"^(?:<!-- (?P<mark>.*?) -->\n+)?```(?P<language>\w+)\n(?P<code>.*?)^```\n",
    re.MULTILINE | re.DOTALL,
)
LINKED_TABLE = re.compile(r"\]\(assets/(\w+\.csv)\)")
TRAIN = re.compile(r"loopverse train\b(?!.*\brun=)(?:\\\n|[^\n&|;#])*")


@dataclass
class Block:
    """A fenced block: its language, text, the mark before it, its line, and the output after it."""

    language: str
    code: str
    mark: str
    line: int
    output: str | None = None


def blocks(page: str) -> list[Block]:
    found: list[Block] = []
    end = -1
    for match in FENCE.finditer(page):
        block = Block(
            match["language"],
            match["code"],
            match["mark"] or "",
            page[: match.start()].count("\n") + 1,
        )
        if block.language == "text" and found and not page[end : match.start()].strip():
            found[-1].output = block.code
        found.append(block)
        end = match.end()
    return found


def shortened(code: str) -> str:
    """The same commands: trained for a moment, small where no size is named, calibrated on little."""

    def short(match: re.Match[str]) -> str:
        settings = SHORT if " size=" in match[0] else f"{SHORT} {TINY}"
        return f"{match[0].rstrip()} {settings} "

    code = code.replace("loopverse calibrate ", f"loopverse calibrate {FEW} ")  # its own words win
    code = code.replace("loopverse diagnose ", "loopverse diagnose --samples 8 ")
    return TRAIN.sub(short, code)


def runnable(page: str) -> Iterator[Block]:
    for block in blocks(page):
        if block.mark.startswith("file: "):
            yield block
            continue
        if block.language not in ("bash", "python") or block.mark.startswith("not run: "):
            continue
        if block.mark == "ci: test":
            continue
        if block.mark == "ci: train":
            block.code = block.code.rpartition("&&")[2].strip() + "\n"
        if block.language == "bash":
            block.code = shortened(block.code.replace(".venv/bin/", ""))
        yield block


def plain_commands(code: str) -> list[list[str]] | None:
    """The words of each line after `loopverse`, if that is all there is; None: it takes a shell."""
    lines = [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]
    if any(set(line.partition(" #")[0]) & set("|&;<>$`*?~") for line in lines):
        return None
    commands = [words for line in lines if (words := shlex.split(line, comments=True))]
    return [words[1:] for words in commands] if all(w[0] == "loopverse" for w in commands) else None


def run_commands(commands: list[list[str]]) -> str:
    """Run them in this process, which has imported torch already."""
    printed = io.StringIO()
    with (
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        for words in commands:
            status = main(words)
            assert status == 0, f"loopverse {shlex.join(words)}: {printed.getvalue()}"
    return printed.getvalue()


def run_bash(code: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def install(package: Path, folder: Path) -> None:
    """Leave in a folder what tells Python of the entry points of a package, as pip would."""
    project = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    about = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines))


def run_python(block: Block, page: Path, module: types.ModuleType) -> str:
    printed = io.StringIO()
    code = "\n" * block.line + block.code  # so that a traceback shows the line of the page
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(page), "exec"), vars(module))
    return printed.getvalue()


@pytest.mark.timeout(900)  # a page may start the command line a dozen times
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("documented")
    monkeypatch.setitem(sys.modules, "documented", module)
    text = page.read_text(encoding="utf-8")
    for name in LINKED_TABLE.findall(text):
        shutil.copy(page.parent / "assets" / name, tmp_path)
    for block in runnable(text):
        kind, _, named = block.mark.partition(": ")
        if kind == "file":
            (tmp_path / named).write_text(block.code, encoding="utf-8")
            continue
        if kind == "install":
            install(tmp_path / named, tmp_path)
            monkeypatch.syspath_prepend(tmp_path / named)
            monkeypatch.syspath_prepend(tmp_path)
            continue
        if block.language == "bash":
            commands = plain_commands(block.code)
            printed = run_bash(block.code, tmp_path) if commands is None else run_commands(commands)
        else:
            printed = run_python(block, page, module)
        if block.output is not None:
            assert printed == block.output, f"{page.name}, line {block.line}"


def test_the_readme_holds_the_commands_that_ci_runs() -> None:
    marks = {block.mark: block.code for block in blocks((REPOSITORY / "README.md").read_text())}
    assert "pytest" in marks["ci: test"]
    assert marks["ci: train"].strip().endswith("loopverse train")


def test_only_what_takes_long_is_shortened_and_training_only_when_it_is_new() -> None:
    assert (
        shortened("loopverse calibrate runs/a # b\n") == f"loopverse calibrate {FEW} runs/a # b\n"
    )
    assert (
        shortened("loopverse train core=ouro\n") == f"loopverse train core=ouro {SHORT} {TINY} \n"
    )
    assert shortened("loopverse train size=large\n") == f"loopverse train size=large {SHORT} \n"
    assert (
        shortened("loopverse train \\\n  seed=1 # why\n")
        == f"loopverse train \\\n  seed=1 {SHORT} {TINY} # why\n"
    )
    assert shortened("loopverse train run=runs/a\n") == "loopverse train run=runs/a\n"
    assert shortened("loopverse sample runs/a\n") == "loopverse sample runs/a\n"


def test_only_plain_lines_run_in_this_process() -> None:
    code = "loopverse train \\\n  seed=1 # why\n\n# once more\nloopverse sample a --prompt 'x y'\n"
    assert plain_commands(code) == [["train", "seed=1"], ["sample", "a", "--prompt", "x y"]]
    for line in ("loopverse a && loopverse b", "loopverse a | head", "ls", "pip install x"):
        assert plain_commands(f"loopverse train\n{line}\n") is None


def test_a_command_that_fails_is_noticed() -> None:
    with pytest.raises(AssertionError, match="loopverse sample none: .*no run folder none"):
        run_commands([["sample", "none"]])


def test_a_block_knows_its_mark_its_line_and_its_output() -> None:
    page = "x\n<!-- not run: a gpu -->\n```bash\nlong\n```\n\n```python\nprint(1)\n```\n\n```text\n1\n```\n"
    first, second, _ = blocks(page)
    assert (first.mark, first.line) == ("not run: a gpu", 2)
    assert (second.code, second.output) == ("print(1)\n", "1\n")
    assert [block.code for block in runnable(page)] == ["print(1)\n"]


def test_a_page_that_prints_something_else_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(2)\n```\n\n```text\n1\n```\n")
    with pytest.raises(AssertionError, match="line 1"):
        test_the_code_of_a_page_runs(page, tmp_path, monkeypatch)
