"""The bridge to diffusers: what its users expect of schedulers, models and pipelines holds for ours."""

import importlib
import io
import json
import types
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from domains.masked_diffusion.checks import VOCAB, Noisy, finish
from domains.masked_diffusion.models import adapter_of, make_model
from torch import Tensor

from loopverse import LoopedModel, compose, train
from loopverse.nn import Normal, Zeros
from loopverse.text import Draws
from loopverse_masked_diffusion.canvas import Canvas
from loopverse_masked_diffusion.generation import MaskedDiffusionSampling
from loopverse_masked_diffusion.sampling import SAMPLERS

MASK = VOCAB
UNUSUAL = {"temperature": 0.5, "top_k": 3, "top_p": 0.9}
PROMPTS = ["ab<mask:3>cd<mask:4>", "the", "", "ab<mask:7>cd"]


@pytest.fixture(scope="module")
def bridge() -> types.ModuleType:
    """Imported late: diffusers takes seconds."""
    return importlib.import_module("loopverse_masked_diffusion.diffusion_pipeline")


def pipeline_of(bridge: types.ModuleType, model: LoopedModel, scheduler=None):
    made = bridge.MaskedDiffusionModel.of(model)
    pipe = bridge.MaskedDiffusionPipeline(made, scheduler or bridge.AncestralScheduler())
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture
def pipe(bridge: types.ModuleType):
    return pipeline_of(bridge, make_model())


def said(model: LoopedModel, prompts: list[str], loops: int = 4, **settings) -> list[str]:
    """What `loopverse sample` would make of the prompts."""
    asked = MaskedDiffusionSampling(**{"temperature": 1.0, **settings})
    think = model.bind(loops, seed=asked.seed)
    texts = {each.row: each.text for each in adapter_of(model).sample(think, prompts, asked)}
    return [texts[row] for row in range(len(prompts))]


def start() -> Tensor:
    """Two rows with a prompt each, four and five masks."""
    return torch.tensor([[1, MASK, MASK, 2, MASK, MASK], [MASK, MASK, MASK, 0, MASK, MASK]])


def by_hand(scheduler, tokens: Tensor, generators: list[torch.Generator]) -> Iterator:
    """A pass written as users of diffusers write it."""
    model = Noisy()
    for t in scheduler.timesteps:
        scores = model(Canvas.of(tokens, MASK))
        out = scheduler.step(scores, t, tokens, mask_token_id=MASK, generator=generators)
        tokens = out.prev_sample
        yield out


def seeded(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_every_sampler_has_a_scheduler_with_its_own_settings(bridge: types.ModuleType) -> None:
    assert list(bridge.SCHEDULERS) == list(SAMPLERS)
    for name, kind in SAMPLERS.items():
        scheduler = bridge.SCHEDULERS[name]()
        settings = {key: scheduler.config[key] for key in asdict(kind())}
        assert settings == asdict(kind())
        assert scheduler.init_noise_sigma == 1


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_scheduler_is_the_same_after_saving_and_loading(
    name: str, bridge: types.ModuleType, tmp_path: Path
) -> None:
    scheduler = bridge.SCHEDULERS[name](steps=7, block_length=4, **UNUSUAL)
    scheduler.save_pretrained(tmp_path)
    for again in (
        type(scheduler).from_pretrained(tmp_path),
        type(scheduler).from_config(scheduler.config),
    ):
        assert again.sampler == SAMPLERS[name](steps=7, block_length=4, **UNUSUAL)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("block_length", [None, 2])
def test_steps_by_hand_are_those_of_denoising(
    name: str, block_length: int | None, bridge: types.ModuleType
) -> None:
    scheduler = bridge.SCHEDULERS[name](block_length=block_length)
    scheduler.set_timesteps(4 if name in ("confidence", "margin", "entropy") else 5)
    *_, last = by_hand(scheduler, start(), seeded(3, 4))
    sampler = replace(scheduler.sampler)
    end = finish(sampler, Noisy(), Canvas.of(start(), MASK), Draws.of(seeded(3, 4)))
    assert torch.equal(last.prev_sample, end.tokens)
    assert not (end.tokens == MASK).any()
    assert torch.equal(end.tokens[start() != MASK], start()[start() != MASK])
    assert not last.time.any()


@pytest.mark.parametrize("name", SAMPLERS)
def test_noise_levels_go_down_from_1(name: str, bridge: types.ModuleType) -> None:
    scheduler = bridge.SCHEDULERS[name]()
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.tolist() == [1, 0.75, 0.5, 0.25]
    before = torch.ones(2, dtype=torch.double)
    for out in by_hand(scheduler, start(), seeded(0, 1)):
        assert ((out.time < before) | (before == 0)).all()
        before = out.time


def test_a_scheduler_refuses_what_cannot_be(bridge: types.ModuleType, tmp_path: Path) -> None:
    scheduler = bridge.AncestralScheduler()
    tokens = start()
    scores = torch.zeros(2, 6, VOCAB)

    def step(t, **more) -> None:
        scheduler.step(scores, t, tokens, mask_token_id=MASK, **more)

    for t in (0, -0.5, 1.5, float("nan"), torch.tensor(2.0)):
        with pytest.raises(ValueError, match=r"timestep must be a noise level in \(0, 1\], got"):
            step(t)
    with pytest.raises(ValueError, match=r"one number for all rows, got a tensor of shape \[2\]"):
        step(torch.ones(2))
    with pytest.raises(ValueError, match="one for each of 2 texts, got 3"):
        step(1.0, generator=seeded(0, 1, 2))
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        scheduler.set_timesteps(0)
    step(0.5)
    with pytest.raises(ValueError, match=r"below that of the last step, 0.5, got 0.5: call set_"):
        step(0.5)
    scheduler.set_timesteps(3)
    step(1.0)
    bridge.ThresholdScheduler().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="settings of ThresholdScheduler, not of AncestralSch"):
        bridge.AncestralScheduler.from_pretrained(tmp_path)


