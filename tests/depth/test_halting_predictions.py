"""Rules on predictions: any distribution of torch, those of the domains, and who has none."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    LogNormal,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from loopverse.depth import Active, Confidence, FixedPoint, Halting, LoopPlan, PredictionKL, iterate
from loopverse.text import TokenDistribution
from loopverse_world_model.prediction import TransitionDistribution, categories, normal


def transition(z: Tensor) -> TransitionDistribution:
    """Two numbers and a category of three, from seven channels."""
    outputs = {"numbers": z[..., :4], "kind": z[..., 4:]}
    return TransitionDistribution(
        {"numbers": normal(outputs["numbers"]), "kind": categories(outputs["kind"], (3,))}, outputs
    )


READERS = {
    "tokens": TokenDistribution,
    "categories": lambda z: Categorical(logits=z, validate_args=False),
    "bits": lambda z: Independent(Bernoulli(logits=z), 1),
    "numbers": lambda z: Independent(Normal(z[..., :3], z[..., 3:6].exp()), 1),
    "full": lambda z: MultivariateNormal(z[..., :2], torch.eye(2) * z[..., 2:3].exp()[..., None]),
    "transformed": lambda z: LogNormal(z[..., 0], z[..., 1].exp()),
    "transition": transition,
}


class Counted:
    """A reader that counts what it is asked."""

    def __init__(self, name: str) -> None:
        self.read, self.count = READERS[name], 0

    def __call__(self, z: Tensor) -> Distribution:
        self.count += 1
        return self.read(z)


def path(loops: int = 5, shrinking: float = 0.2) -> Tensor:
    """States `[loops 2 3 7]` that come to rest, each unit at its own pace."""
    rng = torch.Generator().manual_seed(0)
    end = torch.randn(2, 3, 7, generator=rng)
    pace = torch.rand(2, 3, 1, generator=rng) * 0.5 + shrinking
    away = torch.randn(2, 3, 7, generator=rng)
    return torch.stack([end + pace**i * away for i in range(loops + 1)])


@pytest.mark.parametrize("name", READERS)
def test_divergence_is_that_of_the_predictions_after_two_loops(name: str) -> None:
    states, read = path(), READERS[name]
    divergences = torch.stack([kl_divergence(read(z), read(y)) for y, z in pairwise(states[1:])])
    middle = float(divergences.median())
    rule, memory = PredictionKL(middle), {}
    for i, (before, after) in enumerate(pairwise(states)):
        memory, stops = rule.update(memory, before, after, i, read, None)
        expected = torch.zeros(2, 3, dtype=torch.bool) if i == 0 else divergences[i - 1] < middle
        assert torch.equal(stops, expected), i
        assert all(value.shape[:2] == (2, 3) for value in memory.values())


@pytest.mark.parametrize("name", READERS)
def test_each_loop_reads_one_prediction_where_a_distribution_can_be_remembered(name: str) -> None:
    states, read = path(), Counted(name)
    rule, memory = PredictionKL(), {}
    for i, (before, after) in enumerate(pairwise(states)):
        memory, _ = rule.update(memory, before, after, i, read, None)
    again = name == "transformed"  # keeps its parameters in a transform too
    assert read.count == (5 + 4 if again else 5)
    assert bool(memory) is not again


def test_a_doubtful_unit_goes_on_however_steady_its_prediction() -> None:
    sure, doubtful = [9.0, 0.0], [0.0, 0.0]
    z = torch.tensor([[sure, doubtful]])
    for bound, expected in ((None, [True, True]), (0.5, [True, False]), (0.69, [True, False])):
        rule = PredictionKL(max_entropy=bound)
        memory, _ = rule.update({}, z, z, 0, TokenDistribution, None)
        _, stops = rule.update(memory, z, z, 1, TokenDistribution, None)
        assert stops[0].tolist() == expected


def certain(rule: Confidence, read, z: Tensor) -> list[bool]:
    return rule.update({}, z, z, 0, read, None)[1][0].tolist()


def test_the_margin_is_between_the_two_most_likely_categories() -> None:
    z = torch.tensor([[[0.6, 0.3, 0.1], [0.5, 0.25, 0.25]]]).log()
    assert certain(Confidence(0.29), TokenDistribution, z) == [True, False]
    assert certain(Confidence(0.24), TokenDistribution, z) == [True, True]
    assert certain(Confidence(0.31), TokenDistribution, z) == [False, False]


def test_the_least_certain_of_several_categories_counts() -> None:
    z = torch.tensor([[[0.9, 0.7], [0.9, 0.05]]]).logit()  # margins 0.8 and 0.4, 0.8 and 0.9
    assert certain(Confidence(0.5), READERS["bits"], z) == [False, True]
    four = torch.tensor([[[0.9, 0.1, 0.6, 0.4]]]).log()
    pair = lambda z: categories(z, (2, 2))  # noqa: E731  a reader for this line only
    assert certain(Confidence(0.19), pair, four) == [True]
    assert certain(Confidence(0.21), pair, four) == [False]


def test_entropy_is_in_nats_and_of_any_prediction() -> None:
    z = torch.tensor([[[0.5, 0.5], [0.9, 0.1]]]).log()
    entropies = [math.log(2), -0.9 * math.log(0.9) - 0.1 * math.log(0.1)]
    rule = Confidence(sum(entropies) / 2, measure="entropy")
    assert certain(rule, TokenDistribution, z) == [False, True]
    states = path()[0]
    entropy = transition(states).entropy()
    rule = Confidence(float(entropy.median()), measure="entropy")
    _, stops = rule.update({}, states, states, 0, transition, None)
    assert torch.equal(stops, entropy <= entropy.median())


@pytest.mark.parametrize(
    ("never", "always"),
    [
        (PredictionKL(1e-30), PredictionKL(1e30)),
        (PredictionKL(1e30, max_entropy=-1e30), PredictionKL(1e30, max_entropy=1e30)),
        (Confidence(1.0), Confidence(1e-30)),
        (Confidence(-1.0, "entropy"), Confidence(1e30, "entropy")),
    ],
)
def test_bounds_out_of_reach_never_and_always_fire(never: Halting, always: Halting) -> None:
    states = path()

    def step(z: Tensor, i: int, active: Active | None) -> Tensor:
        return states[i + 1] if active is None else states[i + 1][active.rows]

    for rule, fires in ((never, False), (always, True)):
        result = iterate(
            step, states[0], LoopPlan(5, halting=rule), read=lambda z, _: TokenDistribution(z)
        )
        first = 2 if isinstance(rule, PredictionKL) else 1
        assert (result.converged == fires).all()
        assert (result.depth == (first if fires else 5)).all()


class Nameless(Distribution):
    """A distribution that can do nothing."""

    def __init__(self, z: Tensor) -> None:
        self.z = z
        super().__init__(z.shape[:-1], validate_args=False)


@pytest.mark.parametrize(
    ("rule", "read", "message"),
    [
        (PredictionKL(), None, "PredictionKL looks at predictions and nothing here predicts"),
        (Confidence(), None, "Confidence looks at predictions and nothing here predicts"),
        (PredictionKL(), Nameless, "divergence of two Nameless and none is registered"),
        (PredictionKL(max_entropy=1), lambda z: TokenDistribution(z[:, :1]), "one for each unit"),
        (Confidence(1, "entropy"), Nameless, "entropy of Nameless is not implemented"),
        (Confidence(), transition, "needs categories and this domain predicts TransitionDistr"),
        (Confidence(), lambda z: TokenDistribution(z[:, :1]), r"shape \[2, 3\], .* \[2, 1\]"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(rule: Halting, read, message: str) -> None:
    z = torch.zeros(2, 3, 7)
    assert rule.reads
    assert not FixedPoint().reads
    with pytest.raises(ValueError, match=message) as refused:
        rule.update({}, z, z, 1, read, None)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PredictionKL(0), "halting.tolerance must be above 0, got 0"),
        (lambda: Confidence(measure="odds"), 'must be "margin" or "entropy", got "odds"'),
        (lambda: Confidence(0), r"halting.threshold must be in \(0, 1\] for a margin, got 0"),
        (lambda: Confidence(2), r"halting.threshold must be in \(0, 1\] for a margin, got 2"),
    ],
)
def test_impossible_rules_are_refused_by_name(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
