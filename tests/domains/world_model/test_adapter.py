"""The world-model adapter: what it observes, what it imagines, what it counts."""

from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch
from domains.world_model.models import WIDTH, adapter_of, make_model
from domains.world_model.toys import OBSERVATIONS, TOY
from tensordict import TensorDict
from torch.distributions import Bernoulli, Normal

from loopverse import LoopedModel
from loopverse.depth import Full
from loopverse.errors import UserError
from loopverse.nn import CoreInput
from loopverse_world_model import WorldModel, WorldModelConfig
from loopverse_world_model.imagination import Imagination
from loopverse_world_model.prediction import TransitionDistribution
from loopverse_world_model.spaces import space_to_json


def batch_of(model: LoopedModel, split: str = "valid", rows: int = 6) -> TensorDict:
    adapter = adapter_of(model)
    return next(adapter.batches(split, batch_size=rows, seed=0))  # pyright: ignore[reportArgumentType]


def outcome_of(model: LoopedModel, batch: TensorDict, loops: int = 2) -> Any:
    with torch.no_grad():
        return model.adapter(model.bind(loops), batch)


def prediction_of(model: LoopedModel, batch: TensorDict) -> TransitionDistribution:
    prediction = outcome_of(model, batch).prediction
    assert isinstance(prediction, TransitionDistribution)
    return prediction


@pytest.mark.parametrize(
    "settings",
    [{}, {"imagine": "latent"}, {"imagine": "markov"}, {"predict": "value"}, {"context": 2}],
)
def test_a_window_is_imagined_as_step_by_step(settings: dict[str, Any]) -> None:
    """The pass over a window, and an environment that is stepped, are one model."""
    model = make_model("nested", **settings)
    adapter, batch = adapter_of(model), batch_of(model)
    prediction = prediction_of(model, batch)
    assert prediction.origin is not None
    decoded = adapter.dynamics.decode(prediction.outputs, prediction.origin)
    world = Imagination(adapter.dynamics, model.bind(2))
    with torch.no_grad():
        memory = world.begin(len(batch))
        for step in range(batch["action"].shape[1]):
            if step < adapter.config.context:
                memory = world.observe(memory, batch["observation"][:, step])
            action = adapter.actions.encode(batch["action"][:, step])
            memory, imagined = world.step(memory, action)
            for path, values in imagined.observation.items():
                assert torch.allclose(values.float(), decoded[path][:, step].float(), atol=1e-4)
            going = adapter.dynamics.chance_to_go_on(prediction.outputs)[:, step]
            assert torch.allclose(imagined.keep_going, going, atol=1e-5)


def test_an_observation_called_as_another_part_is_refused() -> None:
    space = gymnasium.spaces.Dict({"reward": gymnasium.spaces.Discrete(2)})
    config = WorldModelConfig(
        observation_space=space_to_json(space),
        action_space=space_to_json(gymnasium.spaces.Discrete(2)),
    )
    with pytest.raises(
        UserError, match=r"a part called 'reward'.*rename it in a gymnasium.Wrapper"
    ):
        WorldModel(config, WIDTH)


def test_nothing_after_the_context_is_read() -> None:
    model = make_model(context=2)
    batch = batch_of(model)
    before = prediction_of(model, batch)
    changed = batch.clone()
    changed["observation", "value"][:, 2:] += 5
    after = prediction_of(model, changed)
    assert all(torch.equal(before.outputs[name], after.outputs[name]) for name in before.outputs)
    changed["observation", "value"][:, 1] += 5
    assert not torch.equal(prediction_of(model, changed).outputs["value"], before.outputs["value"])


