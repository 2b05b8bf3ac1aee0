"""Words that say how a model is used: read into dataclasses, or refused in one sentence."""

import pytest
from stepwise import StepwiseSampling

from loopverse.depth import Even, FixedDepth, FixedPoint, Peaked, Table
from loopverse.domain import Sample
from loopverse.training.use import Use, finished_texts, read_use


def test_no_words_ask_for_the_defaults() -> None:
    assert read_use(StepwiseSampling) == Use(StepwiseSampling(), Even(), FixedDepth())


def test_words_set_the_fields_of_the_domain_and_choose_a_budget_and_a_rule() -> None:
    use = read_use(
        StepwiseSampling,
        [
            *("budget.strength=0.5", "steps=3", "order=backward", "pause=null", "temperature=0"),
            *("budget=peaked", "halting=fixed_point", "halting.tolerance=1e-1"),
            "halting.per=sequence",
        ],
    )
    assert use.sampling == StepwiseSampling(steps=3, order="backward", temperature=0)
    assert use.budget == Peaked(strength=0.5)
    assert use.halting == FixedPoint(tolerance=0.1, per="sequence")


def test_a_table_is_a_list() -> None:
    use = read_use(StepwiseSampling, ["budget=table", "budget.table=[4,2,1]"])
    assert use.budget == Table(table=[4, 2, 1])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["stepz=4"], "unknown setting 'stepz'; did you mean 'steps'? known: "),
        (["table=[1]"], "unknown setting 'table'"),
        (["+steps=4"], "unknown setting '+steps'; did you mean 'steps'?"),
        (["steps=many"], "steps must be a whole number or null, got many"),
        (["steps=1,2"], "steps must be a whole number or null, got 1,2"),
        (["seed="], "seed must be a whole number, got nothing"),
        (["pause=some"], "pause must be a whole number or null, got some"),
        (["steps"], "cannot read 'steps': settings are written KEY=VALUE, such as temperature=0.5"),
        (["steps=[4"], "cannot read the value in steps=[4"),
        (["steps=1", "steps=2"], "steps is given twice, steps=1 and steps=2: leave one out"),
        (["steps=9"], "steps must be 1 to the length 8, got 9: ask for fewer"),
        (["temperature=-1"], "temperature must not be negative, got -1.0"),
        (
            ["budget=peakd"],
            "unknown budget 'peakd'; did you mean 'peaked'? known: decreasing, even",
        ),
        (["budget="], "unknown budget ''"),
        (
            ["budget.strength=1"],
            "unknown setting 'budget.strength'; budget=decreasing and budget=increasing and "
            "budget=peaked have it",
        ),
        (["budget=even", "budget.table=[1]"], "'budget.table'; budget=table has it"),
        (["budget=peaked", "budget.strength=2"], "budget.strength must be in [0, 1], got 2.0"),
        (["budget=table"], "budget.table must list at least one number of loops"),
        (["budget=table", "budget.table=4"], "budget.table must be a list, [a, b], got 4"),
        (["budget=table", "budget.table=[a]"], "must be a whole number, got a"),
        (["halting=fixed_point", "halting.per=all"], 'must be "unit" or "sequence", got "all"'),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(words: list[str], line: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  the line is looked for below, as plain text
        read_use(StepwiseSampling, words)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_text_is_its_prompt_and_what_was_said_unless_a_piece_is_all_of_it() -> None:
    said = [
        Sample(0, "b"),
        Sample(1, "x?", whole=True, draft=True),
        Sample(0, "never", draft=True),
        Sample(1, "xyz", whole=True),
        Sample(0, "c"),
    ]
    assert finished_texts(["a", "x_z", "alone"], said) == ["abc", "xyz", "alone"]
