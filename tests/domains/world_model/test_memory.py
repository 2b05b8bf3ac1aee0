"""Memories: rows of them can be taken, repeated and mixed."""

import pytest
import torch
from domains.world_model.models import adapter_of, make_model

from loopverse_world_model.imagination import Imagination
from loopverse_world_model.memory import Memory


@pytest.fixture
def world() -> Imagination:
    model = make_model()
    adapter = adapter_of(model)
    _ = adapter.source
    return Imagination(adapter.dynamics, model.bind(2))


def stepped(world: Imagination, steps: int = 2) -> Memory:
    """Four rows that differ, after some steps."""
    torch.manual_seed(0)
    memory = world.begin(4)
    observation = {"value": torch.randn(4, 3)}
    memory = world.observe(memory, observation)  # pyright: ignore[reportArgumentType]
    for _ in range(steps):
        memory, _ = world.step(memory, torch.eye(3)[torch.randint(3, (4,))])
    return memory


def same(one: Memory, other: Memory) -> bool:
    """Whether all that two memories hold is equal, to arithmetic."""
    pairs = [(one.seen, other.seen), (one.fresh, other.fresh), (one.age, other.age)]
    pairs += [(one.base[name], other.base[name]) for name in one.base]
    if one.z is not None and other.z is not None:
        pairs.append((one.z, other.z))
    return all(torch.allclose(a.float(), b.float(), atol=1e-5) for a, b in pairs)


@torch.no_grad()
def test_rows_that_are_taken_go_on_as_they_would_have(world: Imagination) -> None:
    memory, index = stepped(world), torch.tensor([2, 0])
    action = torch.eye(3)[torch.tensor([0, 1, 2, 1])]
    after, imagined = world.step(memory, action)
    few, seen = world.step(memory.take(index), action[index])
    assert same(few, after.take(index))
    assert torch.allclose(seen.reward, imagined.reward[index], atol=1e-5)


def test_each_row_is_repeated_next_to_itself(world: Imagination) -> None:
    memory = stepped(world)
    twice = memory.repeat(2)
    assert len(twice) == 8
    assert same(twice.take(torch.arange(0, 8, 2)), memory)
    assert same(twice.take(torch.arange(1, 8, 2)), memory)


@torch.no_grad()
def test_rows_that_begin_anew_among_others_are_as_rows_that_begin(world: Imagination) -> None:
    """What an environment does whose episodes end at different times."""
    torch.manual_seed(1)
    old, mask = stepped(world), torch.tensor([True, False, True, False])
    begun = world.observe(world.begin(4), {"value": torch.randn(4, 3)})  # pyright: ignore[reportArgumentType]
    action = torch.eye(3)[torch.tensor([0, 1, 2, 1])]
    mixed = old.where(mask, begun)
    after, imagined = world.step(mixed, action)
    for rows, memory in ((mask, old), (~mask, begun)):
        alone, expected = world.step(memory, action)
        assert same(after.take(rows), alone.take(rows))
        assert torch.allclose(imagined.reward[rows], expected.reward[rows], atol=1e-5)
    again = after.where(torch.ones(4).bool(), begun)
    assert same(again, after)
