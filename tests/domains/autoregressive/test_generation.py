"""Generation: cached equals uncached, a batch equals each prompt alone, draws follow the settings."""

from collections.abc import Sequence

import pytest
import torch
from domains.autoregressive.models import CORES, adapter_of, make_model
from hypothesis import given, settings
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import Tensor

from loopverse import LoopedModel, SampleSettings
from loopverse.depth import Confidence, FixedPoint, Halting, PredictionKL
from loopverse_autoregressive import CachedReader, Reader, WholeReader, generate

# Some fill the context of 24 before the others end.
prompts_of = st.lists(
    st.lists(st.integers(0, 256), min_size=1, max_size=24), min_size=1, max_size=4
)
GREEDY = SampleSettings(length=1, temperature=0)
styles = st.sampled_from(
    [
        SampleSettings(length=6, temperature=0),
        SampleSettings(length=6, temperature=1, seed=3),
        SampleSettings(length=6, temperature=0.7, top_k=5),
        SampleSettings(length=6, temperature=1.2, top_p=0.8, seed=1),
    ]
)


class Noted(Reader):
    """Another reader, whose answers are kept."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.scores: list[Tensor] = []

    def read(self, tokens: Tensor, present: Tensor) -> Tensor:
        scores = self.reader.read(tokens, present)
        self.scores.append(scores.clone())
        return scores

    def keep(self, rows: Tensor) -> None:
        self.reader.keep(rows)


def run(
    model: LoopedModel,
    kind: type[Reader],
    prompts: Sequence[Sequence[int]],
    style: SampleSettings,
    loops: int = 2,
    rows: Sequence[int] | None = None,
    halting: Halting | None = None,
) -> tuple[dict[int, list[int]], list[Tensor]]:
    """The tokens of each prompt, and the scores of every step."""
    adapter = adapter_of(model)
    reader = Noted(kind(adapter.embed_tokens, model.bind(loops, halting=halting), adapter.predict))
    ids = [torch.tensor(prompt) for prompt in prompts]
    found: dict[int, list[int]] = {row: [] for row in rows or range(len(prompts))}
    for row, token in generate(reader, ids, adapter.tokenizer, style, adapter.config.context, rows):
        found[row].append(token)
    return found, reader.scores


@pytest.mark.parametrize("core", CORES)
@settings(max_examples=10, deadline=None)
@given(prompts=prompts_of, style=styles, loops=st.integers(1, 4))
def test_cached_generation_equals_uncached(core: str, prompts, style, loops) -> None:
    model = make_model(core)
    cached, cached_scores = run(model, CachedReader, prompts, style, loops)
    whole, whole_scores = run(model, WholeReader, prompts, style, loops)
    assert cached == whole
    assert len(cached_scores) == len(whole_scores)
    for a, b in zip(cached_scores, whole_scores, strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("core", CORES)
@settings(max_examples=10, deadline=None)
@given(prompts=prompts_of, style=styles, loops=st.integers(1, 4))
def test_a_batch_equals_each_prompt_alone(core: str, prompts, style, loops) -> None:
    model = make_model(core)
    together, scores = run(model, CachedReader, prompts, style, loops)
    for row, prompt in enumerate(prompts):
        alone, alone_scores = run(model, CachedReader, [prompt], style, loops, rows=[row])
        assert alone[row] == together[row]
        assert torch.allclose(scores[0][row], alone_scores[0][0], atol=1e-5)


RULES = [
    FixedPoint(0.3),
    FixedPoint(0.3, kv="exact"),
    FixedPoint(0.3, kv="first"),
    FixedPoint(0.1, norm="inf"),
    Confidence(0.02),
    PredictionKL(1e-4, kv="exact"),
]


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("core", CORES)
@settings(max_examples=4, deadline=None)
@given(prompts=prompts_of)
def test_generation_under_a_rule_is_the_same_cached_or_not_in_a_batch_or_alone(
    core: str, rule: Halting, prompts
) -> None:
    model, style = make_model(core), SampleSettings(length=5, temperature=0)
    cached, scores = run(model, CachedReader, prompts, style, 4, halting=rule)
    # A coda that attends shows a rule the past as it ended, or, in one pass, as it is in the same loop.
    if not (rule.reads and model.core.config.num_coda):
        _, whole = run(model, WholeReader, prompts, style, 4, halting=rule)
        for a, b in zip(scores, whole, strict=True):
            assert torch.allclose(a, b, atol=1e-4)
    for row, prompt in enumerate(prompts):
        alone, _ = run(model, CachedReader, [prompt], style, 4, rows=[row], halting=rule)
        assert alone[row] == cached[row]


@pytest.mark.parametrize("core", CORES)
def test_generation_sees_what_evaluation_sees(core: str) -> None:
    model = make_model(core)
    prompt = [65, 66, 256, 67, 68, 69, 70]
    batch = TensorDict({"tokens": torch.tensor([prompt])}, batch_size=[1])
    with torch.no_grad():
        z = model.bind(3)(model.adapter.embed(batch)).z
    expected = adapter_of(model).predict(z).logits[0]
    for num in range(1, len(prompt) + 1):
        _, (scores, *_) = run(model, CachedReader, [[1, 2, 3] * 3, prompt[:num]], GREEDY, 3)
        assert torch.allclose(scores[1], expected[num - 1], atol=1e-5)


def test_the_same_seed_repeats_and_rows_differ() -> None:
    model = make_model()
    style = SampleSettings(length=12, temperature=1.5)
    first, _ = run(model, CachedReader, [[65], [65], [65]], style)
    again, _ = run(model, CachedReader, [[65], [65], [65]], style)
    other, _ = run(model, CachedReader, [[65]], SampleSettings(12, temperature=1.5, seed=1))
    assert first == again
    assert len({tuple(tokens) for tokens in (*first.values(), other[0])}) == 4


def test_more_loops_give_other_scores() -> None:
    scores = [run(make_model(), CachedReader, [[65]], GREEDY, n)[1][0] for n in (1, 2, 3)]
    assert not torch.allclose(scores[0], scores[1], atol=1e-3)
    assert not torch.allclose(scores[1], scores[2], atol=1e-3)


def test_a_text_ends_when_it_fills_the_context_and_the_others_go_on() -> None:
    model = make_model()  # of context 24
    model.adapter.get_submodule("embedding").weight.data[256] = 0
    style = SampleSettings(length=10, temperature=0)
    found, _ = run(model, CachedReader, [[65] * 20, [65], [65] * 24], style)
    assert [len(tokens) for tokens in found.values()] == [5, 10, 1]


def test_a_prompt_longer_than_the_context_is_refused_by_number() -> None:
    with pytest.raises(ValueError, match="prompt 2 has 25 tokens, the context is 24"):
        run(make_model(), CachedReader, [[65], [65] * 25], SampleSettings())


def test_no_prompts_give_nothing() -> None:
    assert run(make_model(), CachedReader, [], SampleSettings()) == ({}, [])


class Scripted(Reader):
    """Wants the tokens of a script, row by row, and notes which rows stay."""

    def __init__(self, script: list[list[int]], vocab_size: int) -> None:
        self.script, self.vocab_size, self.step = script, vocab_size, 0
        self.rows = list(range(len(script)))
        self.kept: list[list[int]] = []

    def read(self, tokens: Tensor, present: Tensor) -> Tensor:
        wanted = torch.tensor([self.script[row][self.step] for row in self.rows])
        self.step += 1
        return torch.nn.functional.one_hot(wanted, self.vocab_size).float() * 100

    def keep(self, rows: Tensor) -> None:
        self.rows = [self.rows[row] for row in rows.tolist()]
        self.kept.append(list(self.rows))


def test_a_text_ends_at_a_separator_which_is_not_part_of_it() -> None:
    tokenizer = adapter_of(make_model()).tokenizer
    reader = Scripted([[1, 2, 256, 9], [3, 4, 5, 6], [256, 9, 9, 9]], tokenizer.vocab_size)
    prompts = [torch.tensor([0])] * 3
    pairs = list(generate(reader, prompts, tokenizer, SampleSettings(4, temperature=0), 24))
    assert pairs == [(0, 1), (1, 3), (0, 2), (1, 4), (1, 5), (1, 6)]
    assert reader.kept == [[0, 1], [1], []]


def test_padding_is_never_drawn() -> None:
    tokenizer = adapter_of(make_model()).tokenizer
    reader = Scripted([[257]], tokenizer.vocab_size)
    style = SampleSettings(1, temperature=0)
    ((_, token),) = generate(reader, [torch.tensor([0])], tokenizer, style, 24)
    assert token != tokenizer.padding
