"""From a configuration to a model that has seen nothing yet."""

import torch

from loopverse.errors import UserError
from loopverse.model import LoopedModel, check_strategies
from loopverse.registry import load_domain
from loopverse.training.config import TrainConfig
from loopverse.training.seeding import derive


def build_model(config: TrainConfig) -> LoopedModel:
    """A model with fresh weights, which follow from `config.seed` alone.

    Raises:
        ValueError: a domain that is not installed, or settings and strategies that cannot work.
    """
    check_strategies(
        config.core, config.schedule, config.gradient, config.halting, config.objective
    )
    if "domain" not in config.choices:
        raise UserError(
            'config.choices must name the domain, such as {"domain": "autoregressive"}: '
            "`loopverse.compose` fills it in"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, 0, "weights"))
        adapter = load_domain(config.choices["domain"])(config.domain, config.core.width)
        return LoopedModel(adapter, config.core, config.halting, config.objective)
