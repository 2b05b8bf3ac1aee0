"""Names of settings: all of them, what a wrong one was meant to be, and the values of a sweep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopverse.errors import UserError
from loopverse.training.compose import compose
from loopverse.training.names import (
    check_overrides,
    likely_settings,
    parsed,
    settings,
    trials,
    unknown_setting,
)

TOY = ["domain=toy"]
keys = st.lists(
    st.from_regex(r"[a-z]{1,6}(\.[a-z]{1,6})?", fullmatch=True), unique=True, max_size=4
)


def test_every_setting_that_is_listed_can_be_set() -> None:
    line = [*TOY, "optimizer=muon", "schedule=uniform"]
    names = [name for name in settings(line) if "." in name and "/" not in name]
    assert {"core.width", "domain.lag", "optimizer.rest.lr", "schedule.high"} <= set(names)
    config = compose(line)
    for name in names:
        value: object = config
        for part in name.split("."):
            value = getattr(value, part)


def test_settings_follow_from_the_options_of_the_line() -> None:
    assert "schedule.sigma" in settings([*TOY, "schedule=lognormal_poisson"])
    assert "schedule.sigma" not in settings(TOY)
    assert "core.width" in settings([*TOY, "core=no_such_core"])
    assert "core.width" in settings([*TOY, "core=plain,huginn"])


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("core.lops", ["core.loops"]),
        ("loops", ["core.loops"]),
        ("warmpu", ["rate.warmup"]),
        ("training.step", ["training.steps"]),
        ("steps", ["training.steps"]),
        ("traning.batch_size", ["training.batch_size"]),
        ("Seed", ["seed"]),
        ("weight_decay", ["optimizer.weight_decay"]),
        ("qqqqqq", []),
    ],
)
def test_a_wrong_name_is_answered_with_what_was_meant(name: str, meant: list[str]) -> None:
    assert likely_settings(name, TOY) == meant


def test_a_setting_of_another_option_names_the_option() -> None:
    line = str(unknown_setting("schedule.sigma", TOY))
    assert "schedule=lognormal_poisson has it" in line
    assert "schedule=poisson and schedule=lognormal_poisson have it" in str(
        unknown_setting("schedule.mean", TOY)
    )


@given(keys, st.data())
def test_trials_try_every_value_of_every_sweep_once(names: list[str], data: st.DataObject) -> None:
    values = {
        name: data.draw(st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True))
        for name in names
    }
    line = ["fixed=1", *(f"{name}={','.join(map(str, vs))}" for name, vs in values.items())]
    tried = list(trials(line))
    assert len(tried) == 1 + sum(len(vs) - 1 for vs in values.values())
    for words in tried:
        assert not any(word.is_sweep_override() for word in parsed(words))
        assert {word.split("=")[0] for word in words} == {"fixed", *names}
    for name, vs in values.items():
        assert {f"{name}={value}" for value in vs} <= {word for words in tried for word in words}


@pytest.mark.parametrize("line", ["seed=1,2", "seed=range(1,3)", "seed=choice(1,2)"])
def test_trials_know_the_ways_to_write_a_sweep(line: str) -> None:
    assert list(trials([line])) == [["seed=1"], ["seed=2"]]


def test_trials_leave_out_what_only_hydra_can_expand() -> None:
    assert list(trials(["core=glob(*)", "seed=3"])) == [["seed=3"]]


@pytest.mark.parametrize("override", ["core=plain", "core=plain,huginn", "+study=x", "seed=1"])
def test_what_can_be_used_passes(override: str) -> None:
    check_overrides([override])


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("core=[plain]", r"unknown core '\[plain\]'"),
        ("schedule=4", r"unknown schedule '4'; known: constant"),
        ("core=null", "unknown core 'null'"),
        ("core@other=plain", "to choose a core, write core=NAME"),
        ("++core=plain", "to choose a core, write core=NAME"),
        ("~core", "nothing can be taken away"),
        ("=3", "settings are written key=value"),
        ("choices.size=tiny", "choices.size is filled in by itself: write size=NAME to choose"),
    ],
)
def test_what_hydra_would_take_and_nobody_can_use_is_refused(override: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        check_overrides([override])
