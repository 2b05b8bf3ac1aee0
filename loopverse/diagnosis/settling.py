"""Where loops lead if they go on: contraction, the gap to a fixed point, orbits, other beginnings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from loopverse.depth import Active, LoopPlan, iterate, largest_gain, step_size
from loopverse.diagnosis.geometry import LONGEST, Trajectory, period, trajectories
from loopverse.nn import RecurrentCore
from loopverse.training.probe import Call

FAR = 64
"""Loops after which a trajectory is judged."""
ITERATIONS = 20
"""Rounds of the power iteration for the gain."""
BEGINNINGS = 3
"""Other initial states that a call is started from."""

StateMap = Callable[[Tensor], Tensor]


@dataclass
class Settling:
    """What becomes of the state if the loop goes on, one number a call.

    Attributes:
        gain_first: largest singular value of the Jacobian of the loop at the initial state.
        gain_last: the same at the state after the trained loops.
        gap: `||f(z) - z|| / ||f(z)||` there, a mean over units.
        gap_far: the same after `FAR` loops.
        kinds: shares of trajectories after `FAR` loops, of the "state", of its "direction", which is all that
            layers with a norm in front of them read, and of what comes out of "layer 1" and so on.
        period: of the state, where units go round.
        apart: relative distance between states that began elsewhere, after the trained loops; not of cores whose
            loop reads no input, where that lies in the beginning.
        apart_far: the same after `FAR` loops.
    """

    gain_first: list[float] = field(default_factory=list)
    gain_last: list[float] = field(default_factory=list)
    gap: list[float] = field(default_factory=list)
    gap_far: list[float] = field(default_factory=list)
    kinds: list[dict[str, dict[Trajectory, float]]] = field(default_factory=list)
    period: list[int] = field(default_factory=list)
    apart: list[float] = field(default_factory=list)
    apart_far: list[float] = field(default_factory=list)


@torch.no_grad()
def settle(core: RecurrentCore, calls: Sequence[Call], trained: int, seed: int) -> Settling:
    """Let the loop of a tied core go on from where it stopped.

    Args:
        core: in evaluation mode.
        calls: that it made.
        trained: loops of a call.
        seed: of the other initial states.

    Raises:
        ValueError: an untied core, which has no loop that could go on.
    """
    if not core.config.tied:
        raise ValueError(
            f"an untied core ends after its {core.config.loops} loops: where one would lead is not defined"
        )
    rng, found = torch.Generator().manual_seed(seed), Settling()
    for call in calls:
        look(found, core.loop(call.inputs), call, core.bodies)
        if core.config.injection.reads_input:
            begin_elsewhere(found, core.loop(call.inputs), call, trained, rng)
    return found


def look(
    found: Settling,
    step: StateMap,
    call: Call,
    looped: nn.Module | None = None,
) -> None:
    """Add one call to what was found.

    Args:
        found: to add to.
        step: the loop for the input of the call, as a function of the state alone.
        call: where it began and stopped.
        looped: holds the layers of the loop, for trajectories of each; None: of the state alone.
    """
    present, rng = call.present, torch.Generator().manual_seed(0)
    for gains, z in ((found.gain_first, call.first), (found.gain_last, call.last)):
        gains.append(float(largest_gain(step, z, iterations=ITERATIONS, rng=rng).mean()))
    with _Layers(looped) as layers:
        states = _onwards(step, call.last, FAR)
    found.gap.append(float(step_size(call.last, states[0])[present].mean()))
    found.gap_far.append(float(step_size(states[-2], states[-1])[present].mean()))
    tracks = {"state": states, "direction": [_direction(z) for z in states[-LONGEST - 1 :]]}
    tracks |= {f"layer {n + 1}": track for n, track in enumerate(layers.tracks(len(states)))}
    kinds = {
        name: trajectories([z[present] for z in track[-LONGEST - 1 :]])
        for name, track in tracks.items()
    }
    found.kinds.append(kinds)
    if kinds["state"]["orbit"] > 0:
        found.period.append(period([z[present] for z in states[-LONGEST - 1 :]]))


def begin_elsewhere(
    found: Settling, step: StateMap, call: Call, trained: int, rng: torch.Generator
) -> None:
    """Add what becomes of other initial states, as large as the state after a loop.

    Args:
        found: to add to.
        step: the loop for the input of the call, as a function of the state alone.
        call: where it began.
        trained: loops of a call.
        rng: a generator on the CPU.
    """
    present, near, far = call.present, [], []
    own = _onwards(step, call.first, FAR)
    size = own[0].float().square().mean().sqrt()
    for _ in range(BEGINNINGS):
        noise = torch.randn(call.first.shape, generator=rng).to(call.first)
        other = _onwards(step, noise * size, FAR)
        near.append(float(step_size(other[trained - 1], own[trained - 1])[present].mean()))
        far.append(float(step_size(other[-1], own[-1])[present].mean()))
    found.apart.append(sum(near) / len(near))
    found.apart_far.append(sum(far) / len(far))


def _onwards(step: StateMap, z: Float[Tensor, "b t d"], loops: int) -> list[Tensor]:
    """The state after each of some loops more."""
    states: list[Tensor] = []

    def one_loop(z: Tensor, _: int, __: Active | None) -> Tensor:
        states.append(step(z))
        return states[-1]

    iterate(one_loop, z, LoopPlan(loops))
    return states


class _Layers:
    """What comes out of each layer of a loop, while it runs."""

    def __init__(self, looped: nn.Module | None) -> None:
        self._blocks = [] if looped is None else _blocks(looped)
        self._outputs: list[list[Tensor]] = [[] for _ in self._blocks]

    def __enter__(self) -> _Layers:
        pairs = zip(self._blocks, self._outputs, strict=True)
        self._hooks = [block.register_forward_hook(_noting(outputs)) for block, outputs in pairs]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def tracks(self, loops: int) -> list[list[Tensor]]:
        """The outputs of each layer but the last, whose output is read as the state."""
        return [track for track in self._outputs[:-1] if len(track) == loops]


def _noting(outputs: list[Tensor]) -> Callable[[nn.Module, object, Tensor], None]:
    def note(_: nn.Module, __: object, output: Tensor) -> None:
        outputs.append(output)

    return note


def _direction(z: Tensor) -> Tensor:
    return z / z.float().norm(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)


def _blocks(looped: nn.Module) -> list[nn.Module]:
    """The layers of a loop, in order."""
    for part in looped.modules():
        blocks = getattr(part, "blocks", None)
        if isinstance(blocks, nn.ModuleList):
            return list(blocks)
    return []
