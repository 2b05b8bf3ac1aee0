"""The autoregressive domain against its contract: batches, masks, losses, metrics, samples, assets."""

import math
from itertools import islice
from pathlib import Path

import pytest
import torch
from domains.autoregressive.models import WIDTH, adapter_of, make_model
from omegaconf import OmegaConf
from tensordict import TensorDict
from torch.nn import functional as F

from loopverse import Attend, CoreInput, DomainAdapter, LoopedModel, SampleSettings
from loopverse.depth import Full
from loopverse.text import TokenDistribution
from loopverse_autoregressive import Autoregressive, AutoregressiveConfig


def make_adapter(**settings: object) -> Autoregressive:
    return Autoregressive(AutoregressiveConfig(**settings), WIDTH)  # type: ignore[arg-type]


def outcome_of(model: LoopedModel, batch: TensorDict):
    with torch.no_grad():
        return model.adapter(model.bind(2), batch)


def evaluated(model: LoopedModel, batch_size: int) -> dict[str, float]:
    adapter = model.adapter
    metrics = adapter.metrics()
    for batch in adapter.batches("valid", batch_size=batch_size, seed=0):
        adapter.measure(metrics, outcome_of(model, batch), batch)
    return {name: float(metric.compute()) for name, metric in metrics.items()}


def test_it_is_an_adapter_whose_settings_are_a_schema() -> None:
    assert issubclass(Autoregressive, DomainAdapter)
    schema = OmegaConf.structured(Autoregressive.Config)
    merged = OmegaConf.merge(schema, {"limit": 1000, "corpus": "hf:a:b", "context": 64})
    settings = OmegaConf.to_object(merged)
    assert isinstance(settings, AutoregressiveConfig)
    assert (settings.limit, settings.context, settings.corpus) == (1000, 64, "hf:a:b")


def test_the_constructor_opens_no_data() -> None:
    make_adapter(corpus="no such folder")
    make_adapter(corpus="no such folder", tokenizer="bpe")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"tokenizer": "words"}, "domain.tokenizer must be bytes or bpe, got words"),
        ({"context": 0}, "domain.context must be at least 1 token, got 0"),
        ({"tokenizer": "bpe", "vocab_size": 257}, "domain.vocab_size must be at least 258"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        make_adapter(**settings)


def test_a_corpus_smaller_than_one_window_is_refused(corpus: Path) -> None:
    adapter = make_adapter(corpus=str(corpus / "1.txt"), context=200)
    with pytest.raises(ValueError, match=r"1\.txt has \d+ tokens.*one window needs 201"):
        next(adapter.batches("train", batch_size=1, seed=0))


def test_a_missing_corpus_is_refused_before_the_first_batch() -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        make_adapter(corpus="no such folder").batches("train", batch_size=1, seed=0)


def test_training_batches_are_endless_and_start_anywhere(corpus: Path) -> None:
    adapter = make_adapter(corpus=str(corpus), context=16)
    whole = list(islice(adapter.batches("train", batch_size=2, seed=5), 6))
    later = list(islice(adapter.batches("train", batch_size=2, seed=5, start=4), 2))
    assert all((a == b).all() for a, b in zip(whole[4:], later, strict=True))


def test_the_loss_is_the_cross_entropy_of_the_targets(corpus: Path) -> None:
    model = make_model(corpus=str(corpus))
    batch = next(model.adapter.batches("train", batch_size=3, seed=0))
    outcome = outcome_of(model, batch)
    with torch.no_grad():
        z = model.bind(2)(model.adapter.embed(batch)).z
    logits = z @ adapter_of(model).head.weight.T  # type: ignore[union-attr]
    expected = F.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten())
    torch.testing.assert_close(outcome.loss, expected)


@pytest.mark.parametrize("tied", [False, True])
def test_every_parameter_gets_a_gradient(tied: bool, corpus: Path) -> None:
    model = make_model(corpus=str(corpus), tie_embeddings=tied).train()
    batch = next(model.adapter.batches("train", batch_size=2, seed=0))
    model(batch, 2, Full(), torch.Generator()).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert any("head" in name for name, _ in model.adapter.named_parameters()) is not tied