def test_settings_move_from_one_scheduler_to_another(bridge: types.ModuleType) -> None:
    threshold = bridge.ThresholdScheduler(threshold=0.7, **UNUSUAL)
    confidence = bridge.ConfidenceScheduler.from_config(threshold.config)
    assert confidence.sampler == SAMPLERS["confidence"](**UNUSUAL)
    assert bridge.ThresholdScheduler.from_config(confidence.config).sampler.threshold == 0.7


def test_a_step_can_return_a_tuple(bridge: types.ModuleType) -> None:
    tokens, time = bridge.AncestralScheduler(steps=1).step(
        torch.zeros(2, 6, VOCAB), 1.0, start(), mask_token_id=MASK, return_dict=False
    )
    assert not (tokens == MASK).any()
    assert time.tolist() == [0, 0]


@pytest.mark.parametrize(
    "settings",
    [{}, {"condition_on_noise": True, "tie_embeddings": True}, {"carry": True}],
    ids=["plain", "conditioned", "carrying"],
)
def test_a_model_is_the_same_after_saving_and_loading(
    settings: dict, bridge: types.ModuleType, tmp_path: Path
) -> None:
    shape = {"conditioned": True} if "condition_on_noise" in settings else {}
    model = bridge.MaskedDiffusionModel.of(make_model(shape=shape, **settings), loops=3)
    model.save_pretrained(tmp_path)
    again = bridge.MaskedDiffusionModel.from_pretrained(tmp_path)
    assert not again.training
    assert again.config["loops"] == 3
    assert again.adapter.config == model.adapter.config
    assert again.looped.core.config == model.looped.core.config
    tokens = torch.tensor([[5, 258, 7, 258]])
    with torch.no_grad():
        assert torch.equal(again(tokens).logits, model(tokens).logits)
        assert not torch.equal(again(tokens, loops=1).logits, again(tokens).logits)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"config.json", "diffusion_pytorch_model.safetensors", "tokenizer.json"}