def test_the_loss_is_the_likelihood_written_out() -> None:
    model = make_model(predict="value")
    adapter, batch = adapter_of(model), batch_of(model)
    outcome = outcome_of(model, batch)
    outputs = outcome.prediction.outputs
    leaf, reward = adapter.dynamics.leaves["value"], adapter.dynamics.reward
    nats = torch.zeros(len(batch), 4)
    for name, scale, what in (
        ("value", leaf, batch["observation", "value"][:, 1:]),
        ("reward", reward, batch["reward"][..., None]),
    ):
        mean, raw = outputs[name].chunk(2, -1)
        raw = 2 - torch.nn.functional.softplus(2 - raw)
        std = (-6 + torch.nn.functional.softplus(raw + 6)).exp()
        nats -= Normal(mean, std).log_prob((what - scale.mean) / scale.std).sum(-1)
    nats -= Bernoulli(logits=outputs["continue"][..., 0]).log_prob(1 - batch["terminated"])
    counts = batch["weights"] > 0
    assert torch.allclose(outcome.losses[counts], nats[counts], atol=1e-4)
    assert not outcome.losses[~counts].any()
    assert torch.equal(outcome.weights, batch["weights"])


def test_padding_counts_nothing() -> None:
    model = make_model()
    batch = batch_of(model, rows=32)
    padded = batch["weights"] == 0
    assert padded.any()
    before = outcome_of(model, batch)
    changed = batch.clone()
    changed["observation", "value"][:, 1:][padded] = 50
    changed["reward"][padded] = 50
    after = outcome_of(model, changed)
    assert torch.equal(before.loss, after.loss)


def test_the_metric_is_the_root_of_the_mean_square_in_deviations_of_the_data() -> None:
    model = make_model()
    adapter, batch = adapter_of(model), batch_of(model)
    outcome = outcome_of(model, batch)
    metrics = adapter.metrics()
    adapter.measure(metrics, outcome, batch)
    prediction = outcome.prediction
    decoded = adapter.dynamics.decode(prediction.outputs, prediction.origin)["value"]
    leaf = adapter.dynamics.leaves["value"]
    squares = ((decoded - batch["observation", "value"][:, 1:]) / leaf.std).square().mean(-1)
    expected = ((squares * batch["weights"]).sum() / batch["weights"].sum()).sqrt()
    assert float(metrics["rollout_error_std"].compute()) == pytest.approx(float(expected), rel=1e-4)


def test_deferred_decoding_trains_on_the_last_step_only_and_is_measured_on_all() -> None:
    model = make_model(imagine="latent", decode="deferred")
    batch = batch_of(model)
    assert outcome_of(model, batch).losses.shape == (6, 4)
    trained = model.train()(batch, 2, Full(), torch.Generator())
    assert trained.losses.shape == (6, 1)
    assert torch.equal(trained.weights, batch["weights"][:, -1:])
    assert trained.penalty is not None


def test_the_horizon_of_training_grows_to_its_largest() -> None:
    adapter = adapter_of(make_model(growth=3))
    lengths = [
        next(adapter.batches("train", batch_size=2, seed=0, start=n))["action"].shape[1]
        for n in (0, 2, 3, 6, 9, 100)
    ]
    assert lengths == [1, 1, 2, 3, 4, 4]
    assert next(adapter.batches("valid", batch_size=2, seed=0))["action"].shape[1] == 4


def test_the_scale_of_the_data_is_taken_once_from_what_is_trained_on() -> None:
    adapter = adapter_of(make_model())
    records = adapter.source.records("train")
    values = records["observation", "value"]
    leaf = adapter.dynamics.leaves["value"]
    assert torch.allclose(leaf.mean, values.mean(0), atol=1e-4)
    assert torch.allclose(leaf.std, values.std(0, correction=0), atol=1e-4)


def test_a_model_loads_without_its_environment(tmp_path: Path) -> None:
    model = make_model()
    adapter, batch = adapter_of(model), batch_of(model)
    adapter.save_assets(tmp_path)
    settings = dict(vars(adapter.config)) | {"env": "NoSuchEnvironment-v0"}
    elsewhere = WorldModel(WorldModelConfig(**settings), WIDTH)
    elsewhere.load_state_dict(adapter.state_dict())
    elsewhere.load_assets(tmp_path)
    first = adapter.embed(batch)
    second = elsewhere.embed(batch)
    assert isinstance(first, CoreInput)
    assert torch.equal(first.x, second.x)


def test_assets_of_other_spaces_are_refused(tmp_path: Path) -> None:
    adapter_of(make_model("image")).save_assets(tmp_path)
    with pytest.raises(ValueError, match="of other spaces than this model"):
        adapter_of(make_model("vector")).load_assets(tmp_path)
    with pytest.raises(ValueError, match="missing or damaged"):
        adapter_of(make_model("vector")).load_assets(tmp_path / "none")


