"""The moving average of the weights."""

import torch
from torch import nn

from loopverse.training.ema import Average


def test_the_average_is_the_weighted_sum_of_all_weights_there_were() -> None:
    model = nn.Linear(3, 2)
    average = Average(model, decay=0.8)
    expected = model.weight.detach().clone()
    for step in range(30):
        with torch.no_grad():
            model.weight.add_(torch.randn_like(model.weight))
        average.update(step)
        decay = min(0.8, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(average.weights["weight"], expected)


def test_inside_in_place_the_model_computes_with_the_average_and_outside_with_its_own() -> None:
    model = nn.Linear(3, 2)
    average = Average(model, decay=0.5)
    start = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)
    own = model.weight.detach().clone()
    with average.in_place():
        assert torch.equal(model.weight, start)
    assert torch.equal(model.weight, own)
    assert torch.equal(average.weights["weight"], start)


def test_settling_leaves_the_average_in_the_model() -> None:
    model = nn.Linear(3, 2)
    average = Average(model, decay=0.5)
    start = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)
    average.settle()
    assert torch.equal(model.weight, start)
