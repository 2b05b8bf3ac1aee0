"""Errors of Hydra and OmegaConf: always one sentence, never a stack, and never another's error."""

import pytest
from hydra.errors import ConfigCompositionException, HydraException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf.errors import OmegaConfBaseException

from loopverse.errors import UserError
from loopverse.training.compose import compose
from loopverse.training.explain import explained

NAMES = [
    "core",
    "core.width",
    "core/injection",
    "schedule",
    "schedule.loops",
    "training",
    "seed",
    "x.y",
]
VALUES = [
    "1",
    "-1",
    "0",
    "1.5",
    "x",
    "null",
    "[1,2]",
    "{a:1}",
    "true",
    "???",
    "${seed}",
    "${no}",
    "'",
    '"',
    "a,b",
    "(",
    ")",
    "plain",
    "constant",
    "add",
    "1e400",
    "nan",
]
PREFIXES = ["", "", "", "+", "++", "~"]


def refusal(line: list[str]) -> str | None:
    """Why a line is refused; None if it is taken."""
    try:
        compose(["domain=toy", *line])
    except OmegaConfBaseException as error:
        raise AssertionError(f"{line} is not explained") from error
    except ValueError as error:
        return str(error)
    return None


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prefix=st.sampled_from(PREFIXES),
    name=st.sampled_from(NAMES),
    value=st.sampled_from(["", "a b", *VALUES]),
)
def test_whatever_is_written_is_taken_or_refused_in_one_sentence(
    prefix: str, name: str, value: str
) -> None:
    said = refusal([f"{prefix}{name}={value}"])
    assert said is None or (len(said) > 10 and "\n" not in said and "full_key" not in said)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(max_size=12))
def test_any_word_is_refused_in_one_sentence(word: str) -> None:
    said = refusal([word])
    assert said is not None
    assert "\n" not in said


def test_errors_of_others_pass_as_they_are() -> None:
    for error in (RuntimeError("a bug"), ValueError("a strategy's"), UserError("ours")):
        with pytest.raises(type(error), match=str(error)) as caught, explained([]):
            raise error
        assert caught.value is error


def test_what_nobody_foresaw_is_still_one_line() -> None:
    for error in (HydraException("what\n  now"), ConfigCompositionException("what\n  now")):
        with pytest.raises(UserError, match=r"^what now$"), explained([]):
            raise error
