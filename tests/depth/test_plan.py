"""Strategies that cannot work together are refused, with the remedy, before anything runs."""

from typing import Any

import pytest
import torch

from loopverse.depth import (
    Active,
    Checkpointed,
    ExitGate,
    ExitHead,
    FixedPoint,
    Full,
    Implicit,
    LoopPlan,
    OneStep,
    Phantom,
    Truncated,
    iterate,
)

DEPTHS = torch.tensor([1, 3])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 0}, "number of loops must be at least 1, got 0"),
        ({"depth": torch.tensor([2, 0])}, "number of loops must be at least 1, got 0"),
        (
            {"depth": 2, "halting": ExitGate()},
            "ExitGate reads a trained head .* halting=exit_gate objective=expected",
        ),
        (
            {"depth": 2, "halting": FixedPoint(), "gradient": Truncated()},
            "Truncated needs to know the last loop .* FixedPoint decides .* gradient=full",
        ),
        (
            {"depth": 2, "halting": FixedPoint(), "gradient": Checkpointed()},
            "Checkpointed needs to know the last loop",
        ),
        (
            {"depth": DEPTHS, "halting": FixedPoint()},
            "both decide the depth: give a single largest depth",
        ),
        (
            {"depth": DEPTHS, "keep_states": True},
            "needs the same depth for all sequences: use objective=final",
        ),
        (
            {"depth": 2, "halting": FixedPoint(), "keep_states": True},
            "cannot be kept while FixedPoint ends loops early: use halting=fixed_depth",
        ),
        *(
            (
                {"depth": 2, "gradient": gradient, "keep_states": True},
                f"no gradient under gradient {type(gradient).__name__}: use gradient=full",
            )
            for gradient in (Truncated(), Phantom(), OneStep(), Implicit())
        ),
    ],
)
def test_an_illegal_pair_is_refused_with_the_remedy(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoopPlan(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"depth": 2, "halting": FixedPoint(), "gradient": Full()},
        {"depth": 2, "halting": FixedPoint(), "gradient": Phantom()},
        {"depth": 2, "halting": FixedPoint(), "gradient": Implicit()},
        {"depth": 2, "halting": ExitGate(), "head": ExitHead(4)},
        {"depth": DEPTHS, "gradient": Truncated()},
        {"depth": DEPTHS, "gradient": Checkpointed()},
        {"depth": 2, "gradient": Checkpointed(), "keep_states": True},
    ],
)
def test_a_legal_pair_is_accepted(settings: dict[str, Any]) -> None:
    assert LoopPlan(**settings).deepest in (2, 3)


def test_strategies_that_only_matter_for_gradients_are_free_without_them() -> None:
    with torch.no_grad():
        LoopPlan(2, halting=FixedPoint(), gradient=Truncated())
        LoopPlan(2, gradient=Implicit(), keep_states=True)


def test_a_plan_made_without_gradients_is_checked_where_they_are_recorded() -> None:
    def halved(z: torch.Tensor, i: int, active: Active | None) -> torch.Tensor:
        return 0.5 * z

    with torch.no_grad():
        plan = LoopPlan(2, halting=FixedPoint(), gradient=Truncated(1))
        iterate(halved, torch.ones(1, 1, 2), plan)
    with pytest.raises(ValueError, match="Truncated needs to know the last loop"):
        iterate(halved, torch.ones(1, 1, 2), plan)


def test_keys_of_an_unknown_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"halting.kv must be one of copy, exact.*got 'all'"):
        LoopPlan(2, halting=FixedPoint(kv="all"))


def test_an_unknown_way_to_shrink_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"halting.shrink must be one of always, halving, got 'no'"
    ):
        LoopPlan(2, halting=FixedPoint(shrink="no"))
