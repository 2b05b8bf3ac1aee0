"""Rules as they are typed: their name, and the settings that are not their defaults."""

from loopverse.depth import AnyOf, FixedDepth, FixedPoint
from loopverse.depth.halting.naming import name_of, rule_in_words


def test_a_rule_is_written_as_it_is_typed() -> None:
    assert rule_in_words(FixedDepth()) == "halting=fixed_depth"
    rule = FixedPoint(tolerance=0.1, per="sequence", kv="exact")
    words = "halting.kv=exact halting.per=sequence halting.tolerance=0.1 halting=fixed_point"
    assert sorted(rule_in_words(rule).split()) == words.split()
    assert rule_in_words(AnyOf(["fixed_point"])).startswith(
        "halting=any_of halting.rules=[{halting: fixed_point"
    )


class Mine(FixedPoint):
    """A rule that has no name."""


def test_a_rule_without_a_name_goes_by_its_class() -> None:
    assert (name_of(FixedPoint()), name_of(Mine())) == ("fixed_point", "Mine")
    assert rule_in_words(Mine()).startswith("halting=")
