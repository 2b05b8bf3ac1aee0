"""`loopverse sample` with settings of a domain's own, budgets, halting, and prompts of several lines."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stepwise
import toy
from commands import Command, Refusal
from stepwise import Stepwise

from loopverse import registry
from loopverse.cli import sample
from loopverse.training import train


@pytest.fixture(autouse=True)
def _stepwise_is_installed(monkeypatch: pytest.MonkeyPatch, _toy_is_installed: None) -> None:
    monkeypatch.setattr(registry, "domain_entry_points", registry.domain_entry_points)
    stepwise.register()


@pytest.fixture
def run(tmp_path: Path, loopverse: Command) -> str:
    """A run that samples in steps."""
    config = replace(toy.toy_config(tmp_path, steps=1), choices={"domain": "stepwise"})
    train(config)
    return "run"


def test_settings_of_the_domain_are_words_anywhere_in_the_line(
    loopverse: Command, run: str
) -> None:
    answer = loopverse("sample", run, "steps=2", "--prompt", "1=1 ", "--loops", "3", "length=6")
    assert answer.status == 0, answer.err
    assert answer.out.startswith("1=1 ")
    assert len(answer.out) == 4 + 6 + 1
    assert loopverse("sample", run, "--length", "6", "--prompt", "1=1 ").out.startswith("1=1 ")


@pytest.mark.parametrize(
    ("words", "depths"),
    [
        ([], [2, 2, 2, 2]),
        (["--loops", "3"], [3, 3, 3, 3]),
        (["budget=table", "budget.table=[3,1]"], [3, 3, 1, 1]),
        (["--loops", "4", "budget=decreasing", "budget.strength=0.5"], [6, 5, 4, 3]),
        (["--loops", "4", "halting=fixed_point", "halting.tolerance=1e9"], [1, 1, 1, 1]),
    ],
)
def test_loops_a_budget_and_a_rule_reach_every_call(
    loopverse: Command,
    run: str,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    depths: list[int],
) -> None:
    found: list[int] = []
    sampled = Stepwise.sample

    def listening(self: Stepwise, think: Any, *rest: Any) -> Any:
        think.observe = lambda result: found.append(int(result.depth.max()))
        return sampled(self, think, *rest)

    monkeypatch.setattr(Stepwise, "sample", listening)
    answer = loopverse("sample", run, *words)
    assert answer.status == 0, answer.err
    assert found == depths


@pytest.mark.filterwarnings("default:halting=")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["halting.tolerance=1e9"], "gave every unit 1 loop,"),
        (["halting.tolerance=1e-9", "--loops", "4"], "gave every unit 4 loops,"),
        (["halting.tolerance=1e9", "--loops", "1"], ""),
    ],
)
def test_a_rule_that_stops_all_units_or_none_is_told(
    loopverse: Command, run: str, words: list[str], said: str
) -> None:
    answer = loopverse("sample", run, "halting=fixed_point", *words)
    assert answer.status == 0, answer.err
    assert said in answer.err
    assert ("as a fixed depth would" in answer.err) == bool(said)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["stepz=2"], "unknown setting 'stepz'; did you mean 'steps'?"),
        (["steps=9"], "steps must be 1 to the length 8, got 9: ask for fewer"),
        (["--length", "4", "length=5"], "length is given twice, length=4 and length=5"),
        (["deeper"], "deeper is one too many; see `loopverse sample --help`"),
        (["--promt", "a=b"], "unknown option --promt; did you mean --prompt?"),
        (["halting=exit_gate"], "halting ExitGate reads a trained head and this model has none"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    refusal: Refusal, run: str, words: list[str], line: str
) -> None:
    assert line in refusal("sample", run, *words)


def test_settings_are_listed_with_their_documentation(loopverse: Command, run: str) -> None:
    answer = loopverse("sample", run, "--settings", "steps=3", "budget=peaked", "--seed", "7")
    assert answer.status == 0, answer.err
    for text in ("steps=3", "calls of the model, at most one a bit", "seed=7", "pause=null"):
        assert text in answer.out
    for text in ("peaked*", "decreasing", "budget.strength=0.75", "fixed_depth*", "fixed_point"):
        assert text in answer.out


def test_help_mentions_settings_and_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from loopverse.cli import main; main(['sample', '--help']); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert "RUN [KEY=VALUE ...] [OPTIONS]" in done.stdout
    assert "--settings" in done.stdout


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"def f():\n    return a", "def f():\n    return a"),
        (r"a\tb", "a\tb"),
        (r"print(\"\\n\")", r"print(\"\n\")"),
        (r"\d+\\", "\\d+\\"),
        ("plain\nline", "plain\nline"),
    ],
)
def test_a_prompt_of_several_lines_can_be_written_in_one(written: str, meant: str) -> None:
    assert sample.unescaped(written) == meant


def test_the_prompt_that_a_model_gets_has_its_line_breaks(loopverse: Command, run: str) -> None:
    assert loopverse("sample", run, "--prompt", r"a\nb").out.startswith("a\nb")