def test_wrapping_a_model_shares_its_weights_and_draws_nothing(bridge: types.ModuleType) -> None:
    model = make_model()
    before = torch.get_rng_state()
    wrapped = bridge.MaskedDiffusionModel.of(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert {id(p) for p in wrapped.parameters()} == {id(p) for p in model.parameters()}


def test_a_learned_tokeniser_goes_with_the_model(
    bridge: types.ModuleType, tmp_path: Path, corpus: Path
) -> None:
    settings = {"tokenizer": "bpe", "vocab_size": 270, "corpus": str(corpus)}
    pipe = pipeline_of(bridge, make_model(**settings))
    text = pipe("the <mask:4> cat", seed=1).texts
    pipe.save_pretrained(tmp_path / "saved")
    for file in corpus.iterdir():
        file.unlink()
    again = bridge.MaskedDiffusionPipeline.from_pretrained(tmp_path / "saved")
    again.set_progress_bar_config(disable=True)
    assert again.tokenizer.tokenizer.json == pipe.tokenizer.tokenizer.json
    assert again("the <mask:4> cat", seed=1).texts == text


def test_a_model_refuses_what_it_is_not_made_for(bridge: types.ModuleType, tmp_path: Path) -> None:
    class Odd(Zeros):
        pass

    of, load = bridge.MaskedDiffusionModel.of, bridge.MaskedDiffusionModel.from_pretrained
    model = make_model()
    model.core.config.init = Odd()
    with pytest.raises(ValueError, match="unknown core.init 'Odd'"):
        of(model)
    model = make_model()
    model.adapter = torch.nn.Identity()
    with pytest.raises(ValueError, match="of the domain masked_diffusion, got one of Identity"):
        of(model)
    with pytest.raises(ValueError, match="expected a folder that save_pretrained wrote, got some/"):
        load("some/where")
    of(make_model()).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    for change, complaint in (
        ({"core": {**settings["core"], "init": {"kind": "os.system"}}}, "unknown core.init 'os"),
        ({"domain": {"colour": 3}}, "do not fit this version of Loopverse: .*colour"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({**settings, **change}))
        with pytest.raises(ValueError, match=complaint):
            load(tmp_path)


def test_weights_are_never_unpickled(bridge: types.ModuleType, tmp_path: Path) -> None:
    model = bridge.MaskedDiffusionModel.of(make_model())
    model.save_pretrained(tmp_path, safe_serialization=False)
    with pytest.raises(OSError, match="safetensors"):
        bridge.MaskedDiffusionModel.from_pretrained(tmp_path)


def test_loading_runs_no_code_from_the_folder(
    pipe, bridge: types.ModuleType, tmp_path: Path
) -> None:
    pipe.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    ran = tmp_path / "ran"
    for component in ("model", "scheduler"):
        module = tmp_path / component / f"{index[component][0]}.py"
        module.write_text(f"open({str(ran)!r}, 'w')\n")
    with pytest.raises(ValueError, match="trust_remote_code"):
        bridge.MaskedDiffusionPipeline.from_pretrained(tmp_path)
    assert not ran.exists()


def test_padding_is_not_read(bridge: types.ModuleType) -> None:
    model = bridge.MaskedDiffusionModel.of(make_model())
    tokens = torch.tensor([[5, 258, 7, 258]])
    padded = torch.tensor([[257, 257, 5, 258, 7, 258]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1]])
    with torch.no_grad():
        alone = model(tokens).logits
        beside = model(padded, attention_mask=mask, position_ids=torch.arange(6)[None]).logits
    assert alone.shape == (1, 4, 258)
    torch.testing.assert_close(beside[:, 2:], alone)


def test_a_model_that_is_told_the_noise_level_is_told_the_share_of_masks(
    bridge: types.ModuleType,
) -> None:
    core = {"conditioned": True}
    model = bridge.MaskedDiffusionModel.of(make_model(shape=core, condition_on_noise=True))
    told = []
    model.adapter.noise.register_forward_pre_hook(lambda _, given: told.append(given[0].tolist()))
    tokens = torch.tensor([[5, 258, 7, 8], [258, 258, 7, 258]])
    for more in (
        {},
        {"timestep": 0.5},
        {"timestep": torch.tensor([0.5, 0.125])},
        {"attention_mask": torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])},
    ):
        (logits,) = model(tokens, return_dict=False, **more)
        assert logits.shape == (2, 4, 258)
    assert told == [[0.25, 0.75], [0.5, 0.5], [0.5, 0.125], [0.5, 0.75]]


@pytest.mark.parametrize("name", ["ancestral", "first_hitting", "confidence", "remasking"])
@pytest.mark.parametrize("settings", [{}, {"carry": True}], ids=["plain", "carrying"])
def test_a_pipeline_says_what_sample_says(
    name: str, settings: dict, bridge: types.ModuleType
) -> None:
    model = make_model(**settings)
    pipe = pipeline_of(bridge, model, bridge.SCHEDULERS[name]())
    expected = said(model, PROMPTS, sampler=name, length=9, seed=5)
    assert pipe(PROMPTS, length=9, seed=5).texts == expected
    expected = said(model, PROMPTS, sampler=name, length=9, seed=5, steps=4, loops=2)
    assert pipe(PROMPTS, 9, 4, 2, seed=5).texts == expected


def test_random_initial_states_are_those_of_sample(bridge: types.ModuleType) -> None:
    model = make_model()
    model.core.config.init = Normal(std=1.0)
    assert pipeline_of(bridge, model)("ab", seed=3).texts == said(model, ["ab"], seed=3)


