"""Steps of the environment, observed or imagined: the outer loop's one step, for every use."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from tensordict import TensorDict
from torch import Tensor

from loopverse.domain import Think
from loopverse_world_model.dynamics import Dynamics
from loopverse_world_model.memory import Memory
from loopverse_world_model.prediction import Origin, TransitionDistribution


@dataclass
class Imagined:
    """What a step is expected to bring.

    Attributes:
        dynamics: whose imagination it is.
        outputs: of its heads.
        origin: what predicted changes are counted from.
    """

    dynamics: Dynamics
    outputs: dict[str, Tensor]
    origin: Origin

    @property
    def reward(self) -> Float[Tensor, " n"]:
        """The mean reward."""
        return self.dynamics.expected_reward(self.outputs)

    @property
    def keep_going(self) -> Float[Tensor, " n"]:
        """The probability that the episode does not end here."""
        return self.dynamics.chance_to_go_on(self.outputs)

    @property
    def prediction(self) -> TransitionDistribution:
        """The distributions, in the units of the heads."""
        return self.dynamics.distribution(self.outputs, self.origin)

    @property
    def observation(self) -> TensorDict:
        """The next observation, raw, by leaf: means and most likely values."""
        return self.dynamics.decode(self.outputs, self.origin)


class Imagination:
    """A model that is stepped like an environment, many rows at once.

    Args:
        dynamics: what to step: the adapter of a trained model.
        think: its core with a number of loops bound to it.
    """

    def __init__(self, dynamics: Dynamics, think: Think) -> None:
        self.dynamics, self.think = dynamics, think

    def begin(self, num: int) -> Memory:
        """Rows that have seen nothing."""
        return self.dynamics.begin(num)

    def observe(self, memory: Memory, observation: TensorDict) -> Memory:
        """Tell every row what it sees now: raw leaves, `[n ...]`."""
        return self.dynamics.observe(memory, observation)

    @property
    def terminal_value(self) -> Callable[[Memory], Float[Tensor, " n"]] | None:
        """The return to be expected after what was imagined; None: the model was not trained to say."""
        value = self.dynamics.terminal_value
        return None if value is None else lambda memory: value(memory.seen)

    def step(
        self, memory: Memory, action: Float[Tensor, "n a"], outer: float = 0.0
    ) -> tuple[Memory, Imagined]:
        """Act, in every row, and imagine what follows.

        Args:
            memory: of the rows; what was observed since the last step is read.
            action: encoded.
            outer: where in a plan or a rollout this step is, in [0, 1].
        """
        dynamics = self.dynamics
        memory, thought = dynamics.advance(self.think, memory, action, outer)
        outputs = dynamics.outputs(thought.z.flatten(1))
        imagined = Imagined(dynamics, outputs, Origin(memory.base, memory.age))
        return dynamics.imagined(memory, thought.z), imagined
