"""World models whose behaviour is known: weights set by hand, and cores that do what they are told."""

from collections.abc import Callable
from typing import Any, cast

import torch
from gymnasium import spaces
from tensordict import TensorDict
from torch import Tensor

from loopverse.depth import LoopResult
from loopverse.domain import Think, Thought
from loopverse.nn import CoreInput
from loopverse_world_model import WorldModel, WorldModelConfig
from loopverse_world_model.spaces import space_to_json

NUMBERS = spaces.Box(-1e6, 1e6, (2,))
PUSH = spaces.Box(-1, 1, (1,))


def thinking(change: Callable[[Tensor, Tensor | None], Tensor]) -> Think:
    """A core whose state is a function of what it reads and of the state it starts from."""

    def think(
        inputs: CoreInput, carry: Tensor | None = None, outer: Any = 0.0, keep: Any = None
    ) -> Thought:
        z = change(inputs.x, carry)
        return Thought([z], LoopResult(z, depth=torch.ones(z.shape[:2])))

    return think


def adapter_for(
    observed: spaces.Space = NUMBERS, done: spaces.Space = PUSH, width: int = 4, **settings: Any
) -> WorldModel:
    """An adapter of these spaces, without an environment or data."""
    torch.manual_seed(0)
    config = WorldModelConfig(
        observation_space=space_to_json(observed), action_space=space_to_json(done), **settings
    )
    return WorldModel(config, width).eval()


def records_of(
    observations: list[Tensor], actions: list[Tensor], rewards: list[Tensor], ends: bool = False
) -> TensorDict:
    """Records of episodes from their observations `[T+1 ...]`, actions `[T ...]` and rewards `[T]`."""
    episodes = []
    for number, (observed, acted, paid) in enumerate(
        zip(observations, actions, rewards, strict=True)
    ):
        terminated = torch.zeros(len(observed), dtype=torch.bool)
        terminated[-2] = ends
        episodes.append(
            TensorDict(
                {
                    "observation": TensorDict({"value": observed}, [len(observed)]),
                    "action": torch.cat([acted, torch.zeros_like(acted[:1])]),
                    "reward": torch.cat([paid, torch.zeros(1)]),
                    "terminated": terminated,
                    "episode": torch.full((len(observed),), number),
                },
                [len(observed)],
            )
        )
    return cast(TensorDict, TensorDict.cat(episodes))


def walks(
    lengths: list[int], *, push: float | None = None, noise: float = 0.0, ends: bool = False
) -> TensorDict:
    """Episodes of `o' = o + (a, -2 a)`, with reward `3 a`.

    Args:
        lengths: of the episodes.
        push: every action; None: they are drawn.
        noise: standard deviation of what is added to each number in each step.
        ends: whether episodes end in a terminal state.
    """
    rng = torch.Generator().manual_seed(0)
    observations, actions = [], []
    for length in lengths:
        acted = torch.rand(length, 1, generator=rng) * 2 - 1
        acted = acted if push is None else torch.full_like(acted, push)
        moved = acted * torch.tensor([1.0, -2.0])
        moved = moved + noise * torch.randn(length, 2, generator=rng)
        start = torch.randn(1, 2, generator=rng)
        observations.append(torch.cat([start, start + moved.cumsum(0)]))
        actions.append(acted)
    return records_of(observations, actions, [3 * acted[:, 0] for acted in actions], ends)


def walker(records: TensorDict, *, shift: float = 0.0, **settings: Any) -> tuple[WorldModel, Think]:
    """A model that knows the walk exactly, or is off by `shift` in each number in each step.

    Its state is the last action, or with `imagine=latent` the sum of all since the last observation.
    """
    adapter = adapter_for(**settings)
    dynamics = adapter.dynamics
    dynamics.fit(records)
    with torch.no_grad():
        for parameter in dynamics.parameters():
            parameter.zero_()
        dynamics.act.weight[0, 0] = 1.0  # channel 0: the action; channel 1: counts the steps
        dynamics.act.bias[1] = 1.0
        leaf: Any = dynamics.leaves["value"]
        leaf.kept.fill_(1.0)
        leaf.missed.fill_(1.0)
        leaf.head.weight[:2, 0] = torch.tensor([1.0, -2.0])
        leaf.head.weight[:2, 1] = shift
        reward: Any = dynamics.reward
        reward.head.weight[0, 0] = 3 / reward.std[0]
        reward.head.bias[0] = -reward.mean[0] / reward.std[0]
        dynamics.going.bias.fill_(20.0)
    if settings.get("imagine") == "latent":
        return adapter, thinking(lambda x, carry: x if carry is None else x + carry)
    return adapter, thinking(lambda x, _: x)