@pytest.mark.parametrize("space", OBSERVATIONS)
@pytest.mark.parametrize("action", ["discrete", "box", "cards", "bits"])
def test_every_kind_of_space_is_learned_from(space: str, action: str) -> None:
    model = make_model(space, action, tokens=2)
    batch = batch_of(model, "train")
    outcome = model.train()(batch, 2, Full(), torch.Generator().manual_seed(0))
    outcome.loss.backward()
    assert bool(outcome.losses.isfinite().all())
    assert float(outcome.num_units) == pytest.approx(float(batch["weights"].sum()))


def test_a_markov_step_depends_on_nothing_but_what_was_decoded_before_it() -> None:
    model = make_model("nested", imagine="markov")
    adapter, batch = adapter_of(model), batch_of(model)
    world = Imagination(adapter.dynamics, model.bind(2))
    first, second = adapter.actions.encode(batch["action"][:, :2]).unbind(1)
    with torch.no_grad():
        memory = world.observe(world.begin(len(batch)), batch["observation"][:, 0])
        memory, imagined = world.step(memory, first)
        _, after = world.step(memory, second)
        anew = world.observe(world.begin(len(batch)), imagined.observation)
        _, again = world.step(anew, second)
    for path, values in after.observation.items():
        assert torch.allclose(values.float(), again.observation[path].float(), atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"imagine": "latnet"}, "domain.imagine must be latent or decoded or markov, got latnet"),
        ({"decode": "deferred"}, "choose domain.imagine=latent with it"),
        ({"imagine": "markov", "context": 2}, "it needs domain.context=1, got 2"),
        ({"horizon": 0}, "domain.horizon must be at least 1, got 0"),
        ({"held_out": 1.0}, "domain.held_out must be between 0 and 1"),
        ({"env": "Pendulun-v1"}, "Pendulum-v1"),
        ({"growth": -1}, "domain.growth must not be negative"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorldModelConfig(**settings)


def test_episodes_shorter_than_a_window_are_refused_where_they_may_not_be_padded() -> None:
    adapter = adapter_of(make_model(horizon=8, pad=False, env=TOY))
    with pytest.raises(ValueError, match="shorter than a window of 8"):
        next(adapter.batches("train", batch_size=2, seed=0))


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_uncertain_numbers_keep_their_say_in_training(beta: float) -> None:
    """Of the mean of a number of deviation s the gradient is its error times s^(2 beta - 2)."""
    model = make_model(predict="value", beta=beta)
    batch = batch_of(model)
    outcome = model.train()(batch, 2, Full(), torch.Generator().manual_seed(0))
    prediction = outcome.prediction
    assert isinstance(prediction, TransitionDistribution)
    assert prediction.origin is not None
    found = prediction.parts["value"].base_dist
    assert isinstance(found, Normal)
    (gradient,) = torch.autograd.grad(outcome.losses.sum(), found.loc, retain_graph=True)
    target = (
        adapter_of(model)
        .dynamics.leaves["value"]
        .target(batch["observation", "value"][:, 1:], None, prediction.origin.age)
    )
    expected = (found.loc - target) * found.scale ** (2 * beta - 2)
    counts = batch["weights"] > 0
    assert torch.allclose(gradient[counts], expected[counts], rtol=1e-3, atol=1e-5)


def test_ends_count_more_in_training_and_once_in_use() -> None:
    batch = batch_of(make_model())
    plain, weighed = (make_model(end_weight=weight).train() for weight in (1.0, 7.0))
    once, more = (
        model(batch, 2, Full(), torch.Generator().manual_seed(0)) for model in (plain, weighed)
    )
    going = once.prediction.outputs["continue"][..., 0]
    nats = -Bernoulli(logits=going).log_prob(1 - batch["terminated"]) * batch["weights"]
    assert torch.allclose(more.losses - once.losses, 6 * nats, atol=1e-3)
    used = [outcome_of(model.eval(), batch).losses for model in (plain, weighed)]
    assert torch.equal(*used)
