"""Checks of what a domain says about itself: settings, construction, headline metric."""

import builtins
import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import is_dataclass
from typing import Any
from unittest import mock

import torchmetrics
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from loopverse.domain import DomainAdapter
from loopverse.testing.bench import Bench
from loopverse.testing.checking import check
from loopverse.testing.failure import CheckFailure, expect


@check()
def config_is_a_dataclass_with_defaults(bench: Bench) -> None:
    """`Config` is a dataclass that needs no arguments and that Hydra can read as a schema."""
    config = getattr(bench.adapter_class, "Config", None)
    expect(
        isinstance(config, type) and is_dataclass(config),
        "a class attribute Config that is a dataclass",
        f"Config = {config!r}",
        "write `Config = MyConfig` in the adapter, and @dataclass above MyConfig",
    )
    assert isinstance(config, type)
    try:
        defaults = config()
    except TypeError as error:
        raise CheckFailure(
            f"{config.__name__}() to work",
            str(error),
            "give every field a default that runs on a laptop",
        ) from error
    try:
        read = OmegaConf.to_object(OmegaConf.structured(defaults))
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        raise CheckFailure(
            f"a {config.__name__} that Hydra can read",
            " ".join(str(error).split()),
            "use int, float, bool, str, Path, enums, lists, dicts and dataclasses; "
            "Literal, Callable and unions of classes are refused",
        ) from error
    expect(
        read == defaults,
        f"{config.__name__} to come back from Hydra as it was",
        f"{read} for {defaults}",
        "compute derived values in properties, not in fields that __post_init__ changes",
    )


@check(config_is_a_dataclass_with_defaults)
def adapter_is_built_from_its_config_and_a_width(bench: Bench) -> None:
    """The class is a `DomainAdapter` and its constructor takes `(config, width)`."""
    kind = bench.adapter_class
    expect(
        isinstance(kind, type) and issubclass(kind, DomainAdapter),
        "a subclass of loopverse.DomainAdapter",
        repr(kind),
        "derive from it; the entry point names the class, not an instance",
    )
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    expect(
        not missing,
        "batches, embed, predict and loss",
        f"no {', '.join(missing)}",
        "write them; the docstrings of DomainAdapter say what they must do",
    )
    adapter = bench.adapter()
    known = getattr(adapter, "config", None), getattr(adapter, "width", None)
    expect(
        known == (bench.config, bench.width),
        "the adapter to know its config and width",
        f"config {known[0]!r} and width {known[1]!r}",
        "call super().__init__(config, width) first in the constructor",
    )


@check(adapter_is_built_from_its_config_and_a_width)
def constructor_opens_no_data(bench: Bench) -> None:
    """Constructing reads no file, so that a trained model loads where its data is not."""
    bench.adapter()  # imports, and what they read, are done once this returns
    with _watched_files() as opened:
        bench.adapter()
    expect(
        not opened,
        "a constructor that reads no file",
        f"one that reads {', '.join(opened[:3])}",
        "open data in batches; what use needs besides weights goes through save_assets",
    )


@check(adapter_is_built_from_its_config_and_a_width)
def metric_is_declared_and_lower_is_better(bench: Bench) -> None:
    """`metric` names one of the fresh torchmetrics that `metrics()` makes, and lower is better."""
    name = getattr(bench.adapter_class, "metric", None)
    expect(
        isinstance(name, str) and name.isidentifier(),
        "a class attribute metric that is a name",
        f"metric = {name!r}",
        'write, say, `metric = "nats_per_value"`: what it measures and in which unit',
    )
    assert isinstance(name, str)
    adapter = bench.adapter()
    metrics, again = adapter.metrics(), adapter.metrics()
    expect(
        name in metrics,
        f"metrics() to hold the headline metric {name!r}",
        ", ".join(metrics) or "nothing",
        "return it there under that very name",
    )
    strange = [key for key, value in metrics.items() if not isinstance(value, torchmetrics.Metric)]
    expect(
        not strange,
        "torchmetrics",
        ", ".join(f"{key} = {metrics[key]!r}" for key in strange),
        "wrap it, for instance in torchmetrics.MeanMetric; sums over processes come with it",
    )
    shared = [key for key in metrics if metrics[key] is again[key]]
    expect(
        not shared,
        "fresh metrics from every call of metrics()",
        f"the same object twice for {', '.join(shared)}",
        "make them in metrics(), not in the constructor: evaluations must not add up",
    )
    expect(
        metrics[name].higher_is_better is not True,
        "a headline metric of which less is better",
        f"{name} = {type(metrics[name]).__name__}, of which more is better",
        "report an error instead of an accuracy, or a negative log-likelihood",
    )


@contextmanager
def _watched_files() -> Iterator[list[str]]:
    """Collects the paths of files that Python code opens or lists within it."""
    seen: list[str] = []

    def watching(call: Any) -> Any:
        def watched(*arguments: Any, **options: Any) -> Any:
            seen.append(str(arguments[0]) if arguments else "a file")
            return call(*arguments, **options)

        return watched

    with ExitStack() as stack:
        for home, name in (
            *((builtins, "open"), (io, "open")),
            *((os, "open"), (os, "listdir"), (os, "scandir")),
        ):
            stack.enter_context(mock.patch.object(home, name, watching(getattr(home, name))))
        yield seen
