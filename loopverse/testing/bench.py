"""The bench that an adapter is checked on: fresh copies of it, its batches, a small core around it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor
from torch.distributions import Distribution

from loopverse.depth import LoopObjective
from loopverse.domain import DomainAdapter, Outcome, Split, Think
from loopverse.model import LoopedModel
from loopverse.nn import Add, CoreConfig, CoreInput, Zeros
from loopverse.testing.failure import NothingToCheck
from loopverse.training.seeding import seed_everything

ROWS = 4
"""Sequences in a batch of the bench."""
LOOPS = 2
"""Loops of a call, where a check asks for no other number."""


@dataclass(eq=False)
class Bench:
    """One adapter class under examination. Nothing that a check does to it reaches the next one.

    Attributes:
        adapter_class: what is checked.
        chosen: an instance of its `Config`, or None for the defaults.
        width: channels of the core's state.
        prompts: what to continue when sampling.
    """

    adapter_class: type[DomainAdapter]
    chosen: Any = None
    width: int = 32
    prompts: list[str] = field(default_factory=lambda: ["", ""])

    @property
    def config(self) -> Any:
        """The settings to check with."""
        return self.adapter_class.Config() if self.chosen is None else self.chosen

    @property
    def thinks_itself(self) -> bool:
        """Whether the adapter has a `forward` of its own."""
        return self.adapter_class.forward is not DomainAdapter.forward

    def adapter(self, seed: int = 0) -> DomainAdapter:
        """A new adapter that has seen no data; its weights follow from `seed`."""
        with global_seed(seed):
            return self.adapter_class(self.config, self.width)

    def opened(self) -> DomainAdapter:
        """A new adapter that has given a batch before anything is asked of it, as in training."""
        adapter = self.adapter()
        with global_seed(0):
            next(adapter.batches("train", batch_size=ROWS, seed=0))
        return adapter

    def model(self, objective: LoopObjective | None = None) -> LoopedModel:
        """A new adapter around a new small core, in training mode."""
        return self.around(self.opened(), objective)

    def around(
        self, adapter: DomainAdapter, objective: LoopObjective | None = None, seed: int = 0
    ) -> LoopedModel:
        """An adapter around a new small core, whose weights follow from `seed`."""
        core = CoreConfig(
            width=self.width,
            num_heads=2,
            num_prelude=1,
            num_loop=1,
            num_coda=1,
            loops=LOOPS,
            conditioned=self.inputs.cond is not None,
            injection=Add(),
            init=Zeros(),
        )
        with global_seed(seed):
            return LoopedModel(adapter, core, objective=objective)

    def prepared(self, batch: TensorDict, *, seed: int = 0, chance: int = 0) -> TensorDict:
        """A batch after `prepare` of a new adapter, with a generator of the given seed."""
        adapter = self.opened()
        with global_seed(chance):
            return adapter.prepare(batch, torch.Generator().manual_seed(seed))

    @cached_property
    def batch(self) -> TensorDict:
        """A prepared training batch; not to be changed."""
        return self.prepared(take(self.adapter(), "train", 1)[0])

    @cached_property
    def inputs(self) -> CoreInput:
        """What the core reads of `batch`."""
        with torch.no_grad():
            return self.opened().eval().embed(self.batch)

    def outcome(
        self,
        model: LoopedModel,
        batch: TensorDict | None = None,
        *,
        chance: int = 0,
        depth: int | Tensor = LOOPS,
        think: Think | None = None,
    ) -> Outcome:
        """What a model in use says of a batch, without gradients."""
        model.eval()
        think = think or model.bind(depth)
        with torch.no_grad(), global_seed(chance):
            return model.adapter(think, self.batch if batch is None else batch)

    def prediction(self, model: LoopedModel, batch: TensorDict | None = None) -> Distribution:
        """What a model in use predicts for every unit, `[b t]`."""
        batch = self.batch if batch is None else batch
        if self.thinks_itself:
            prediction = self.outcome(model, batch).prediction
            if prediction is None:
                raise NothingToCheck("a forward of its own that returns no prediction")
            return prediction
        model.eval()
        with torch.no_grad():
            return model.adapter.predict(model.bind(LOOPS)(model.adapter.embed(batch)).z)


def take(
    adapter: DomainAdapter,
    split: Split,
    count: int,
    *,
    batch_size: int = ROWS,
    seed: int = 0,
    start: int = 0,
    rank: int = 0,
    world_size: int = 1,
    chance: int = 0,
) -> list[TensorDict]:
    """The first batches of an adapter.

    Args:
        adapter: whose.
        split: which data.
        count: how many batches, at most.
        batch_size: passed on to `batches`, as are those that follow.
        chance: what the global generators are seeded with, which must not matter.
    """
    with global_seed(chance):
        batches = adapter.batches(
            split,
            batch_size=batch_size,
            seed=seed,
            start=start,
            rank=rank,
            world_size=world_size,
        )
        return list(islice(batches, count))


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Within it the global generators of Python, NumPy and torch are seeded; afterwards as before."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - it is these we guard
    with torch.random.fork_rng(devices=[]):
        seed_everything(seed, 0, "check")
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002 - see above


def leaves(batch: TensorDict) -> dict[str, Any]:
    """The content of a batch by name, nested names joined by dots."""
    return dict(batch.flatten_keys(".").items())


def differing(one: TensorDict, other: TensorDict) -> list[str]:
    """Names under which two batches do not hold the same, to the bit."""
    mine, others = leaves(one), leaves(other)
    return [
        name
        for name in dict.fromkeys([*mine, *others])
        if name not in mine or name not in others or not _equal(mine[name], others[name])
    ]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        return torch.equal(one, other) or torch.equal(one.nan_to_num(), other.nan_to_num())
    return bool(one == other)
