"""How a sample is shown: as it grows, or redrawn on a terminal, and never more than it may do."""

import io
import re
from collections.abc import Iterator

import pytest

from loopverse.cli import stream
from loopverse.domain import Sample


class Terminal(io.StringIO):
    """A terminal that remembers what it was told."""

    def isatty(self) -> bool:
        return True


def said() -> Iterator[Sample]:
    yield Sample(1, "other")
    yield Sample(0, "a\x1b]0;title\x07")
    yield Sample(0, "b\n")


def test_a_pipe_gets_every_character() -> None:
    out = io.StringIO()
    stream.show(["x", "y"], said(), out)
    assert out.getvalue() == "--- 1 of 2\nxa\x1b]0;title\x07b\n\n--- 2 of 2\nyother\n"


def test_a_model_cannot_command_a_terminal() -> None:
    out = Terminal()
    stream.show(["x"], (piece for piece in said() if piece.row == 0), out)
    assert out.getvalue() == "\x1b[1mx\x1b[0ma�]0;title�b\n\n"


def test_the_first_text_is_shown_as_it_is_said() -> None:
    out = io.StringIO()
    seen = []

    def slow() -> Iterator[Sample]:
        for letter in "abc":
            yield Sample(0, letter)
            seen.append(out.getvalue())

    stream.show([">"], slow(), out)
    assert seen == [">a", ">ab", ">abc"]


def test_nothing_is_shown_of_a_prompt_that_is_refused() -> None:
    def refusing() -> Iterator[Sample]:
        raise ValueError("too long")
        yield

    out = io.StringIO()
    with pytest.raises(ValueError, match="too long"):
        stream.show(["prompt"], refusing(), out)
    assert out.getvalue() == ""


def test_a_model_that_says_nothing_leaves_the_prompt() -> None:
    out = io.StringIO()
    stream.show(["prompt"], iter(()), out)
    assert out.getvalue() == "prompt\n"


def drafts() -> Iterator[Sample]:
    yield Sample(0, "a░\x1b]0;title\x07", whole=True, draft=True)
    yield Sample(1, "░c", whole=True, draft=True)
    yield Sample(1, "bc", whole=True)
    yield Sample(0, "ab", whole=True, draft=True)
    yield Sample(0, "az\x07", whole=True)


def test_a_pipe_gets_no_drafts_and_each_prompt_once() -> None:
    out = io.StringIO()
    stream.show(["a_", "_c"], drafts(), out)
    assert out.getvalue() == "--- 1 of 2\naz\x07\n--- 2 of 2\nbc\n"


def test_drafts_are_redrawn_on_a_terminal_and_the_texts_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    stream.show(["a_", "_c"], drafts(), out)
    told = out.getvalue()
    drawn, _, left = told.rpartition("\x1b[2K")  # the last line of the drafts is erased
    assert left == "--- 1 of 2\naz�\n--- 2 of 2\nbc\n"
    assert "\x1b[2m░" in drawn  # dim
    assert "_c" in drawn  # the second row before its first draft
    assert "a" in drawn
    assert "\x07" not in told
    assert "\x1b]" not in told


def test_what_is_on_the_way_is_not_taken_for_what_was_said() -> None:
    """A row that grows may be sketched ahead: the sketch goes, what was said stays."""
    pieces = [Sample(0, "b"), Sample(0, "??", draft=True), Sample(0, "c")]
    for out in (io.StringIO(), Terminal()):
        stream.show(["a"], iter(pieces), out)
        assert re.sub(r"\x1b\[\d?m", "", out.getvalue()) == "abc\n"


def test_a_draft_without_the_prompt_is_shown_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    stream.show(["ab"], iter([Sample(0, "░░", draft=True), Sample(0, "cd")]), out)
    assert "ab\x1b[2m░░" in out.getvalue()
    assert out.getvalue().endswith("\x1b[1mab\x1b[0mcd\n")