def test_a_pipeline_is_the_same_after_saving_and_loading(
    bridge: types.ModuleType, tmp_path: Path
) -> None:
    pipe = pipeline_of(bridge, make_model(), bridge.RemaskingScheduler(eta=0.5, steps=6))
    pipe.save_pretrained(tmp_path)
    again = bridge.MaskedDiffusionPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert again.scheduler.sampler == pipe.scheduler.sampler
    assert again(PROMPTS, length=9, seed=2).texts == pipe(PROMPTS, length=9, seed=2).texts


def test_a_prompt_is_kept_and_its_holes_are_filled(pipe) -> None:
    out = pipe(["ab<mask:3>cd<mask:4>", "the"], length=5, output_type="tokens", seed=0)
    assert out.texts is None
    first, second = out.tokens
    assert bytes(first[[0, 1, 5, 6]].tolist()) == b"abcd"
    assert (len(first), len(second)) == (11, 8)
    assert bytes(second[:3].tolist()) == b"the"
    assert max(first.max(), second.max()) < 258
    tokens, texts = pipe("ab<mask:3>", seed=0, return_dict=False)
    assert texts[0].startswith("ab")
    assert len(tokens[0]) == 5
    assert len(pipe(length=4, seed=0).tokens[0]) == 5  # a separator, then four


def test_randomness_comes_from_the_generators_or_the_seed(pipe) -> None:
    def tokens(prompts, **more) -> list[list[int]]:
        return [row.tolist() for row in pipe(prompts, length=6, **more).tokens]

    pair = ["ab", "cd"]
    (one,) = seeded(1)
    assert tokens(pair, generator=one) == tokens(pair, generator=seeded(1)[0])
    assert tokens(pair, generator=one) != tokens(pair, generator=seeded(1)[0])  # it moved on
    alone = tokens("cd", generator=seeded(2))
    assert tokens(pair, generator=seeded(1, 2))[1:] == alone
    torch.manual_seed(4)
    first, second = tokens(pair), tokens(pair)
    torch.manual_seed(4)
    assert (tokens(pair), tokens(pair)) == (first, second)
    assert first != second
    with pytest.raises(ValueError, match="both a seed and a generator"):
        tokens(pair, seed=1, generator=one)
    with pytest.raises(ValueError, match="one for each of 2 texts, got 1"):
        tokens(pair, generator=[one])


def test_a_callback_sees_every_step_and_what_it_writes_stays(pipe) -> None:
    seen = []

    def write(pipeline, index: int, time: float, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        assert pipeline is pipe
        seen.append((index, time, tensors["rows"].tolist(), int((tensors["tokens"] == 258).sum())))
        if index == 1:
            return {"tokens": tensors["tokens"].index_fill(1, torch.tensor([4]), 65)}
        return {}

    out = pipe(
        ["ab<mask:8>", "xy<mask:8>"],
        num_inference_steps=4,
        seed=0,
        callback_on_step_end=write,
        callback_on_step_end_tensor_inputs=["tokens", "rows"],
    )
    assert [row[4].item() for row in out.tokens] == [65, 65]
    assert [index for index, *_ in seen] == [0, 1, 2, 3]
    assert [time for _, time, *_ in seen] == [0.75, 0.5, 0.25, 0]
    assert seen[0][2] == [0, 1]
    assert [count for *_, count in seen] == sorted((count for *_, count in seen), reverse=True)
    assert max(row.max() for row in out.tokens) < 258


def test_a_callback_can_stop_early(pipe) -> None:
    def stop(pipeline, index: int, time: float, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        pipeline._interrupt = True
        return tensors

    out = pipe(["ab<mask:8>", "c<mask:3>"], seed=0, callback_on_step_end=stop)
    assert (out.tokens[0] == 258).any()
    assert out.texts[1] == "c" + "\N{LIGHT SHADE}" * 3
    assert not (pipe("ab<mask:8>", seed=0).tokens[0] == 258).any()


def test_progress_is_counted_in_tokens(pipe) -> None:
    shown = io.StringIO()
    pipe.set_progress_bar_config(file=shown)
    pipe(["ab<mask:8>", "c<mask:3>"], seed=0)
    assert "11/11" in shown.getvalue()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"output_type": "pil"}, "output_type must be"),
        ({"num_inference_steps": 0}, "steps must be at least 1, got 0"),
        ({"callback_on_step_end_tensor_inputs": ["latents"]}, "among tokens, rows, got latents"),
        ({"prompt": "<mask:many>"}, "a hole in a prompt is written <mask:40>"),
        ({"prompt": "x" * 30}, "leaves no room in the context of 24"),
        (
            {"callback_on_step_end": lambda *_: {"tokens": torch.zeros(1, 1)}},
            r"return tokens of shape \[1, 7\], got \[1, 1\]",
        ),
    ],
)
def test_a_pipeline_refuses_what_it_cannot_do(arguments: dict, complaint: str, pipe) -> None:
    with pytest.raises(ValueError, match=complaint):
        pipe(**{"prompt": "ab", "length": 5, "seed": 0, **arguments})


