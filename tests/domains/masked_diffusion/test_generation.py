"""Sampling from a model: prompts, holes, drafts, batches, what is computed again and what is not."""

import itertools
from collections.abc import Sequence

import pytest
import torch
from domains.masked_diffusion.models import adapter_of, make_model
from torch import Tensor

from loopverse import LoopedModel, Sample
from loopverse.depth import Decreasing, FixedPoint, LoopResult
from loopverse.text import ByteTokenizer
from loopverse_masked_diffusion import SAMPLERS, MaskedDiffusionSampling
from loopverse_masked_diffusion.prompts import HIDDEN, parse, spelled

TOKENIZER = ByteTokenizer()
MASK = TOKENIZER.vocab_size


def holes(prompt: str, length: int = 5, context: int = 24) -> list[int]:
    return parse(prompt, TOKENIZER, MASK, length, context).tolist()


def texts(
    model: LoopedModel, prompts: Sequence[str], depth: int = 2, **settings: object
) -> dict[int, str]:
    """The final text of every row."""
    said = pieces(model, prompts, depth, **settings)
    return {piece.row: piece.text for piece in said if not piece.draft}


def pieces(
    model: LoopedModel, prompts: Sequence[str], depth: int = 2, **settings: object
) -> list[Sample]:
    asked = MaskedDiffusionSampling(**({"length": 8, "temperature": 1.0} | settings))
    return list(model.adapter.sample(model.bind(depth), prompts, asked))


def test_a_hole_becomes_as_many_masks_as_it_says() -> None:
    assert holes("a<mask:3>b") == [97, MASK, MASK, MASK, 98]
    assert holes("<mask:2><mask:1>") == [MASK] * 3
    assert holes("ab") == [97, 98] + [MASK] * 5
    assert holes("") == [TOKENIZER.separator] + [MASK] * 5
    assert holes("ab", length=99) == [97, 98] + [MASK] * 22
    assert holes("a < mask:3>")[:11] == list(b"a < mask:3>")


@pytest.mark.parametrize(
    "hole", ["<mask:>", "<mask:0>", "<mask:x>", "<mask:-3>", "<mask:3", "<mask:²>"]
)
def test_a_hole_that_is_no_hole_is_refused(hole: str) -> None:
    with pytest.raises(ValueError, match="written <mask:40>"):
        holes(f"a{hole}")


def test_more_masks_than_the_context_are_refused() -> None:
    with pytest.raises(ValueError, match="31 tokens, 30 of them masks, the context is 24"):
        holes("a<mask:30>")
    with pytest.raises(ValueError, match="leaves no room in the context of 24"):
        holes("x" * 24)


def test_hidden_tokens_are_shown_as_shades() -> None:
    assert spelled([97, MASK, MASK, 98], TOKENIZER) == f"a{HIDDEN}{HIDDEN}b"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_fills_every_hole_and_keeps_what_was_given(sampler: str) -> None:
    said = texts(make_model(), ["ab<mask:6>cd<mask:3>", "<mask:4>z"], sampler=sampler, steps=None)
    first, second = (said[row].encode("utf-8", "surrogatepass") for row in (0, 1))
    assert HIDDEN not in said[0] + said[1]
    assert first.startswith(b"ab")
    assert b"cd" in first
    assert second.endswith(b"z")


def test_drafts_lead_from_the_masks_to_the_text() -> None:
    said = pieces(make_model(), ["a<mask:6>"], sampler="confidence", steps=6, seed=1)
    assert [piece.draft for piece in said] == [True] * 6 + [False]
    shades = [piece.text.count(HIDDEN) for piece in said]
    assert shades[-1] == 0
    assert shades[0] > shades[3]
    assert all(piece.whole for piece in said)
    assert said[-1].text == said[-2].text


def test_a_continued_text_ends_with_its_document_and_a_filled_one_does_not() -> None:
    model = make_model()
    with torch.no_grad():
        head = adapter_of(model).head
        assert head is not None
        head.weight.zero_()  # all tokens alike: the separator comes at its turn
    long = [texts(model, ["x"], length=20, seed=seed)[0] for seed in range(40)]
    spoken = [len(text.encode("utf-8")) for text in long]
    assert min(spoken) < 21  # some ended early
    assert all(text.startswith("x") for text in long)


@pytest.mark.parametrize("sampler", ["ancestral", "entropy_bound", "remasking"])
@pytest.mark.parametrize("carry", [False, True])
def test_a_batch_is_each_prompt_alone(sampler: str, carry: bool) -> None:
    model = make_model(carry=carry)
    prompts = ["", "def <mask:5>", "a<mask:3>b<mask:3>", "", "def <mask:5>"]
    together = texts(model, prompts, sampler=sampler, seed=3)
    asked = MaskedDiffusionSampling(length=8, temperature=1.0, sampler=sampler, seed=3)
    alone = {
        piece.row: piece.text
        for piece in model.adapter.sample(model.bind(2), prompts[:1], asked)
        if not piece.draft
    }
    assert together[0] == alone[0]
    assert together[0] != together[3]  # other draws
    again = texts(model, prompts, sampler=sampler, seed=3)
    assert again == together
    assert texts(model, prompts, sampler=sampler, seed=4) != together


