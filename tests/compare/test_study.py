"""A study is read, checked and spelled out before anything is trained."""

import math
from pathlib import Path

import pytest

from loopverse.compare.conduct import best_rate
from loopverse.compare.study import Arm, Group, Study, as_yaml, read_study, studies


@pytest.mark.parametrize("name", studies())
def test_every_study_that_we_ship_has_all_of_its_controls(name: str) -> None:
    study = read_study(name)
    arms = study.arms()
    assert Arm("tied", 1) in arms
    for arm in arms:
        if arm.loops > 1:
            assert Arm("untied", arm.loops) in arms


def test_a_study_comes_back_from_its_file(tmp_path: Path) -> None:
    study = read_study("quick", ["seeds=[3,4,5]", "domains=[autoregressive]"])
    (tmp_path / "mine.yaml").write_text(as_yaml(study))
    assert read_study(str(tmp_path / "mine.yaml")) == study
    assert study.seeds == [3, 4, 5]


def test_arms_differ_in_depth_alone() -> None:
    study = Study(loops=[1, 4], untied=[4], drawn=[4], settings=["size=tiny"])
    words = {str(arm): study.words(Group("autoregressive"), arm) for arm in study.arms()}
    common = ["domain=autoregressive", "size=tiny"]
    assert words == {
        "1 loop": [*common, "core.loops=1", "schedule=constant"],
        "4 loops": [*common, "core.loops=4", "schedule=constant"],
        "4 loops, untied": [*common, "core.loops=4", "schedule=constant", "core.tied=false"],
        "4 loops, drawn": [*common, "core.loops=4", "schedule=poisson"],
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["seed=[1]"], "unknown setting of a study 'seed'; did you mean 'seeds'"),
        (["seeds=[a]"], r"seeds\[0\]: Value 'a' of type 'str' could not be converted"),
        (["seeds=[]"], "seeds must name at least one"),
        (["seeds=[1,1]"], "each once"),
        (["loops=[2]", "untied=[2]"], "loops must hold 1"),
        (["loops=[1,2,8]"], "equal FLOPs .* 8 is missing"),
        (["drawn=[3]"], "3 is missing"),
        (["loops=[0,1]"], "above 0"),
        (["budget=money"], "unknown budget 'money'"),
        (["rates=[0]"], "rates must be above 0"),
        (["tries=2"], "at most 1"),
        (["settings=[core.loops=3]"], "a study decides core.loops itself"),
        (["settings=[optimizer.lr=3]"], "use rates"),
        (["domain_settings={nosuch:[a=1]}"], "unknown domain 'nosuch'"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_study("quick", changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domains": ["nosuch"]}, "unknown domain 'nosuch'"),
        ({"cores": ["huggin"]}, "unknown core 'huggin'; did you mean 'huginn'"),
        ({"sizes": ["huge"]}, "unknown size 'huge'"),
    ],
)
def test_groups_that_do_not_exist_are_refused(changes: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Study(**changes).groups()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds: [1\n", "cannot be read as YAML"),
        ("- 1\n", "must hold settings"),
        ("sead: [1]\n", "unknown setting of mine.yaml 'sead'; did you mean 'seeds'"),
    ],
)
def test_a_file_with_a_mistake_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_study(str(tmp_path / "mine.yaml"))


def test_a_study_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown study 'quik'; did you mean 'quick'"):
        read_study("quik")
    with pytest.raises(ValueError, match="there is no study"):
        read_study(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("tried", "rate"),
    [
        ({0.5: 3.25, 1.0: 3.03, 2.0: 2.953, 4.0: 2.933}, 2.0),  # within one per cent of the best
        ({1.0: 3.0, 2.0: 2.96}, 2.0),  # not within
        ({1.0: math.nan, 2.0: 5.0}, 2.0),
        ({0.5: -1.995, 1.0: -2.0, 2.0: -2.001}, 0.5),
        ({0.5: -1.9, 1.0: -2.0}, 1.0),
        ({1.0: math.nan}, None),
        ({}, None),
    ],
)
def test_of_rates_that_cannot_be_told_apart_the_lowest_is_taken(
    tried: dict[float, float], rate: float | None
) -> None:
    assert best_rate(tried) == rate