def test_a_token_reads_only_those_before_it(corpus: Path) -> None:
    model = make_model(corpus=str(corpus))
    batch = next(model.adapter.batches("train", batch_size=1, seed=0))
    changed = batch.clone()
    changed["tokens"][:, 9] += 1
    before, after = (outcome_of(model, b).prediction.logits for b in (batch, changed))
    assert torch.allclose(before[:, :9], after[:, :9], atol=1e-6)
    assert not torch.allclose(before[:, 9:], after[:, 9:], atol=1e-4)


@pytest.mark.parametrize("separate", [False, True])
def test_documents_see_each_other_only_where_not_separated(separate: bool, corpus: Path) -> None:
    model = make_model(corpus=str(corpus), separate_documents=separate)
    batch = TensorDict(
        {
            "tokens": torch.tensor([[256, 65, 66, 256, 67, 68]]),
            "segments": torch.tensor([[0, 0, 0, 1, 1, 1]]),
            "targets": torch.tensor([[65, 66, 256, 67, 68, 256]]),
            "weights": torch.ones(1, 6),
        },
        batch_size=[1],
    )
    changed = batch.clone()
    changed["tokens"][0, 1] = 90
    before, after = (outcome_of(model, b).losses for b in (batch, changed))
    assert torch.allclose(before[:, 3:], after[:, 3:], atol=1e-6) is separate


def test_embeddings_are_scaled_by_the_square_root_of_the_width() -> None:
    tokens = torch.tensor([[1, 2]])
    plain, scaled = make_adapter(scale_embedding=False), make_adapter()
    scaled.load_state_dict(plain.state_dict())
    torch.testing.assert_close(scaled.embed_tokens(tokens), 4 * plain.embed_tokens(tokens))


def test_bits_per_byte_is_the_code_length_of_the_held_out_text(corpus: Path) -> None:
    model = make_model(corpus=str(corpus), separate_documents=True)
    nats = 0.0
    num_bytes = 0
    for batch in model.adapter.batches("valid", batch_size=1, seed=0):
        outcome = outcome_of(model, batch)
        nats += float((outcome.losses * outcome.weights).sum())
        num_bytes += int(((batch["targets"] < 256) & (batch["weights"] > 0)).sum())
    found = evaluated(model, batch_size=3)
    assert math.isclose(found["bits_per_byte"], nats / math.log(2) / num_bytes, rel_tol=1e-5)
    assert evaluated(model, batch_size=1)["bits_per_byte"] == pytest.approx(found["bits_per_byte"])


def test_perplexity_is_the_exponential_of_the_mean_loss(corpus: Path) -> None:
    model = make_model(corpus=str(corpus))
    nats, num = 0.0, 0.0
    for batch in model.adapter.batches("valid", batch_size=2, seed=0):
        outcome = outcome_of(model, batch)
        nats += float((outcome.losses * outcome.weights).sum())
        num += float(outcome.weights.sum())
    found = evaluated(model, batch_size=2)["perplexity"]
    assert math.isclose(found, math.exp(nats / num), rel_tol=1e-4)


