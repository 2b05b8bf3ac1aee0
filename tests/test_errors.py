"""Refusals: the nearest name is found, and the sentence says what to do."""

from hypothesis import given
from hypothesis import strategies as st

from loopverse.errors import UserError, closest, unknown

NAMES = ["constant", "uniform", "poisson", "lognormal_poisson", "ramp"]


def test_a_slip_of_the_finger_is_recognised() -> None:
    for written, meant in (("unifrom", "uniform"), ("Poison", "poisson"), ("CONSTANT", "constant")):
        assert closest(written, NAMES) == meant


def test_nothing_is_guessed_where_nothing_is_near() -> None:
    assert closest("zzz", NAMES) is None
    assert closest("uniform", []) is None


@given(st.sampled_from(NAMES), st.data())
def test_one_missing_letter_is_always_recognised(name: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(name) - 1))
    assert closest(name[:place] + name[place + 1 :], NAMES) == name


def test_the_sentence_holds_the_name_the_guess_what_is_known_and_the_remedy() -> None:
    error = unknown("schedule", "rmap", NAMES, "see the docs")
    assert isinstance(error, UserError)
    assert isinstance(error, ValueError)
    assert str(error) == (
        "unknown schedule 'rmap'; did you mean 'ramp'? "
        "known: constant, lognormal_poisson, poisson, ramp, uniform; see the docs"
    )


def test_the_sentence_does_without_a_guess_and_without_anything_known() -> None:
    assert str(unknown("core", "zzz", ["plain"])) == "unknown core 'zzz'; known: plain"
    assert str(unknown("core", "x", [])) == "unknown core 'x'; there is no core to choose from"