def test_a_scheduler_of_another_kind_is_refused(pipe, bridge: types.ModuleType) -> None:
    other = importlib.import_module("diffusers").DDPMScheduler()
    with pytest.raises(ValueError, match="such as AncestralScheduler, got DDPMScheduler"):
        bridge.MaskedDiffusionPipeline(pipe.model, other)
    pipe.scheduler = other
    with pytest.raises(ValueError, match="such as AncestralScheduler, got DDPMScheduler"):
        pipe("ab")


def test_a_run_becomes_a_pipeline(bridge: types.ModuleType, tmp_path: Path, corpus: Path) -> None:
    small = ["core.width=16", "core.num_heads=2", "domain.context=24", "training.batch_size=2"]
    brief = ["training.steps=1", "training.valid_batches=1", f"runs={tmp_path / 'runs'}"]
    config = compose(
        ["domain=masked_diffusion", f"domain.corpus={corpus}", "name=run", *small, *brief]
    )
    train(config)
    pipe = bridge.MaskedDiffusionPipeline.from_run(tmp_path / "runs" / "run", device="cpu")
    pipe.set_progress_bar_config(disable=True)
    assert pipe.model.config["loops"] == config.core.loops
    assert pipe("ab<mask:3>cd", seed=0).texts[0].startswith("ab")


@pytest.fixture
def llada2(pipe) -> Callable:
    """The pipeline of diffusers, as it is; the package offers it only beside transformers."""
    theirs = importlib.import_module("diffusers.pipelines.llada2.pipeline_llada2").LLaDA2Pipeline
    scheduler = importlib.import_module("diffusers").BlockRefinementScheduler()
    made = theirs(model=pipe.model, scheduler=scheduler, tokenizer=pipe.tokenizer)
    made.set_progress_bar_config(disable=True)
    return made


def test_the_pipeline_of_llada2_drives_our_model(llada2, pipe) -> None:
    def run(seed: int):
        (rng,) = seeded(seed)
        return llada2(
            prompt=["the cat", "on"],
            gen_length=12,
            block_length=5,
            num_inference_steps=4,
            temperature=1.0,
            eos_early_stop=False,
            generator=rng,
        )

    shown: list[Tensor] = []
    forward = pipe.model.forward
    pipe.model.forward = lambda ids, **more: shown.append(ids.clone()) or forward(ids, **more)
    out = run(1)
    assert out.sequences.shape == (2, 12)
    assert out.sequences.max() < 258
    prompt = [bytes(row[:7].tolist()[skip:]) for row, skip in zip(shown[-1], (0, 5), strict=True)]
    assert prompt == [b"the cat", b"on"]
    assert torch.equal(run(1).sequences, out.sequences)
    assert not torch.equal(run(2).sequences, out.sequences)
    assert len(out.texts) == 2


def test_the_pipeline_of_llada2_ends_a_text_at_a_separator(llada2, pipe) -> None:
    with torch.no_grad():
        pipe.model.adapter.head.weight.zero_()  # all tokens alike: the greedy choice is token 0
    out = llada2(prompt="ab", gen_length=6, block_length=4, num_inference_steps=2, eos_token_id=0)
    assert out.sequences[0, 0] == 0
    assert out.texts == ["\0"]


def test_a_tokeniser_can_be_called(pipe) -> None:
    tokenizer = pipe.tokenizer
    batch = tokenizer(["ab", "c"], padding=True)
    assert batch["input_ids"].tolist() == [[97, 98], [257, 99]]
    assert batch["attention_mask"].tolist() == [[1, 1], [0, 1]]
    assert len(tokenizer) == tokenizer.mask_token_id + 1 == 259
    assert tokenizer.decode([97, 258, 256]) == "a\N{LIGHT SHADE}"
    assert tokenizer.batch_decode(torch.tensor([[97, 258]]), skip_special_tokens=True) == ["a"]
    with pytest.raises(ValueError, match="only with padding=True"):
        tokenizer(["ab", "c"])
    with pytest.raises(ValueError, match='return_tensors must be "pt"'):
        tokenizer("ab", return_tensors="np")