def test_bits_per_byte_counts_the_same_bytes_with_any_tokenizer(corpus: Path) -> None:
    pytest.importorskip("tokenizers")
    counted = []
    for settings in ({}, {"tokenizer": "bpe", "vocab_size": 270}):
        model = make_model(corpus=str(corpus), **settings)
        metrics = model.adapter.metrics()
        for batch in model.adapter.batches("valid", batch_size=2, seed=0):
            model.adapter.measure(metrics, outcome_of(model, batch), batch)
        counted.append(int(metrics["bits_per_byte"].bytes))  # type: ignore[arg-type]
    assert counted[0] == counted[1] > 0


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe"])
def test_samples_come_from_a_run_without_its_corpus(
    tokenizer: str, corpus: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tokenizers")
    settings = {"tokenizer": tokenizer, "vocab_size": 270}
    model = make_model(corpus=str(corpus), **settings)
    assets = tmp_path / "assets"
    assets.mkdir()
    model.adapter.save_assets(assets)
    style = SampleSettings(length=5, temperature=1)
    expected = list(model.adapter.sample(model.bind(2), ["the", ""], style))

    elsewhere = make_model(corpus="gone", **settings)
    elsewhere.load_state_dict(model.state_dict())
    elsewhere.adapter.load_assets(assets)
    assert list(elsewhere.adapter.sample(elsewhere.bind(2), ["the", ""], style)) == expected
    assert {sample.row for sample in expected} == {0, 1}


def test_a_loaded_tokenizer_stays_when_the_corpus_is_another(corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    first = make_adapter(corpus=str(corpus), tokenizer="bpe", vocab_size=270)
    first.save_assets(tmp_path)
    other = tmp_path / "other.txt"
    other.write_text("quite another text\n" * 99)
    second = make_adapter(corpus=str(other), tokenizer="bpe", vocab_size=270)
    second.load_assets(tmp_path)
    next(second.batches("train", batch_size=1, seed=0))
    assert second.tokenizer.json == first.tokenizer.json


def test_assets_of_another_vocabulary_are_refused(corpus: Path, tmp_path: Path) -> None:
    make_adapter().save_assets(tmp_path)
    with pytest.raises(ValueError, match="tokeniser of 258 tokens, this model has 300"):
        make_adapter(tokenizer="bpe", vocab_size=300).load_assets(tmp_path)


def test_samples_are_whole_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    script = iter("€🚀!".encode())

    def predict(z: torch.Tensor) -> TokenDistribution:
        wanted = torch.full(z.shape[:2], next(script))
        return TokenDistribution(F.one_hot(wanted, 258).float() * 99)

    monkeypatch.setattr(model.adapter, "predict", predict)
    pieces = list(model.adapter.sample(model.bind(1), ["x"], SampleSettings(8, temperature=0)))
    assert [piece.text for piece in pieces] == ["€", "🚀", "!"]


def test_a_prompt_longer_than_the_context_is_refused() -> None:
    model = make_model()
    with pytest.raises(ValueError, match="prompt 1 has 25 tokens, the context is 24"):
        next(model.adapter.sample(model.bind(1), ["x" * 25], SampleSettings()))


def test_a_text_that_is_read_costs_what_the_model_says_of_it_token_by_token() -> None:
    model = make_model()
    texts = ["ab", "", "naïve cat"]
    batch = model.adapter.batch_of(texts)
    outcome = outcome_of(model, batch)
    assert outcome.weights.sum(dim=1).tolist() == [2, 0, 10]
    found = (outcome.losses * outcome.weights).sum(dim=1)
    for text, nats in zip(texts, found.tolist(), strict=True):
        ids = adapter_of(model).tokenizer.encode(text).tolist()
        expected = 0.0
        for place, token in enumerate(ids):
            before = torch.tensor([[256, *ids[:place]]])
            with torch.no_grad():
                z = model.bind(2)(CoreInput(adapter_of(model).embed_tokens(before), Attend(True))).z
                expected -= float(model.adapter.predict(z[:, -1:]).logits[0, 0, token])  # type: ignore[attr-defined]
        assert nats == pytest.approx(expected, abs=1e-4)


def test_a_text_longer_than_the_context_is_read_in_windows_every_token_once() -> None:
    batch = make_adapter(context=5).batch_of(["12345", "abcdefghijkl", ""])
    assert batch["text"].tolist() == [0, 1, 1, 1, 2]
    tokens, targets = (
        [bytes(row).decode() for row in batch[key] % 256] for key in ("tokens", "targets")
    )
    assert [text.replace("\x01", ".") for text in targets] == [
        "12345",
        "abcde",
        "fghij",
        "kl...",
        ".....",
    ]
    assert [text[0] for text in tokens] == ["\0", "\0", "e", "j", "\0"]
    assert batch["weights"].sum(dim=1).tolist() == [5, 5, 5, 2, 0]