def calls(
    model: LoopedModel, prompts: Sequence[str], **settings: object
) -> tuple[int, dict[int, str]]:
    """Rows that the core read in all, and the texts."""
    read = 0

    def note(result: LoopResult) -> None:
        nonlocal read
        read += len(result.depth)

    asked = MaskedDiffusionSampling(**({"length": 8, "temperature": 1.0} | settings))
    think = model.bind(2, observe=note)
    said = {
        piece.row: piece.text
        for piece in model.adapter.sample(think, prompts, asked)
        if not piece.draft
    }
    return read, said


def test_unchanged_texts_are_not_read_again() -> None:
    model = make_model()
    prompts = ["ab<mask:4>"] * 4
    few, reused = calls(model, prompts, steps=40)
    many, anew = calls(model, prompts, steps=40, reuse=False)
    assert reused == anew
    assert few <= 4 * 5
    assert many > 3 * few


@pytest.mark.parametrize("settings", [{"condition_on_noise": True}, {"carry": True}])
def test_a_model_that_reads_the_noise_level_is_asked_at_every_step(settings: dict) -> None:
    shape = {"conditioned": "condition_on_noise" in settings}
    model = make_model(shape=shape, **settings)
    read, said = calls(model, ["ab<mask:4>"], steps=20)
    assert (read, said) == calls(model, ["ab<mask:4>"], steps=20, reuse=False)
    assert read > 5


def test_a_carried_state_is_that_of_the_last_step() -> None:
    """The second call starts from the first one's state, in the share that `keep` says."""
    model = make_model(carry=True, carry_visible=0.0, carry_masked=1.0, carry_revealed=0.5)
    adapter, seen = adapter_of(model), []
    bound = model.bind(2)

    def think(inputs, carry=None, outer=0.0, keep=None):
        thought = bound(inputs, carry=carry, outer=outer, keep=keep)
        seen.append((carry, keep, thought.result.z))
        return thought

    asked = MaskedDiffusionSampling(sampler="confidence", steps=3, temperature=0)
    list(adapter.sample(think, ["a<mask:3>"], asked))
    assert seen[0][0] is None
    for (_, _, state), (carry, keep, _) in itertools.pairwise(seen):
        assert torch.equal(carry, state)
        assert keep[0, 0] == 0.0
        assert set(keep[0, 1:].tolist()) <= {0.0, 0.5, 1.0}
        assert 0.5 in keep[0].tolist()


def depths(model: LoopedModel, think_of: dict, **settings: object) -> list[Tensor]:
    seen: list[Tensor] = []
    asked = MaskedDiffusionSampling(length=16, **settings)
    think = model.bind(6, observe=lambda result: seen.append(result.depth[:, 0]), **think_of)
    list(model.adapter.sample(think, ["", ""], asked))
    return seen


def test_a_budget_goes_deep_at_the_beginning_and_shallow_at_the_end() -> None:
    seen = depths(make_model(), {"budget": Decreasing(0.9)}, sampler="confidence", steps=16)
    loops = [int(depth[0]) for depth in seen]
    assert loops[0] == 11
    assert loops[-1] <= 2
    assert loops == sorted(loops, reverse=True)


def test_rows_at_different_stages_get_their_own_depth() -> None:
    seen = depths(make_model(), {"budget": Decreasing(0.9)}, sampler="first_hitting")
    assert any(int(depth.min()) < int(depth.max()) for depth in seen if len(depth) > 1)


def test_latent_change_stops_a_text_as_a_whole() -> None:
    model = make_model()
    seen: list[Tensor] = []
    rule = FixedPoint(tolerance=1e9, per="sequence")
    think = model.bind(6, halting=rule, observe=lambda result: seen.append(result.depth))
    list(model.adapter.sample(think, [""], MaskedDiffusionSampling(length=8)))
    assert {int(depth.max()) for depth in seen} == {1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": "gibbs"}, "unknown sampler"),
        ({"sampler": "ancestral", "gamma": 0.1}, "ancestral has no gamma"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"sampler": "confidence", "steps": 9}, "9"),
        ({"sampler": "threshold", "threshold": 2.0}, "threshold must be in"),
    ],
)
def test_sampling_that_cannot_be_is_refused_before_anything_is_said(
    settings: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pieces(make_model(), ["a<mask:4>"], **settings)
