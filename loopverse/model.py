"""A looped model: a domain's adapter around the recurrent core."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from tensordict import TensorDict
from torch import Tensor, nn

from loopverse.depth import (
    Final,
    FixedDepth,
    Full,
    Halting,
    LoopBudget,
    LoopGradient,
    LoopObjective,
    LoopPlan,
    LoopResult,
    LoopSchedule,
    Vote,
)
from loopverse.domain import DomainAdapter, Outcome, Think, Thought
from loopverse.nn import CoreConfig, CoreInput, FreshNoise, Noise, PositionNoise, RecurrentCore


@dataclass
class Binding:
    """A plan for every call of the core that a domain makes: the `think` it is given.

    Attributes:
        model: whose core thinks.
        depth: loops of a call; on average, where there is a budget.
        budget: how the loops are shared out over the domain's outer process; None: evenly.
        noise: where random initial states come from.
        halting: when to stop early.
        gradient: how to differentiate.
        objective: which loops are supervised.
        observe: called with the result of each loop.
        tap: called after each single loop, with its index and state.
        vote: which readout to predict from.
    """

    model: "LoopedModel"
    depth: int | Tensor
    noise: Noise = field(default_factory=PositionNoise)
    halting: Halting = field(default_factory=FixedDepth)
    gradient: LoopGradient = field(default_factory=Full)
    objective: LoopObjective = field(default_factory=Final)
    observe: Callable[[LoopResult], None] | None = None
    tap: Callable[[int, Tensor], None] | None = None
    budget: LoopBudget | None = None
    vote: Vote = field(default_factory=Vote)

    def __call__(
        self,
        inputs: CoreInput,
        carry: Float[Tensor, "b t d"] | None = None,
        outer: float | Float[Tensor, " b"] = 0.0,
        keep: Float[Tensor, "b t"] | None = None,
    ) -> Thought:
        """Think once; see `loopverse.domain.Think`."""
        if self.halting.competes and inputs.attend.causal:
            raise ValueError(
                f"halting {type(self.halting).__name__} lets the units of a sequence compete for loops, and "
                "in a causal model later ones must not decide: use halting.per=unit"
            )
        self._check_vote(inputs)
        plan = LoopPlan(
            depth=self._depth(outer),
            halting=self.halting,
            gradient=self.gradient,
            head=self.model.head,
            keep_states=self.objective.every_loop or self.vote.every_loop,
        )
        output = self.model.core(
            inputs,
            plan,
            self.noise,
            carry=carry,
            keep=keep,
            read=self.model.adapter.predict,
            tap=self.tap,
        )
        if self.observe is not None:
            self.observe(output.result)
        readouts = output.readouts
        if self.vote.every_loop:
            readouts = [self.vote.choose(readouts, self.model.adapter.predict)]
        states = output.result.states or [output.result.z]
        weights, extra = self.objective.weights(states, self.model.head)
        lesson = self.objective.lesson(states, self.model.head)
        return Thought(readouts, output.result, weights, extra, lesson)

    def _check_vote(self, inputs: CoreInput) -> None:
        """Refuse a vote where not all readouts are known."""
        if not self.vote.every_loop:
            return
        name = type(self.vote).__name__
        if self.halting.adaptive:
            raise ValueError(
                f"vote {name} needs every loop, and halting {type(self.halting).__name__} ends some early: choose one "
                "of the two"
            )
        cached = inputs.cache is not None and self.model.core.config.num_coda > 0
        if cached or inputs.places is not None:
            raise ValueError(
                f"vote {name} needs the readout of every loop, and a cache keeps what the layers behind the loop saw of "
                "the last one alone: use vote=last, or a core with num_coda=0"
            )

    def _depth(self, outer: float | Tensor) -> int | Tensor:
        """Loops of this call: one number where all rows agree, which is the fast path."""
        if self.budget is None:
            return self.depth
        if isinstance(self.depth, Tensor):
            raise ValueError(
                "one depth per sequence and a budget both decide the depth: bind a single number of loops"
            )
        places = outer if isinstance(outer, Tensor) else torch.tensor([outer])
        loops = self.budget.loops(self.depth, places.cpu())
        shallowest, deepest = int(loops.min()), int(loops.max())
        if shallowest == deepest or self.halting.adaptive:
            return deepest
        return loops


class LoopedModel(nn.Module):
    """An adapter, a core, and the trained part of a halting rule where there is one.

    Args:
        adapter: the domain.
        core: settings of the core.
        halting: the rule to train for; used while training only if it is not a learned one.
        objective: which loops the loss looks at.

    Raises:
        ValueError: a learned rule with an objective that does not train it, or the reverse.
    """

    def __init__(
        self,
        adapter: DomainAdapter,
        core: CoreConfig,
        halting: Halting | None = None,
        objective: LoopObjective | None = None,
    ) -> None:
        super().__init__()
        self.halting = halting or FixedDepth()
        self.objective = objective or Final()
        self.adapter = adapter
        self.core = RecurrentCore(core)
        self.head = self.halting.head(core.width)
        if (None if self.head is None else type(self.head)) is not self.objective.trains:
            raise ValueError(
                f"halting {type(self.halting).__name__} and objective {type(self.objective).__name__} "
                "do not fit: a learned rule and the objective that trains it come together "
                "(halting=exit_gate objective=expected; a gate, which ponder and expert_choice read too, "
                "learns from ponder, expert_routing and gate_distillation as well; token_choice from "
                "token_routing), or neither (halting=fixed_depth objective=final)"
            )
        if self.objective.freezes_model:
            for part in (self.adapter, self.core):
                part.requires_grad_(False)

    def bind(
        self,
        depth: int | Tensor,
        *,
        seed: int = 0,
        halting: Halting | None = None,
        observe: Callable[[LoopResult], None] | None = None,
        tap: Callable[[int, Tensor], None] | None = None,
        budget: LoopBudget | None = None,
        vote: Vote | None = None,
    ) -> Think:
        """A `think` for use: the same answer in any batch, cached or not.

        Args:
            depth: loops of every call; the most a unit gets when `halting` is adaptive.
            seed: of the initial states, where the core draws them at random.
            halting: when to stop early; default: never.
            observe: called with the result of each call.
            tap: called after each single loop, with its index and state.
            budget: how the loops are shared out over the domain's outer process; `depth` is their mean.
            vote: which readout to predict from; default: that of the last loop.
        """
        return Binding(
            self,
            depth,
            PositionNoise(seed),
            halting=halting or FixedDepth(),
            observe=observe,
            tap=tap,
            budget=budget,
            vote=vote or Vote(),
        )

    def forward(
        self,
        batch: TensorDict,
        depth: int | Tensor,
        gradient: LoopGradient,
        rng: torch.Generator,
        observe: Callable[[LoopResult], None] | None = None,
    ) -> Outcome:
        """The outcome of one prepared batch in training.

        Args:
            batch: what the domain's `prepare` returned, on the device.
            depth: loops of the step, or `[b]` for each sequence.
            gradient: how to differentiate.
            rng: a CPU generator for random initial states.
            observe: called with the result of each call of the core.
        """
        halting = FixedDepth() if self.halting.learned else self.halting
        think = Binding(
            self, depth, FreshNoise(rng), halting, gradient, self.objective, observe=observe
        )
        return self.adapter(think, batch)

    def compile_blocks(self) -> None:
        """Compile the parts of the core, and the domain's way in and out, with the loop outside."""
        self.core.compile_blocks()


def check_strategies(
    core: CoreConfig,
    schedule: LoopSchedule,
    gradient: LoopGradient,
    halting: Halting,
    objective: LoopObjective,
) -> None:
    """Refuse, before any training, strategies that cannot work together.

    Raises:
        ValueError: which pair, and what to use instead.
    """
    depth = schedule.draw(1, rng=torch.Generator().manual_seed(0))
    with torch.enable_grad():
        LoopPlan(
            depth,
            halting=FixedDepth() if halting.learned else halting,
            gradient=gradient,
            keep_states=objective.every_loop,
        )
    largest = schedule.largest()
    if not core.tied and (largest is None or largest > core.loops):
        raise ValueError(
            f"an untied core owns {core.loops} loops and schedule {type(schedule).__name__} can ask for "
            f"{'any number' if largest is None else largest}: use schedule=constant, or core.tied=true"
        )
