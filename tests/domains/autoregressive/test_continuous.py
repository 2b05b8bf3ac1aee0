"""Generation in places: every text is what it is alone, prompts begin in their order, and none starves."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from domains.autoregressive.models import CORES, adapter_of, make_model
from hypothesis import given, settings
from hypothesis import strategies as st

from loopverse import LoopedModel, SampleSettings
from loopverse.depth import Confidence, FixedDepth, FixedPoint, Halting, LoopResult, PredictionKL
from loopverse_autoregressive import (
    AutoregressiveSampling,
    CachedReader,
    PlacesReader,
    generate,
    generate_in_places,
)

CONTEXT, DEEPEST = 24, 4
READY = {core: make_model(core).double().requires_grad_(False) for core in CORES}
prompts_of = st.lists(
    st.lists(st.integers(0, 256), min_size=1, max_size=CONTEXT), min_size=1, max_size=6
)
styles = st.sampled_from(
    [
        SampleSettings(length=6, temperature=0),
        SampleSettings(length=6, temperature=1, seed=3),
        SampleSettings(length=4, temperature=1.2, top_p=0.8, top_k=9, seed=1),
    ]
)
RULES = [
    FixedDepth(),
    FixedPoint(0.3),
    FixedPoint(0.1, norm="inf", kv="last"),
    Confidence(0.02),
    PredictionKL(1e-4),
]


class Notes:
    """Results of calls, and of which of them are of the looped next tokens."""

    def __init__(self) -> None:
        self.results: list[LoopResult] = []

    def __call__(self, result: LoopResult) -> None:
        self.results.append(result)

    @property
    def loops(self) -> int:
        """Of tokens after the prompts."""
        return sum(int(result.depth.sum()) for result in self.results if result.rows is not None)


def in_places(
    model: LoopedModel,
    prompts: Sequence[Sequence[int]],
    style: SampleSettings,
    places: int,
    halting: Halting | None = None,
    notes: Notes | None = None,
) -> list[tuple[int, int]]:
    adapter, ids = adapter_of(model), [torch.tensor(prompt) for prompt in prompts]
    think = model.bind(DEEPEST, halting=halting, observe=notes)
    reader = PlacesReader(adapter.embed_tokens, think, adapter.predict, places, CONTEXT)
    return list(generate_in_places(reader, ids, adapter.tokenizer, style, CONTEXT))


def in_step(
    model: LoopedModel,
    prompts: Sequence[Sequence[int]],
    style: SampleSettings,
    halting: Halting | None = None,
    rows: Sequence[int] | None = None,
    notes: Notes | None = None,
) -> list[tuple[int, int]]:
    adapter, ids = adapter_of(model), [torch.tensor(prompt) for prompt in prompts]
    think = model.bind(DEEPEST, halting=halting, observe=notes)
    reader = CachedReader(adapter.embed_tokens, think, adapter.predict)
    return list(generate(reader, ids, adapter.tokenizer, style, CONTEXT, rows))


def by_text(pairs: list[tuple[int, int]]) -> dict[int, list[int]]:
    return {number: [t for n, t in pairs if n == number] for number, _ in pairs}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{type(rule).__name__}-{rule.kv}")
@pytest.mark.parametrize("core", CORES)
@settings(max_examples=3, deadline=None)
@given(prompts=prompts_of, style=styles, places=st.integers(1, 4))
def test_texts_are_those_of_each_prompt_alone_and_of_all_in_step(
    core: str, rule: Halting, prompts, style, places
) -> None:
    model, together = READY[core], Notes()
    found = by_text(in_places(model, prompts, style, places, rule, together))
    assert found == by_text(in_step(model, prompts, style, rule))
    loops = 0
    for number, prompt in enumerate(prompts):
        alone = Notes()
        expected = by_text(in_step(model, [prompt], style, rule, [number], alone))
        assert found.get(number) == expected.get(number)
        loops += sum(int(result.depth.sum()) for result in alone.results[1:])
    assert together.loops == loops


@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(1, 20), min_size=2, max_size=9), places=st.integers(1, 3))
def test_prompts_begin_in_their_order_and_none_starves(lengths: list[int], places: int) -> None:
    style, notes = SampleSettings(length=5, temperature=0), Notes()
    prompts = [[65] * length for length in lengths]
    pairs = in_places(READY["plain"], prompts, style, places, FixedPoint(0.3), notes)
    first = {number: [n for n, _ in pairs].index(number) for number in range(len(prompts))}
    assert all(first[a] < first[b] for a, b in pairwise(range(len(prompts))))
    # Texts before it need at most so many tokens each, and `places` of them are read at a time.
    for number, began in first.items():
        assert began <= (number + places - 1) * style.length
    waits = dict.fromkeys(range(len(prompts)), 0)
    last = dict.fromkeys(waits, 0)
    for when, (number, _) in enumerate(pairs):
        waits[number] = max(waits[number], when - max(last[number], first[number]))
        last[number] = when
    # A token takes DEEPEST loops at most; in each of them the others give a token at most.
    assert max(waits.values()) <= 2 * DEEPEST * places


def test_a_place_is_filled_as_soon_as_its_text_has_ended() -> None:
    style = SampleSettings(length=4, temperature=0)
    notes = Notes()
    pairs = in_places(READY["plain"], [[65]] * 6, style, 2, FixedDepth(), notes)
    assert [number for number, _ in pairs] == [0, 1] * 4 + [2, 3] * 4 + [4, 5] * 4


def test_a_generation_that_is_left_early_leaves_nothing_behind() -> None:
    model, style = READY["plain"], SampleSettings(length=6, temperature=1)
    prompts, rule = [[65, 66], [67], [68] * 5], FixedPoint(0.3)
    expected = in_places(model, prompts, style, 2, rule)
    adapter, ids = adapter_of(model), [torch.tensor(prompt) for prompt in prompts]
    think = model.bind(DEEPEST, halting=rule)
    for stop in range(1, 6):
        reader = PlacesReader(adapter.embed_tokens, think, adapter.predict, 2, CONTEXT)
        running = generate_in_places(reader, ids, adapter.tokenizer, style, CONTEXT)
        assert [next(running) for _ in range(stop)] == expected[:stop]
        running.close()
    assert in_places(model, prompts, style, 2, rule) == expected


@pytest.mark.parametrize("kv", ["exact", "first"])
def test_keys_that_places_do_not_keep_are_refused_with_the_remedy(kv: str) -> None:
    with pytest.raises(ValueError, match=rf"halting.kv={kv}: use halting.kv=copy.*places=0"):
        in_places(READY["plain"], [[65], [66]], SampleSettings(2), 2, FixedPoint(kv=kv))


def test_a_number_of_places_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="places must be 0 .* or more, got -1"):
        AutoregressiveSampling(places=-1)


def test_few_prompts_are_continued_in_step_and_many_in_places() -> None:
    usual, asked = AutoregressiveSampling(), AutoregressiveSampling(places=3)
    assert [usual.places_for(count) for count in (1, 32, 33, 64, 100)] == [0, 0, 33, 64, 64]
    assert [asked.places_for(count) for count in (1, 2, 3, 100)] == [0, 2, 3, 3]
    assert AutoregressiveSampling(places=0).places_for(100) == 0


def test_what_is_sampled_does_not_depend_on_the_places() -> None:
    model = READY["noise"]
    think, prompts = model.bind(3, halting=FixedPoint(0.2)), ["def ", "", "class A", "x"]
    texts = []
    for places in (0, 1, 2, 32):
        style = AutoregressiveSampling(length=5, temperature=1, places=places)
        rows: dict[int, str] = dict.fromkeys(range(4), "")
        for piece in adapter_of(model).sample(think, prompts, style):
            rows[piece.row] += piece.text
        texts.append(rows)
    assert texts[1:] == texts[:1] * 3
