"""What every halting rule is: settings, and a decision after each loop."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from torch import Tensor, nn
from torch.distributions import Distribution


@dataclass(eq=False)
class Active:
    """The units that a step computes: whole rows, or units of rows side by side.

    Attributes:
        rows: positions in the batch of the rows at hand, `[n]`, ascending unless each unit is in a loop of
            its own; with `units`, of each of them.
        units: positions in their rows of the units at hand, `[N]`, whose state is `[1 N d]`; None: the
            rows are whole, and the state is `[n t d]`.
        halted: units of whole rows that have halted: what is computed of them does not count, and
            others read the keys that they left. None: there are none.
        whole: the states of all units of the rows in which there are such units, `[n t d]`, from those
            of the units at hand.
    """

    rows: Tensor
    units: Tensor | None = None
    halted: Tensor | None = None
    whole: Callable[[Tensor], Tensor] | None = None


Read = Callable[[Tensor], Distribution]
"""Turns a state `[n t d]` into the domain's predictive distribution `[n t]`."""
ReadActive = Callable[[Tensor, Active | None], Distribution]
"""The same, told which units of the batch these are; None means all, in order."""


@dataclass(frozen=True)
class Knob:
    """The setting that a rule's `signal` is held against: what calibration looks for.

    Attributes:
        setting: its name.
        sooner: "higher": the higher it is, the sooner units stop; or "lower".
    """

    setting: str
    sooner: str = "higher"


KEPT = ("copy", "exact", "last", "first")
"""What may be read of a unit in loops that it did not run: see `Halting.kv`."""
SHRINKS = ("always", "halving")
"""When what is computed gets smaller: see `Halting.shrink`."""
Memory = dict[str, Tensor]
"""What a rule remembers between loops: tensors whose first two axes are the units, `[n t ...]`."""


@dataclass
class Halting:
    """When to stop. Subclasses are group `halting`; they hold settings, never the last batch.

    A rule is a function of what it remembers and of the state before and after a loop. Units may leave
    between loops: then all three lose the same entries of their first two axes.

    Attributes:
        kv: what the units that go on read of one that has halted, and later ones of it in a cache.
            "copy": for every loop that it did not run, the keys and values of its last one.
            "exact": its state is read again in every loop, as in a loop that computes all units.
            Nothing is saved for units that halt before the others of their row, and in a cache only
            what no later unit asks for. "last": as "copy", but a cache holds the last loop's alone, for
            all loops. "first": those of the first loop, in all loops, halted or not (Bae et al. 2025,
            2507.10524, section 2.2).
        shrink: when what is computed gets smaller. "always": with every unit that halts. "halving": as
            soon as what goes on fits in half of it; until then units that have halted fill it up, so that
            there are few shapes, for devices and compilers that want them static.
        late: units that halt leave one loop later, computed once more without effect, so that the host
            hears of them while the device works on and never waits for the loop that it has just begun.
            It pays where a loop is short for the device and there are many; on a CPU it never does.
    """

    kv: str = field(default="copy", kw_only=True)
    shrink: str = field(default="always", kw_only=True)
    late: bool = field(default=False, kw_only=True)

    adaptive: ClassVar[bool] = False
    """Whether `update` must be called after every loop. Only adaptive rules wait for the device."""
    learned: ClassVar[bool] = False
    """Whether the rule reads a trained head."""
    reads: ClassVar[bool] = False
    """Whether the rule looks at predictions, and cannot work where there is no `read`."""
    per_unit: ClassVar[bool] = True
    """Whether units stop independently of each other: any of them may then be shown alone, in any order."""
    competes: ClassVar[bool] = False
    """Whether the units of a sequence compete for loops, later ones too: not for causal models."""
    knob: ClassVar[Knob | None] = None
    """The setting that says how soon units stop, of rules that have a `signal`."""
    mixes_loops: ClassVar[bool] = False
    """Whether `update` takes units in different loops together, with their `i` as a tensor `[n 1]`. Others
    are shown units of one loop at a time, which is slower where every unit is in a loop of its own. The
    first loop of a unit is never mixed with others: there `i` is always the number 0. A class that overrides
    the `update` of one that does says it anew."""
    damping = 0.0  # without a type, or a dataclass would take it for a setting of every rule
    """How much of the old state is kept, as much in every loop: `z_i <- (1 - damping) z_i + damping z_{i-1}`."""

    @property
    def lingers(self) -> bool:
        """Whether what could leave the loop may stay at hand, computed without effect."""
        return self.adaptive and (self.late or self.shrink != "always")

    @property
    def splits_rows(self) -> bool:
        """Whether units leave the loop while others of their row go on."""
        return self.adaptive and self.per_unit and self.kv != "exact"

    def within(self, depth: int) -> tuple["Halting", int]:
        """A rule that decides the same and asks for no loop in vain, and the most loops that it comes to.

        Args:
            depth: the most loops that there may be.
        """
        return self, depth

    @property
    def knob_value(self) -> float:
        """What the knob is at.

        Raises:
            ValueError: there is none.
        """
        if self.knob is None:
            raise ValueError(f"{type(self).__name__} has no knob: nothing of it can be calibrated")
        return getattr(self, self.knob.setting)

    def with_knob(self, value: float) -> Self:
        """The same rule with its knob at another value.

        Raises:
            ValueError: there is none, or it cannot be at that value.
        """
        if self.knob is None:
            raise ValueError(f"{type(self).__name__} has no knob: nothing of it can be calibrated")
        return replace(self, **{self.knob.setting: value})

    def head(self, width: int) -> nn.Module | None:
        """The rule's trained part, a function of states `[b t d]`, owned by the model.

        Args:
            width: channels `d` of the state.
        """
        return None

    def begin(self, z: Tensor) -> Memory:
        """What to remember before the first loop, from the initial state `z [b t d]`."""
        return {}

    def signal(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        """What a rule with a knob holds against it after loop `i`; the arguments are those of `update`.

        Returns:
            The new memory and a number per unit, `[n t]`; infinite or not a number where no value of
            the knob stops the unit.
        """
        raise NotImplementedError

    def update(
        self,
        memory: Memory,
        before: Tensor,
        after: Tensor,
        i: int,
        read: Read | None,
        head: nn.Module | None,
    ) -> tuple[Memory, Tensor]:
        """Look at loop `i` and say which units stop.

        Args:
            memory: what the last call, or `begin`, returned.
            before: state before the loop, `[n t d]` for the `n` rows still in it.
            after: state after the loop, same shape; where the rule damps, after that.
            i: index of the loop, from 0; see `mixes_loops`.
            read: turns a state into the domain's predictive distribution `[n t]`.
            head: what `head()` built, trained.

        Returns:
            The new memory and a boolean tensor `[n t]`, true where the unit stops now.

        Raises:
            ValueError: a prediction or a head that the rule cannot work with.
        """
        raise NotImplementedError


@dataclass
class FixedDepth(Halting):
    """Never stops early: every unit gets the plan's depth."""


def is_first(i: int | Tensor) -> bool:
    """Whether the units at hand have run one loop."""
    return isinstance(i, int) and i == 0
