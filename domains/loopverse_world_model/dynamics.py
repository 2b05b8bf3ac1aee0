"""The network of the world model, apart from the core: what it reads and what it predicts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from tensordict import TensorDict
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent

from loopverse.domain import Think, Thought
from loopverse.errors import UserError
from loopverse.nn import Attend, CoreInput
from loopverse_world_model.actions import ActionCodec
from loopverse_world_model.leaves import LeafModel, VectorLeaf, build_leaf
from loopverse_world_model.memory import Memory
from loopverse_world_model.prediction import Origin, TransitionDistribution
from loopverse_world_model.spaces import Leaf
from loopverse_world_model.terminal_value import Returns, TerminalValue

REWARD, CONTINUE = "reward", "continue"
"""Names of the parts that are no leaves of the observation."""
NUMBER = Leaf(REWARD, "vector", (), "float32")


class Dynamics(nn.Module):
    """Reads observations and actions, predicts transitions.

    `e = P([z_prev; obs; act])`, and from the state after the loops the next observation, the reward and
    whether the episode goes on. Source: LoopWM (2606.18208, eq. 3 and section 3.3); sizes are our choice.

    Args:
        observed: leaves of the observation.
        acted: leaves of the action.
        width: channels of the core's state.
        tokens: units of the core's state of one environment step.
        horizon: steps for which the scale of changes is measured.
        squash: model the symlog of numbers and rewards.
        anchored: predict the change since the last observation.
        decoded: an imagined step reads the observation imagined before it.
        carried: a step reads the state that the one before it left, and starts from it.
        value_steps: of the return that a terminal value is learned from; 0: there is none.

    Raises:
        UserError: a part of the observation is called as one of the other parts of a transition.
    """

    def __init__(
        self,
        observed: Sequence[Leaf],
        acted: Sequence[Leaf],
        width: int,
        *,
        tokens: int,
        horizon: int,
        squash: bool,
        anchored: bool,
        decoded: bool,
        carried: bool,
        value_steps: int,
    ) -> None:
        super().__init__()
        taken = {REWARD, CONTINUE} & {leaf.path for leaf in observed}
        if taken:
            raise UserError(
                f"the observation has a part called {taken.pop()!r}, as the model calls another part of a "
                "transition: rename it in a gymnasium.Wrapper"
            )
        self.observed, self.tokens, self.width = observed, tokens, width
        self.decoded, self.carried = decoded, carried
        self.actions = ActionCodec(acted)
        total = tokens * width
        self.leaves = nn.ModuleDict(
            {leaf.name: build_leaf(leaf, total, horizon, squash, anchored) for leaf in observed}
        )
        self.reward = VectorLeaf(NUMBER, total, 1, squash, anchored=False)
        self.going = nn.Linear(total, 1)
        self.num_features = sum(self.leaf(leaf).num_features for leaf in observed)
        self.look = nn.Sequential(
            nn.Linear(self.num_features, total), nn.SiLU(), nn.Linear(total, total)
        )
        self.blind = None if decoded else nn.Parameter(torch.zeros(tokens, width))
        self.act = nn.Linear(self.actions.width, total)
        self.recall = nn.Linear(width, width, bias=False) if carried else None
        self.value_steps = value_steps
        self.terminal_value = TerminalValue(self.num_features) if value_steps else None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.act.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision that it computes in."""
        return self.act.weight.dtype

    def leaf(self, leaf: Leaf) -> LeafModel:
        """The model of a leaf."""
        model = self.leaves[leaf.name]
        assert isinstance(model, LeafModel)
        return model

    def features(self, observation: TensorDict) -> Float[Tensor, "*batch f"]:
        """What the network reads of raw observations."""
        return torch.cat(
            [self.leaf(leaf).features(observation[leaf.path]) for leaf in self.observed], -1
        )

    def begin(self, num: int) -> Memory:
        """Rows that have seen nothing."""
        device = self.device
        base = {
            leaf.path: torch.zeros(num, leaf.size, device=device)
            for leaf in self.observed
            if self.leaf(leaf).anchored
        }
        return Memory(
            z=None,
            seen=torch.zeros(num, self.num_features, device=device),
            fresh=torch.zeros(num, device=device),
            base=base,
            age=torch.zeros(num, dtype=torch.long, device=device),
        )

    def observe(
        self, memory: Memory, observation: TensorDict, seen: Tensor | None = None
    ) -> Memory:
        """Rows that see something now, of which the features may be known already."""
        base = {
            leaf.path: self.leaf(leaf).flat(observation[leaf.path])
            for leaf in self.observed
            if self.leaf(leaf).anchored
        }
        return replace(
            memory,
            seen=self.features(observation) if seen is None else seen,
            fresh=torch.ones_like(memory.fresh),
            base=base,
            age=torch.zeros_like(memory.age),
        )

    def advance(
        self, think: Think, memory: Memory, action: Float[Tensor, "n a"], outer: float = 0.0
    ) -> tuple[Memory, Thought]:
        """One step of the environment: think once, from the state where the last step ended.

        Returns:
            The memory with the new state; `base` and `age` are still those that the prediction made
            from the thought is counted from, until `imagined`.
        """
        thought = think(
            CoreInput(self.reads(memory, action), Attend(causal=False)),
            **self._start(memory, outer),
        )
        z = thought.result.z if self.carried else None
        return replace(memory, z=z, started=None), thought

    def reads(self, memory: Memory, action: Float[Tensor, "n a"]) -> Float[Tensor, "n t d"]:
        """`P([z_prev; obs; act])`, with a learned vector in place of an observation that is not there."""
        shape = (len(memory), self.tokens, self.width)
        fresh = memory.fresh[:, None, None]
        x = fresh * self.look(memory.seen.to(self.dtype)).view(shape)
        if self.blind is not None:
            x = x + (1 - fresh) * self.blind
        x = x + self.act(action.to(self.dtype)).view(shape)
        if memory.z is None or self.recall is None:
            return x
        return x + self.recall(memory.z.to(x.dtype))

    def _start(self, memory: Memory, outer: float) -> dict[str, Any]:
        if memory.z is None:
            return {"outer": outer}
        keep = memory.started
        if keep is not None:
            keep = keep[:, None].expand(-1, self.tokens)
        return {"carry": memory.z, "keep": keep, "outer": outer}

    def outputs(self, z: Float[Tensor, "*batch d"]) -> dict[str, Tensor]:
        """What the heads say of whole states, their tokens side by side, by part."""
        outputs = {leaf.path: self.leaf(leaf).outputs(z) for leaf in self.observed}
        return {**outputs, REWARD: self.reward.outputs(z), CONTINUE: self.going(z)}

    def distribution(
        self, outputs: dict[str, Tensor], origin: Origin | None = None
    ) -> TransitionDistribution:
        """The distributions that `outputs` stand for."""
        parts = {
            leaf.path: self.leaf(leaf).distribution(outputs[leaf.path]) for leaf in self.observed
        }
        parts[REWARD] = self.reward.distribution(outputs[REWARD])
        going = Bernoulli(logits=outputs[CONTINUE].float(), validate_args=False)
        parts[CONTINUE] = Independent(going, 1, validate_args=False)
        return TransitionDistribution(parts, outputs, origin)

    def predict(self, z: Float[Tensor, "b t d"]) -> TransitionDistribution:
        """One distribution for every environment step, of `tokens` units each."""
        return self.distribution(self.outputs(z.reshape(z.shape[0], -1, self.tokens * self.width)))

    def decode(self, outputs: dict[str, Tensor], origin: Origin) -> TensorDict:
        """Means and most likely values of the next observation, raw, by leaf."""
        values = {}
        for leaf in self.observed:
            model = self.leaf(leaf)
            centre = model.centre(outputs[leaf.path])
            values[leaf.path] = model.decode(centre, origin.base.get(leaf.path), origin.age)
        return TensorDict(values, batch_size=origin.age.shape)

    def expected_reward(self, outputs: dict[str, Tensor]) -> Float[Tensor, "*batch"]:
        """The mean reward."""
        return self.reward.decode(self.reward.centre(outputs[REWARD]), None, None)

    def chance_to_go_on(self, outputs: dict[str, Tensor]) -> Float[Tensor, "*batch"]:
        """The probability that the episode does not end here."""
        return outputs[CONTINUE][..., 0].float().sigmoid()

    def targets(
        self, origin: Origin, observation: TensorDict, reward: Tensor, terminated: Tensor
    ) -> dict[str, Tensor]:
        """What happened, in the units of the heads."""
        targets = {
            leaf.path: self.leaf(leaf).target(
                observation[leaf.path], origin.base.get(leaf.path), origin.age
            )
            for leaf in self.observed
        }
        targets[REWARD] = self.reward.target(reward, None, origin.age)
        targets[CONTINUE] = 1 - terminated.float()[..., None]
        return targets

    def errors(self, prediction: TransitionDistribution, observation: TensorDict) -> Tensor:
        """Squared error of every step, `[b t]`: a mean over numbers, then over leaves.

        Numbers count in standard deviations of the data, categories and bits as 1 where they are wrong.

        Args:
            prediction: of the last `t` steps.
            observation: raw, of which the last `t` were to be predicted.
        """
        assert (
            prediction.origin is not None
        )  # whoever decodes has said what changes are counted from
        decoded = self.decode(prediction.outputs, prediction.origin)
        steps = decoded.batch_size[1]
        errors = [
            self.leaf(leaf).error(decoded[leaf.path], observation[leaf.path][:, -steps:]).mean(-1)
            for leaf in self.observed
        ]
        return torch.stack(errors).mean(0)

    def imagined(self, memory: Memory, z: Float[Tensor, "n t d"]) -> Memory:
        """The memory after a step whose outcome is not observed.

        Args:
            memory: what `advance` returned.
            z: the readout of that step.
        """
        if not self.decoded:
            return replace(memory, fresh=torch.zeros_like(memory.fresh), age=memory.age + 1)
        z = z.flatten(1)
        base, seen = {}, []
        for leaf in self.observed:
            model = self.leaf(leaf)
            numbers, features = model.follow(model.outputs(z), memory.base.get(leaf.path))
            seen.append(features)
            if numbers is not None:
                base[leaf.path] = numbers
        return replace(memory, seen=seen[0] if len(seen) == 1 else torch.cat(seen, -1), base=base)

    def fit(self, records: TensorDict) -> None:
        """Take the scale of the data: records in the order of their episodes."""
        episode = records["episode"]
        for leaf in self.observed:
            self.leaf(leaf).fit(records["observation", leaf.path], episode)
        last = torch.ones_like(episode, dtype=torch.bool)
        last[:-1] = episode[1:] != episode[:-1]
        self.reward.fit(records["reward"][~last], episode[~last])
        if self.terminal_value is not None:
            self.terminal_value.fit(Returns.of(records, self.value_steps))
