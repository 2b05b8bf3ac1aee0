"""What a model of the world remembers between two steps of the environment."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass
class Memory:
    """The state of each row, and what it saw last.

    Attributes:
        z: final state of the last step, `[n t d]`; None: no row has made a step.
        seen: features of the observation to read in the next step, zeros where there is none.
        fresh: 1 where there is one, 0 where the next step is imagined, `[n]`.
        base: numbers of the last observation that changes are counted from, by leaf.
        age: steps since that observation, `[n]`.
        started: 1 where a step has been made, 0 where the state is still to begin, `[n]`; None: all
            rows are alike, as `z` says.
    """

    z: Float[Tensor, "n t d"] | None
    seen: Float[Tensor, "n f"]
    fresh: Float[Tensor, " n"]
    base: dict[str, Tensor]
    age: Int[Tensor, " n"]
    started: Float[Tensor, " n"] | None = None

    def __len__(self) -> int:
        return len(self.age)

    def take(self, index: Int[Tensor, " m"] | Bool[Tensor, " n"]) -> "Memory":
        """Some of the rows, in the order of the index."""
        return self._each(lambda tensor: tensor[index])

    def repeat(self, times: int) -> "Memory":
        """Each row so many times in a row."""
        return self._each(lambda tensor: tensor.repeat_interleave(times, 0))

    def where(self, mask: Bool[Tensor, " n"], other: "Memory") -> "Memory":
        """The rows of this memory where the mask is true, of the other one elsewhere."""

        def pick(mine: Tensor, others: Tensor) -> Tensor:
            return torch.where(mask.view(-1, *[1] * (mine.ndim - 1)), mine, others)

        z, started = self.z, None
        if (
            (self.z is None) != (other.z is None)
            or self.started is not None
            or other.started is not None
        ):
            known = self.z if self.z is not None else other.z
            assert known is not None
            blank = torch.zeros_like(known)
            z = pick(
                self.z if self.z is not None else blank, other.z if other.z is not None else blank
            )
            started = pick(self._begun(), other._begun())
        elif self.z is not None and other.z is not None:
            z = pick(self.z, other.z)
        return replace(
            self,
            z=z,
            seen=pick(self.seen, other.seen),
            fresh=pick(self.fresh, other.fresh),
            base={name: pick(mine, other.base[name]) for name, mine in self.base.items()},
            age=pick(self.age, other.age),
            started=started,
        )

    def _begun(self) -> Tensor:
        if self.started is not None:
            return self.started
        return torch.full_like(self.fresh, 0.0 if self.z is None else 1.0)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Memory":
        return replace(
            self,
            z=None if self.z is None else change(self.z),
            seen=change(self.seen),
            fresh=change(self.fresh),
            base={name: change(value) for name, value in self.base.items()},
            age=change(self.age),
            started=None if self.started is None else change(self.started),
        )
