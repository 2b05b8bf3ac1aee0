"""Leaves: what is read of a value, and that a predicted one comes back."""

import pytest
import torch
from domains.world_model.toys import OBSERVATIONS
from torch.distributions import Categorical, Normal

from loopverse_world_model.leaves import LeafModel, VectorLeaf, build_leaf, symexp, symlog
from loopverse_world_model.spaces import flatten, leaves_of

WIDTH, HORIZON = 8, 5


def models(
    space: str, squash: bool = False, anchored: bool = True
) -> list[tuple[LeafModel, torch.Tensor]]:
    """A model of each leaf of a toy's observations, fitted to sixty of them."""
    observed = OBSERVATIONS[space]
    observed.seed(0)
    values = [flatten(observed, observed.sample()) for _ in range(60)]
    episode = torch.arange(3).repeat_interleave(20)
    found = []
    for leaf in leaves_of(observed, "observation"):
        torch.manual_seed(0)
        model = build_leaf(leaf, WIDTH, HORIZON, squash, anchored)
        raw = torch.stack([torch.as_tensor(value[leaf.path]) for value in values])
        model.fit(raw, episode)
        found.append((model, raw))
    return found


CASES = [("vector", False, True), ("vector", True, True), ("vector", False, False)]
CASES += [("nested", True, True), ("image", False, True)]


@pytest.mark.parametrize(("space", "squash", "anchored"), CASES)
def test_decoding_a_target_gives_what_it_was_made_of(
    space: str, squash: bool, anchored: bool
) -> None:
    for model, raw in models(space, squash, anchored):
        base = model.flat(raw[:20]) if model.anchored else None
        age = torch.arange(20) % HORIZON
        target = model.target(raw[20:40], base, age)
        decoded = model.decode(target, base, age)
        assert decoded.shape == raw[20:40].shape
        assert torch.allclose(decoded.float(), raw[20:40].float(), atol=1e-4)
        assert float(model.error(decoded, raw[20:40]).max()) < 1e-6


@pytest.mark.parametrize(("space", "squash", "anchored"), CASES)
def test_following_is_decoding_and_observing(space: str, squash: bool, anchored: bool) -> None:
    for model, raw in models(space, squash, anchored):
        base = model.flat(raw) if model.anchored else None
        outputs = model.outputs(torch.randn(60, WIDTH))
        numbers, features = model.follow(outputs, base)
        decoded = model.decode(model.centre(outputs), base, torch.zeros(60).long())
        assert torch.allclose(features, model.features(decoded), atol=1e-4)
        assert features.shape == (60, model.num_features)
        if model.anchored:
            assert numbers is not None
            assert torch.allclose(numbers, model.flat(decoded), atol=1e-4)


@pytest.mark.parametrize("space", OBSERVATIONS)
def test_the_centre_is_the_most_likely_value(space: str) -> None:
    for model, raw in models(space):
        outputs = model.outputs(torch.randn(60, WIDTH))
        distribution, centre = model.distribution(outputs), model.centre(outputs)
        assert distribution.batch_shape == (60,)
        best = distribution.log_prob(centre.to(outputs.dtype))
        target = model.target(
            raw, model.flat(raw) if model.anchored else None, torch.zeros(60).long()
        )
        assert bool((best >= distribution.log_prob(target.to(outputs.dtype)) - 1e-4).all())


def test_numbers_are_normal_and_categories_categorical() -> None:
    ((vector, _),) = models("vector")
    outputs = torch.randn(4, 6)
    outputs[:, 3:] = outputs[:, 3:].clamp(-2, 1)
    found = vector.distribution(outputs).base_dist
    assert isinstance(found, Normal)
    assert torch.equal(found.mean, outputs[:, :3])
    assert torch.allclose(found.stddev.log(), outputs[:, 3:], atol=0.35)  # softly held in bounds
    (cards,) = [model for model, _ in models("nested") if model.leaf.path == "cards"]
    logits = torch.randn(4, 9)
    scores = torch.stack(
        [Categorical(logits=part).log_prob(torch.tensor(1)) for part in logits.split([2, 3, 4], 1)]
    )
    values = torch.ones(4, 3).long()
    assert torch.allclose(cards.distribution(logits).log_prob(values), scores.sum(0))


def test_at_first_nothing_changes_and_later_the_mean_is_expected() -> None:
    ((model, raw),) = models("vector")
    assert isinstance(model, VectorLeaf)
    model.kept[0], model.kept[-1] = 1.0, 0.0
    outputs = torch.zeros(60, 6)
    base = model.flat(raw)
    assert torch.allclose(model.decode(model.centre(outputs), base, None), raw, atol=1e-4)
    old = model.decode(model.centre(outputs), base, torch.full((60,), 99))
    assert torch.allclose(old, model.mean.expand(60, 3), atol=1e-4)


def test_symexp_undoes_symlog() -> None:
    x = torch.tensor([-1e4, -1.0, 0.0, 0.3, 1e4])
    assert torch.allclose(symexp(symlog(x)), x, rtol=1e-4)
