"""The masked-diffusion adapter: what it hides, what it asks the core, what it counts."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from domains.masked_diffusion.models import WIDTH, adapter_of, make_model
from tensordict import TensorDict

from loopverse import DomainAdapter, LoopedModel
from loopverse.depth import Full
from loopverse_masked_diffusion import MaskedDiffusion, MaskedDiffusionConfig


def prepared(
    model: LoopedModel, corpus: Path, *, training: bool = True, seed: int = 0
) -> TensorDict:
    adapter = adapter_of(model)
    adapter.config.corpus = str(corpus)
    batch = next(adapter.batches("train", batch_size=4, seed=0))
    model.train(training)
    rng = torch.Generator().manual_seed(seed)
    return adapter.prepare(batch, rng)


def step(model: LoopedModel, batch: TensorDict, depth: int = 2) -> torch.Tensor:
    return model(batch, depth, Full(), torch.Generator().manual_seed(0)).loss


def test_a_hidden_token_is_read_as_the_mask_and_has_no_output(corpus: Path) -> None:
    model = make_model()
    adapter, batch = adapter_of(model), prepared(model, corpus)
    hidden = batch["visible"] == adapter.mask_id
    assert hidden.any()
    assert torch.equal(batch["visible"][~hidden], batch["tokens"][~hidden])
    assert adapter.predict(torch.zeros(1, 1, WIDTH)).raw.shape[-1] == adapter.mask_id
    assert adapter.embedding.num_embeddings == adapter.mask_id + 1


def test_visible_tokens_have_no_loss_and_what_is_visible_is_not_predicted_from_itself(
    corpus: Path,
) -> None:
    model = make_model()
    batch = prepared(model, corpus)
    outcome = model(batch, 2, Full(), torch.Generator())
    hidden = batch["visible"] == adapter_of(model).mask_id
    assert bool((outcome.losses[hidden] > 0).all())
    assert not outcome.losses[~hidden].any()
    assert outcome.weights.all()


def test_the_loss_is_the_bound_in_nats_per_token(corpus: Path) -> None:
    """1/t times the nats of the hidden tokens, over all tokens: written out."""
    model = make_model()
    adapter, batch = adapter_of(model), prepared(model, corpus)
    with torch.no_grad():
        got = step(model, batch)
        logits = adapter.predict(model.bind(2)(adapter.embed(batch)).z).raw
    nats = -torch.log_softmax(logits, -1).gather(-1, batch["tokens"][..., None])[..., 0]
    hidden = batch["visible"] == adapter.mask_id
    expected = (nats * hidden / batch["level"][:, None]).sum() / hidden.numel()
    assert torch.allclose(got, expected, rtol=1e-5)


def test_held_out_data_are_hidden_by_count_and_as_often_as_asked(corpus: Path) -> None:
    model = make_model(draws=3, masking="independent")
    batch = prepared(model, corpus, training=False)
    assert len(batch) == 12
    assert torch.equal(batch["tokens"][0], batch["tokens"][2])
    counts = (batch["visible"] == adapter_of(model).mask_id).sum(1)
    assert torch.allclose(batch["scale"], 24 / counts)
    parts = ((counts - 1) * 12 / 24).floor().long()
    assert sorted(parts.tolist()) == list(range(12))


def test_the_metrics_give_the_bound_its_error_and_its_draws(corpus: Path) -> None:
    model = make_model()
    adapter = adapter_of(model)
    metrics = adapter.metrics()
    means = []
    for seed in range(5):
        batch = prepared(model, corpus, training=False, seed=seed)
        with torch.no_grad():
            outcome = adapter(model.bind(2), batch)
        adapter.measure(metrics, outcome, batch)
        means.append(outcome.losses.mean())
    values = torch.stack(means)
    assert torch.allclose(metrics["nelbo"].compute(), values.mean())
    assert torch.allclose(metrics["nelbo_error"].compute(), values.std() / 5**0.5, rtol=1e-4)
    assert metrics["nelbo_draws"].compute() == 20
    bits = metrics["bits_per_byte"].compute()
    assert torch.allclose(bits, values.mean() / torch.log(torch.tensor(2.0)), rtol=0.05)


def test_a_mask_inside_the_corpus_is_refused(corpus: Path) -> None:
    model = make_model()
    adapter = adapter_of(model)
    adapter.config.corpus = str(corpus)
    batch = next(adapter.batches("train", batch_size=2, seed=0))
    batch["targets"][0, 3] = adapter.mask_id
    with pytest.raises(ValueError, match="the corpus holds the token 258"):
        adapter.prepare(batch, torch.Generator())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"masking": "some"}, "masking must be one of low_discrepancy"),
        ({"draws": 0}, "draws must be at least 1"),
        ({"carry_masked": 1.5}, r"carry_masked must be in \[0, 1\]"),
        ({"consistency": -1.0}, "consistency must not be negative"),
        ({"tokenizer": "words"}, "tokenizer must be bytes or bpe"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskedDiffusion(MaskedDiffusionConfig(**settings), WIDTH)


def test_an_earlier_step_hides_more_and_the_same(corpus: Path) -> None:
    model = make_model(carry=True)
    batch = prepared(model, corpus)
    mask = adapter_of(model).mask_id
    now, earlier = batch["visible"] == mask, batch["earlier"] == mask
    assert bool((earlier | ~now).all())
    assert earlier.sum() > now.sum()
    assert torch.equal(batch["earlier"][~earlier], batch["tokens"][~earlier])
    assert bool((batch["earlier_level"] >= batch["level"]).all())


def test_an_earlier_step_is_read_at_its_own_level(corpus: Path) -> None:
    model = make_model(carry=True, condition_on_noise=True, shape={"conditioned": True})
    batch, adapter = prepared(model, corpus), adapter_of(model)
    bound, conditions, places = model.bind(1), [], []

    def think(inputs, carry=None, outer=0.0, keep=None):
        conditions.append(inputs.cond)
        places.append(outer)
        return bound(inputs, carry=carry, outer=outer, keep=keep)

    with torch.no_grad():
        adapter(think, batch)
        assert adapter.noise is not None
        expected = adapter.noise(batch["earlier_level"])
    assert torch.equal(conditions[1], expected)
    assert torch.equal(places[1], 1 - batch["earlier_level"])
    assert torch.equal(conditions[0], conditions[2])
    assert not torch.equal(conditions[0], conditions[1])


def test_carried_states_are_kept_by_what_happened_to_their_token() -> None:
    config = MaskedDiffusionConfig(carry_visible=0.2, carry_masked=0.7, carry_revealed=0.1)
    adapter = MaskedDiffusion(config, WIDTH)
    mask = adapter.mask_id
    before, now = torch.tensor([[5, mask, mask]]), torch.tensor([[5, mask, 6]])
    assert torch.allclose(adapter.keep(before, now), torch.tensor([[0.2, 0.7, 0.1]]))


def test_learning_to_carry_draws_the_carried_prediction_to_the_fresh_one(corpus: Path) -> None:
    """The consistency loss alone, followed downhill, brings the two predictions together."""
    model = make_model(carry=True, consistency=1.0)
    batch = prepared(model, corpus)
    first = float(penalty_of(model, batch).detach())
    assert first > 0
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(15):
        optimizer.zero_grad()
        penalty_of(model, batch).backward()
        optimizer.step()
    assert float(penalty_of(model, batch).detach()) < first / 2
    assert float(penalty_of(make_model(carry=True, consistency=0.0), batch).detach()) == 0


def penalty_of(model: LoopedModel, batch: TensorDict) -> torch.Tensor:
    penalty = model.train()(batch, 2, Full(), torch.Generator()).penalty
    assert penalty is not None
    return penalty


def test_the_noise_level_reaches_the_core_only_where_asked(corpus: Path) -> None:
    plain = make_model()
    assert adapter_of(plain).embed(prepared(plain, corpus)).cond is None
    model = make_model(condition_on_noise=True, shape={"conditioned": True})
    batch = prepared(model, corpus)
    assert adapter_of(model).embed(batch).cond is not None
    assert torch.isfinite(step(model, batch))


def test_documents_in_one_window_are_kept_apart(corpus: Path) -> None:
    model = make_model(separate_documents=True, context=200)
    adapter, batch = adapter_of(model), prepared(model, corpus)
    separators = batch["tokens"] == adapter.tokenizer.separator
    assert separators.any()
    steps = batch["segments"].diff(dim=1)
    assert torch.equal(steps > 0, separators[:, 1:])


def test_training_on_a_few_bytes_learns_them(tmp_path: Path) -> None:
    """The bound of a text that repeats falls far below that of random bytes."""
    (tmp_path / "a.txt").write_text("abcd" * 400)
    (tmp_path / "b.txt").write_text("abcd" * 400)
    model = make_model(corpus=str(tmp_path))
    adapter: DomainAdapter = model.adapter
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    rng = torch.Generator().manual_seed(0)
    model.train()
    for batch in islice(adapter.batches("train", batch_size=16, seed=0), 60):
        loss = step(model, adapter.prepare(batch, rng))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) / 10 < 2.0
    assert losses[0] > 4.0
