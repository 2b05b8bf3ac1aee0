"""Texts in places: each in a loop of its own, with others or alone, it is one result."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from cores import CORES, small_core
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from torch import Tensor
from torch.distributions import Categorical

from loopverse.depth import (
    AllOf,
    AnyOf,
    Bounded,
    Confidence,
    FixedDepth,
    FixedPoint,
    Halting,
    LoopPlan,
    LoopResult,
    Patience,
    PredictionKL,
    SecondOrder,
    Staggered,
)
from loopverse.nn import Attend, CoreInput, KVCache, Places, PositionNoise, RecurrentCore

UNTIED = "untied"
READY = {name: small_core(name) for name in CORES}
READY[UNTIED] = small_core("plain", tied=False, loops=4)
for _core in READY.values():
    _core.double().requires_grad_(False)
NOISE = PositionNoise()
DEEPEST = 4


@dataclass(eq=False)
class Scripted(Halting):
    """Halts each unit after the loop that `script` names when it begins."""

    script: Tensor = field(default_factory=lambda: torch.zeros(0))
    adaptive = True

    def begin(self, z: Tensor) -> dict[str, Tensor]:
        assert self.script.shape == z.shape[:2]
        return {"when": self.script}

    def update(
        self, memory: Any, before: Tensor, after: Tensor, i: Any, read: Any, head: Any
    ) -> tuple[Any, Tensor]:
        assert memory["when"].shape == after.shape[:2]
        return memory, memory["when"] <= i + 1


class ScriptedInAnyLoop(Scripted):
    """The same, shown units of different loops together."""

    mixes_loops = True


@dataclass
class Text:
    """What is read of a text, how much of it at once, and when its units halt."""

    x: Tensor
    num_prompt: int
    when: Tensor


@dataclass
class Work:
    """Texts, how deep they are read, and the share of units that ends a call."""

    texts: list[Text]
    deepest: int
    share: float

    def call(
        self, core: RecurrentCore, rule: Halting, inputs: CoreInput
    ) -> tuple[Tensor, LoopResult]:
        def read(z: Tensor) -> Categorical:
            return Categorical(logits=z[..., :7])

        output = core(inputs, LoopPlan(self.deepest, halting=rule), NOISE, read=read)
        return output.readouts[-1], output.result

    def prompt(self, core: RecurrentCore, rule: Halting, text: Text) -> tuple[KVCache, Tensor]:
        cache, part = KVCache(), text.x[None, : text.num_prompt]
        self._tell(rule, text.when[None, : text.num_prompt])
        return cache, self.call(core, rule, CoreInput(part, Attend(), cache=cache))[0][0, -1]

    def alone(self, core: RecurrentCore, rule: Halting, text: Text) -> tuple[Tensor, list[int]]:
        """The readouts of the last unit of a prompt and all after it, and their depths."""
        cache, first = self.prompt(core, rule, text)
        reads, depths = [first], []
        for unit in range(text.num_prompt, len(text.x)):
            self._tell(rule, text.when[None, unit : unit + 1])
            inputs = CoreInput(text.x[None, unit : unit + 1], Attend(), cache=cache)
            read, result = self.call(core, rule, inputs)
            reads.append(read[0, 0])
            depths.append(int(result.depth))
        return torch.stack(reads), depths

    def in_places(
        self, core: RecurrentCore, rule: Halting, count: int
    ) -> tuple[list[Tensor], list[list[int]]]:
        """The same of every text, with so many of them under way at once."""
        places = Places(count, max(len(text.x) for text in self.texts))
        places.roster = Staggered(self.share)
        waiting = deque(range(len(self.texts)))
        reads: list[list[Tensor]] = [[] for _ in self.texts]
        depths: list[list[int]] = [[] for _ in self.texts]
        who = [-1] * count
        ready: list[int] = []
        while waiting or any(number >= 0 for number in who):
            for place in range(count):
                if who[place] < 0 and waiting:
                    number = who[place] = waiting.popleft()
                    cache, first = self.prompt(core, rule, self.texts[number])
                    places.admit(place, cache)
                    reads[number].append(first)
                    ready.append(place)
            read_so_far = [places.lengths[place].item() for place in ready]
            texts = [self.texts[who[place]] for place in ready]
            for place, text, done in list(zip(ready, texts, read_so_far, strict=True)):
                if done == len(text.x):  # a prompt, and nothing after it
                    ready.remove(place)
                    who[place] = -1
            units = [(self.texts[who[place]], int(places.lengths[place])) for place in ready]
            x = [text.x[unit] for text, unit in units]
            joining = torch.stack(x)[:, None] if x else torch.zeros(0, 1, 16).double()
            self._tell(rule, torch.tensor([[text.when[unit]] for text, unit in units]).view(-1, 1))
            if not ready and not len(places.roster.rows):
                continue
            inputs = CoreInput(joining, Attend(), places=places.at(torch.tensor(ready).long()))
            read, result = self.call(core, rule, inputs)
            assert result.rows is not None
            ready = []
            for place, z, depth in zip(result.rows.tolist(), read[:, 0], result.depth, strict=True):
                number = who[place]
                reads[number].append(z)
                depths[number].append(int(depth))
                if int(places.lengths[place]) < len(self.texts[number].x):
                    ready.append(place)
                else:
                    who[place] = -1
        return [torch.stack(read) for read in reads], depths

    @staticmethod
    def _tell(rule: Halting, when: Tensor) -> None:
        if isinstance(rule, Scripted):
            rule.script = when


@st.composite
def works(draw: st.DrawFn, least: int = 1, more: int = 0) -> Work:
    """At least so many texts, of at least so many units after their prompts."""
    rng = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    texts = []
    for _ in range(draw(st.integers(least, 5))):
        prompt = draw(st.integers(1, 4))
        length = prompt + draw(st.integers(more, 4))
        when = draw(st.lists(st.integers(1, DEEPEST + 1), min_size=length, max_size=length))
        x = torch.randn(length, 16, generator=rng, dtype=torch.double)
        texts.append(Text(x, prompt, torch.tensor(when)))
    deepest = draw(st.integers(1 if least == 1 else DEEPEST, DEEPEST))
    return Work(texts, deepest, draw(st.sampled_from([0.01, 3 / 8])))


def assert_as_alone(work: Work, core: RecurrentCore, rule: Halting, count: int) -> None:
    reads, depths = work.in_places(core, rule, count)
    for text, read, depth in zip(work.texts, reads, depths, strict=True):
        expected, loops = work.alone(core, rule, text)
        assert depth == loops
        torch.testing.assert_close(read, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("kind", [Scripted, ScriptedInAnyLoop])
@pytest.mark.parametrize("kv", ["copy", "last"])
@pytest.mark.parametrize("name", READY)
@examples(8)
@given(work=works(), count=st.integers(1, 4))
def test_every_text_is_read_as_it_is_alone(
    name: str, kv: str, kind: type[Scripted], work: Work, count: int
) -> None:
    assert_as_alone(work, READY[name], kind(kv=kv), count)


RULES = [
    FixedDepth(),
    FixedDepth(kv="last"),
    FixedPoint(0.3),
    FixedPoint(0.3, damping=0.2),
    AnyOf([Confidence(0.1), FixedPoint(10.0, min_loops=3)]),
    FixedPoint(0.3, per="sequence", kv="last"),
    SecondOrder(0.1),
    Confidence(0.1),
    PredictionKL(1e-2),
    AnyOf([FixedPoint(0.1), PredictionKL(1e-2)]),
    AllOf([FixedPoint(0.5), Confidence(0.02)]),
    Patience(Bounded(PredictionKL(1e-1), min_loops=2)),
    AnyOf([Confidence(0.1), Bounded(FixedPoint(10.0), min_loops=3)]),
    Bounded(FixedPoint(1e-9), max_loops=2),
]


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("name", ["plain", "huginn", UNTIED])
@examples(4)
@given(work=works(least=3, more=2), count=st.integers(2, 4))
def test_every_rule_says_of_a_unit_what_it_says_of_it_alone(
    name: str, rule: Halting, work: Work, count: int
) -> None:
    assert_as_alone(work, READY[name], rule, count)
