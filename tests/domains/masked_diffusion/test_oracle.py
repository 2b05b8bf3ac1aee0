"""The oracle itself: its conditionals are those of its joint, and its tests can fail."""

import itertools

import pytest
import torch
from domains.masked_diffusion.oracle import Chain, at_random, chi_square, law


def test_conditionals_are_those_of_the_joint() -> None:
    chain = Chain(4)
    joint = chain.joint.reshape([3] * 4)
    assert torch.allclose(joint.sum(), torch.ones(1).double())
    for state in itertools.product(range(4), repeat=4):
        seen = joint[
            tuple(slice(None) if token == 3 else slice(token, token + 1) for token in state)
        ]
        found = chain.conditionals(torch.tensor([state]))[0]
        for place, token in enumerate(state):
            others = [dim for dim in range(4) if dim != place]
            if token == 3:
                assert torch.allclose(found[place], seen.sum(others) / seen.sum())
            else:
                assert found[place, token] == 1


def test_the_law_of_one_token_at_a_time_is_the_joint() -> None:
    chain = Chain(3)

    def leftmost(state, probs):
        place = state.index(3)
        yield 1.0, tuple(int(other == place) for other in range(3))

    assert torch.allclose(law(chain, [leftmost] * 3), chain.joint)


def test_chi_square_tells_a_wrong_distribution() -> None:
    chain = Chain(3)
    rng = torch.Generator().manual_seed(0)
    drawn = torch.multinomial(chain.joint, 20_000, replacement=True, generator=rng)
    counts = torch.bincount(drawn, minlength=27)
    assert chi_square(counts, chain.joint) < 1
    together = law(chain, [lambda state, _: at_random(state, 3, 1.0, 0.0)])
    assert chi_square(counts, together) > 10
    with pytest.raises(AssertionError, match="too few"):
        chi_square(counts, torch.nn.functional.one_hot(torch.tensor(0), 27).double())
