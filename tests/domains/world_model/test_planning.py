"""Planners: they find optima that are known, row by row, and remember where they were."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from domains.world_model.models import adapter_of, make_model
from torch import Tensor

from loopverse.errors import UserError
from loopverse_world_model.planning import (
    CEM,
    ICEM,
    MPPI,
    CategoricalCEM,
    Dice,
    Planner,
    Search,
    World,
)
from loopverse_world_model.planning.agent import PlanningPolicy
from loopverse_world_model.planning.dice import coloured
from loopverse_world_model.planning.planner import value
from loopverse_world_model.playing import Rows

HORIZON = 8
A = torch.tensor([[1.0, 0.2], [0.0, 0.95]])
B = torch.tensor([0.02, 0.2])
EFFORT = 0.1
NUMBERS = [
    CEM(HORIZON, 300, 10, 30),
    ICEM(HORIZON, 300, 10, 30),
    MPPI(HORIZON, 300, 10, 300, temperature=0.1),
]


@dataclass
class States:
    """Rows of states, to be planned for."""

    x: Tensor

    def repeat(self, times: int) -> "States":
        return States(self.x.repeat_interleave(times, 0))


def pushed(memory: States, action: Tensor) -> tuple[States, Tensor, Tensor]:
    """A mass with friction that is to come to rest at 0, linear, with quadratic cost."""
    x = memory.x @ A.T + action * B
    cost = x.square().sum(-1) + EFFORT * action.square().sum(-1)
    return States(x), -cost, torch.ones(len(x))


def optimum(x: Tensor) -> tuple[Tensor, float]:
    """The best actions for `pushed` from one state, and their value: a least-squares problem."""
    powers = [torch.linalg.matrix_power(A, k) for k in range(HORIZON + 1)]
    rows = []
    for k in range(1, HORIZON + 1):
        columns = [powers[k - 1 - j] @ B if j < k else torch.zeros(2) for j in range(HORIZON)]
        rows.append(torch.stack(columns, 1))
    gain = torch.cat([*rows, EFFORT**0.5 * torch.eye(HORIZON)])
    free = torch.cat([*(powers[k] @ x for k in range(1, HORIZON + 1)), torch.zeros(HORIZON)])
    actions = torch.linalg.lstsq(gain, -free[:, None]).solution[:, 0]
    return actions, -float((free + gain @ actions).square().sum())


def dice(*episodes: int, step: int = 0) -> Dice:
    return Dice(0, [(episode, step) for episode in episodes])


@pytest.mark.parametrize("planner", NUMBERS, ids=lambda planner: type(planner).__name__)
def test_the_optimum_of_a_linear_quadratic_problem_is_found(planner: Planner) -> None:
    starts = torch.tensor([[0.25, 0.0], [-0.2, 0.3], [0.1, -0.4]])
    plan = planner.plan(World(pushed, 1), States(starts), dice(0, 1, 2))
    found = value(pushed, States(starts), plan.actions[:, None], 1.0)[:, 0]
    for row, start in enumerate(starts):
        best, most = optimum(start)
        assert best.abs().max() < 0.95, "the optimum is to be inside of what can be done"
        assert found[row] <= most + 1e-5
        idle = float(value(pushed, States(start[None]), torch.zeros(1, 1, HORIZON, 1), 1.0))
        assert found[row] - idle >= 0.97 * (most - idle)


PLACES = 12


def walked(memory: States, action: Tensor) -> tuple[States, Tensor, Tensor]:
    """A chain of places: a little is paid at the left end, much at the right end, and a pit in between.

    Categories: left, stay, right; and with the second one a jump over one place, which costs.
    """
    step = action[:, :3].argmax(-1) - 1
    jump = action[:, 3:].argmax(-1)
    x = (memory.x + step * (1 + jump)).clamp(0, PLACES - 1)
    reward = 0.05 * (x == 0) + 3.0 * (x == PLACES - 1) - 0.2 * jump
    return States(x), reward.float(), (x != 7).float()


def test_the_best_of_all_walks_is_found() -> None:
    planner = CategoricalCEM(6, 1000, 8, 20)
    world = World(walked, 5, (3, 2))
    starts = torch.tensor([5, 6, 8])
    plan = planner.plan(world, States(starts), dice(0, 1, 2))
    hot = [
        torch.cat([torch.eye(3)[a], torch.eye(2)[b]])
        for a, b in itertools.product(range(3), range(2))
    ]
    every = torch.stack([torch.stack(walk) for walk in itertools.product(hot, repeat=6)])
    for row, start in enumerate(starts):
        most = float(value(walked, States(start[None]), every[None], 1.0).max())
        found = float(value(walked, States(start[None]), plan.actions[row][None, None], 1.0))
        assert found == pytest.approx(most)


def test_what_comes_after_an_end_counts_for_nothing() -> None:
    def imagine(memory: States, action: Tensor) -> tuple[States, Tensor, Tensor]:
        return memory, action[:, 0], action[:, 1]

    def terminal(memory: States) -> Tensor:
        return memory.x

    plans, later = torch.rand(2, 3, 4, 2), torch.tensor([2.0, -1.0])
    found = value(imagine, States(later), plans, 0.9)
    beyond = value(imagine, States(later), plans, 0.9, terminal)
    for row, candidate in np.ndindex(2, 3):
        going, total = 1.0, 0.0
        for step, (reward, goes_on) in enumerate(plans[row, candidate].tolist()):
            total += 0.9**step * going * reward
            going *= goes_on
        assert float(found[row, candidate]) == pytest.approx(total, rel=1e-5)
        total += 0.9**4 * going * float(later[row])
        assert float(beyond[row, candidate]) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("planner", NUMBERS, ids=lambda planner: type(planner).__name__)
def test_a_row_plans_in_a_batch_as_alone_also_when_it_goes_on(planner: Planner) -> None:
    planner = replace(planner, iterations=2)
    starts, world = torch.randn(3, 2) / 2, World(pushed, 1)
    together = planner.plan(world, States(starts), dice(4, 5, 6))
    index, warm = torch.tensor([2, 0, 1]), torch.tensor([True, False, True])
    moved = planner.plan(
        world, States(starts[index]), dice(6, 4, 5, step=1), together.search.take(index, warm)
    )
    for place, row in enumerate(index.tolist()):
        start = States(starts[row : row + 1])
        alone = planner.plan(world, start, dice(4 + row))
        assert torch.allclose(alone.actions, together.actions[row : row + 1], atol=1e-5)
        before = alone.search if warm[place] else None
        again = planner.plan(world, start, dice(4 + row, step=1), before)
        assert torch.allclose(again.actions, moved.actions[place : place + 1], atol=1e-5)


def test_a_row_chooses_in_a_batch_as_alone_also_when_it_goes_on() -> None:
    planner = CategoricalCEM(6, 20, 2, 5)
    starts, world = torch.tensor([1, 4, 8]), World(walked, 5, (3, 2))
    together = planner.plan(world, States(starts), dice(4, 5, 6))
    warm = torch.tensor([True, False, True])
    moved = planner.plan(
        world,
        States(starts),
        dice(4, 5, 6, step=1),
        together.search.take(torch.arange(3), warm),
    )
    for row in range(3):
        start = States(starts[row : row + 1])
        alone = planner.plan(world, start, dice(4 + row))
        assert torch.equal(alone.actions, together.actions[row : row + 1])
        before = alone.search if warm[row] else None
        again = planner.plan(world, start, dice(4 + row, step=1), before)
        assert torch.equal(again.search.center, moved.search.center[row : row + 1])


@pytest.mark.parametrize("planner", NUMBERS, ids=lambda planner: type(planner).__name__)
def test_a_search_that_goes_on_needs_fewer_candidates(planner: Planner) -> None:
    """With a handful of candidates, a plan from the optimum of the step before beats one from nothing."""
    world, start = World(pushed, 1), torch.tensor([[0.5, 0.0]]).repeat(20, 1)
    thorough = planner.plan(world, States(start), dice(*range(20)))
    here, _, _ = pushed(States(start), thorough.actions[:, 0])
    few = replace(planner, candidates=10, elites=3, iterations=1)
    warm = few.plan(world, here, dice(*range(20), step=1), thorough.search)
    cold = few.plan(world, here, dice(*range(20), step=1))
    gained = value(pushed, here, warm.actions[:, None], 1.0).mean()
    assert gained > value(pushed, here, cold.actions[:, None], 1.0).mean()


def test_the_best_are_judged_with_more_care() -> None:
    """A cheap model that is wrong about a little: the careful one has the last word, on few candidates."""
    seen: list[int] = []

    def cheap(memory: States, action: Tensor) -> tuple[States, Tensor, Tensor]:
        return memory, -(action[:, 0] - 0.3).abs(), torch.ones(len(action))

    def careful(memory: States, action: Tensor) -> tuple[States, Tensor, Tensor]:
        seen.append(len(action))
        return memory, -(action[:, 0] - 0.4).abs(), torch.ones(len(action))

    planner = CEM(1, 200, 6, 60)
    start = States(torch.zeros(1))
    alone = planner.plan(World(cheap, 1), start, dice(0))
    both = planner.plan(World(cheap, 1, carefully=careful), start, dice(0))
    assert float(alone.actions) == pytest.approx(0.3, abs=0.03)
    assert float(both.actions) == pytest.approx(0.37, abs=0.04)
    assert set(seen) == {120}, "twice the elites are judged with care, and not all candidates"


@pytest.mark.parametrize("planner", NUMBERS, ids=lambda planner: type(planner).__name__)
def test_a_plan_that_leads_to_no_number_is_never_chosen(planner: Planner) -> None:
    def imagine(memory: States, action: Tensor) -> tuple[States, Tensor, Tensor]:
        broken = torch.where(action[:, 0] > 0, torch.nan, 0.0)
        return memory, action[:, 0] + broken, torch.ones(len(action))

    plan = planner.plan(World(imagine, 1), States(torch.zeros(1)), dice(0))
    assert plan.actions.isfinite().all()
    assert plan.value.isfinite().all()
    assert (plan.actions <= 0).all()


@pytest.mark.parametrize(
    ("planner", "sizes", "remedy"),
    [(CEM(), (2,), "planner categorical"), (CategoricalCEM(), None, "planner icem, cem or mppi")],
)
def test_actions_of_the_other_kind_are_refused(
    planner: Planner, sizes: tuple[int, ...] | None, remedy: str
) -> None:
    with pytest.raises(UserError, match=remedy):
        planner.plan(World(pushed, 1, sizes), States(torch.zeros(1, 2)), dice(0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CEM(horizon=0), "horizon must be at least 1, got 0"),
        (lambda: CEM(candidates=5), "elites must be at most the number of candidates, 5, got 20"),
        (lambda: CEM(discount=0), r"discount must be in \(0, 1\], got 0"),
        (lambda: CEM(spread=0), "spread must be above 0, got 0"),
        (lambda: CEM(momentum=1), "momentum must be below 1"),
        (lambda: ICEM(keep=2), r"keep must be in \[0, 1\], got 2"),
        (lambda: ICEM(decay=0.5), "decay must be at least 1, got 0.5"),
        (lambda: MPPI(temperature=0), "temperature must be above 0, got 0"),
        (lambda: CategoricalCEM(floor=1), r"floor must be in \[0, 1\), got 1"),
        (lambda: CategoricalCEM(colour=-1), "colour must be at least 0, got -1"),
    ],
)
def test_settings_that_no_search_can_have_are_refused(
    make: Callable[[], Planner], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize("colour", [0.0, 1.0, 2.0, 4.0])
def test_coloured_noise_is_as_large_at_every_step_and_falls_with_frequency(colour: float) -> None:
    torch.manual_seed(0)
    steps = 16
    noise = coloured(torch.randn(40_000, steps, 1), colour)[..., 0]
    assert torch.allclose(noise.std(0), torch.ones(steps), atol=0.02)
    power = torch.fft.rfft(noise).abs().square().mean(0)[1:-1]
    frequency = torch.arange(1, len(power) + 1)
    slope = np.polyfit(np.log(frequency.numpy()), np.log(power.numpy()), 1)[0]
    assert slope == pytest.approx(-colour, abs=0.05)


class Recording(CEM):
    """Keeps the searches that it goes on from."""

    def plan(self, world: World, memory: Any, dice: Dice, before: Search | None = None) -> Any:
        self.before = before
        return super().plan(world, memory, dice, before)


def test_a_policy_acts_in_a_batch_as_alone_and_forgets_an_episode_that_is_over() -> None:
    model = make_model(action="box")
    adapter = adapter_of(model)
    planner = Recording(3, 12, 2, 3)
    policy = PlanningPolicy(adapter, model.bind, 2, planner, noise=0.1)
    together, alone = None, [None, None, None]
    rng = np.random.default_rng(0)
    steps = [[0, 0, 0], [1, 1, 1], [2, 0, 2], [3, 1, -1]]
    episodes = [[0, 1, 2], [0, 1, 2], [0, 3, 2], [0, 3, -1]]
    for step, episode in zip(steps, episodes, strict=True):
        seen = rng.normal(size=(3, 3)).astype(np.float32)
        actions, together = policy.act(seen, Rows(np.array(episode), np.array(step)), together)
        playing = [number for number, at in zip(episode, step, strict=True) if number >= 0]
        if 0 in step and together is not None and planner.before is not None:
            assert planner.before.warm is not None
            assert planner.before.warm.tolist() == [at > 0 for at in step]
        for row in range(len(playing)):
            rows = Rows(np.array(episode[row : row + 1]), np.array(step[row : row + 1]))
            before = alone[row] if step[row] else None
            action, alone[row] = policy.act(seen[row : row + 1], rows, before)
            assert np.allclose(action[0], actions[row], atol=1e-4), (step, row)
