"""Rules that read what was learned: a gate, a router."""

import pytest
import torch
from torch import Tensor, nn

from loopverse.depth import (
    DepthHead,
    ExitGate,
    ExitHead,
    ExpertChoice,
    Halting,
    Ponder,
    TokenChoice,
)


class First(ExitHead):
    """A gate whose logit is the first channel."""

    def forward(self, z: Tensor) -> Tensor:
        return z[..., 0]


class Channels(DepthHead):
    """A router whose logits are the channels."""

    def forward(self, z: Tensor) -> Tensor:
        return z


def told(rule: Halting, head: nn.Module, states: Tensor) -> list[list[bool]]:
    """What the units of one row are told after each loop, for the states after them, `[loops t d]`."""
    memory, found = rule.begin(states[:1]), []
    for i, z in enumerate(states):
        memory, stops = rule.update(memory, z[None], z[None], i, None, head)
        found.append(stops[0].tolist())
    return found


def test_exit_probabilities_accumulate_as_their_definition_says() -> None:
    """`p(i) = lambda_i prod_{j<i} (1 - lambda_j)`, summed the slow way."""
    torch.manual_seed(0)
    head, states = ExitHead(4), torch.randn(6, 2, 3, 4)
    rule = ExitGate(threshold=0.7)
    memory = rule.begin(states[0])
    for i, z in enumerate(states):
        memory, stops = rule.update(memory, z, z, i, None, head)
        gates = [torch.sigmoid(head(earlier)) for earlier in states[: i + 1]]
        total = torch.zeros(2, 3)
        for n, gate in enumerate(gates):
            reached = torch.ones(2, 3)
            for earlier in gates[:n]:
                reached = reached * (1 - earlier)
            total = total + gate * reached
        torch.testing.assert_close(1 - memory["going_on"], total)
        assert torch.equal(stops, total >= 0.7)


def test_the_gate_is_one_logit_per_unit() -> None:
    assert ExitGate().head(8)(torch.zeros(2, 3, 8)).shape == (2, 3)


def test_a_ponderer_stops_at_a_quantile_of_its_distribution() -> None:
    logits = torch.tensor([0.3, 0.25, 0.6]).logit()[:, None, None]  # p = 0.3, 0.175, 0.315
    head = First(1)
    assert told(Ponder(0.3), head, logits) == [[True], [True], [True]]
    assert told(Ponder(0.5), head, logits) == [[False], [False], [True]]
    assert told(Ponder(0.8), head, logits) == [[False], [False], [False]]


def test_a_gate_that_is_more_open_than_closed_lets_a_unit_go_on() -> None:
    logits = torch.tensor([[-1.0, 1.0, -0.1, 0.1], [1.0, -1.0, -0.1, 0.1]])[..., None]
    rule = ExpertChoice()
    assert rule.per_unit
    assert not rule.competes
    assert told(rule, First(1), logits) == [
        [False, True, False, True],
        [True, False, False, True],
    ]


def test_an_ever_smaller_share_of_a_sequence_goes_on_those_that_want_it_most() -> None:
    wish = torch.tensor(
        [
            [5.0, 1.0, 4.0, 3.0, 2.0, 0.0],  # 4 of 6 go on: not 1 and 5
            [1.0, 9.0, 4.0, 3.0, 2.0, 9.0],  # 2 of 6: of those still there, 2 and 3
            [9.0, 9.0, 9.0, 9.0, 9.0, 9.0],  # none
        ]
    )
    rule = ExpertChoice(per="sequence", loops=3)
    assert not rule.per_unit
    assert rule.competes
    assert told(rule, First(1), -wish[..., None]) == [
        [False, True, False, False, False, True],
        [True, True, False, False, True, True],
        [True] * 6,
    ]


def test_each_row_shares_out_for_itself() -> None:
    z = -torch.tensor([[9.0, 8.0], [1.0, 0.0]])[..., None]
    rule = ExpertChoice(per="sequence", loops=2)
    _, stops = rule.update(rule.begin(z), z, z, 0, None, First(1))
    assert stops.tolist() == [[False, True], [False, True]]


def test_a_unit_chooses_its_depth_once_after_the_first_loop() -> None:
    choices = torch.tensor([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
    states = torch.stack([choices, choices.roll(1, 0), choices.roll(2, 0)])
    assert told(TokenChoice(3), Channels(3, 3), states) == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_a_router_has_a_logit_for_each_depth() -> None:
    assert TokenChoice(5).head(8)(torch.zeros(2, 3, 8)).shape == (2, 3, 5)


@pytest.mark.parametrize(
    ("rule", "head", "message"),
    [
        (
            ExitGate(),
            DepthHead(4, 2),
            "ExitGate reads a trained ExitHead and this model has a DepthHead: .*halting=exit_gate",
        ),
        (
            TokenChoice(),
            ExitHead(4),
            "TokenChoice reads a trained DepthHead and this model has a ExitHead: .*halting=token_choice",
        ),
    ],
)
def test_the_head_of_another_rule_is_refused(rule: Halting, head: nn.Module, message: str) -> None:
    z = torch.zeros(1, 2, 4)
    with pytest.raises(ValueError, match=message):
        rule.update(rule.begin(z), z, z, 0, None, head)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ExitGate(threshold=0), r"halting.threshold must be in \(0, 1\], got 0"),
        (lambda: ExitGate(threshold=1.5), r"halting.threshold must be in \(0, 1\], got 1.5"),
        (lambda: Ponder(threshold=-1), r"halting.threshold must be in \(0, 1\], got -1"),
        (lambda: ExpertChoice(per="row"), 'halting.per must be "unit" or "sequence", got "row"'),
        (lambda: ExpertChoice(loops=0), "halting.loops must be at least 1, got 0"),
        (lambda: TokenChoice(loops=0), "halting.loops must be at least 1, got 0"),
    ],
)
def test_impossible_rules_are_refused_by_name(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
