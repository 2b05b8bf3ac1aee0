"""The shortest command line that leads to a configuration leads to it."""

import pytest

from loopverse.analysis.overrides import overrides
from loopverse.training.compose import compose


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["core=huginn", "core.loops=8", "training.clip=null"],
        ["schedule=uniform", "core/injection=scaled", "core.injection.stream=0.5"],
        ["optimizer=muon", "size=tiny", "core.tied=false", "optimizer.rest.betas=[0.8,0.9]"],
        ["core=ouro", "seed=3", r'domain.corpus="a b, it\'s \"c\"/*.txt"'],
    ],
)
def test_the_line_found_is_the_line_typed(line: list[str]) -> None:
    config = compose(line)
    found = overrides(config)
    assert compose(found) == config
    assert len(found) == len(line)


def test_where_a_run_lies_is_no_difference() -> None:
    assert overrides(compose(["name=other", "runs=elsewhere"])) == []


@pytest.mark.parametrize(
    "name", ["a b", "null", "12", 'it\'s "c"', "back\\", 'a\\"b', "a,b", "", "x/*.txt"]
)
def test_any_text_survives_the_command_line(name: str) -> None:
    config = compose([])
    config.domain.text_column = name
    assert compose(overrides(config)).domain.text_column == name
