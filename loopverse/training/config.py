"""The whole configuration of a run: its schema, the strategies to choose from, its two files."""

import operator
import typing
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from loopverse import depth, nn
from loopverse.depth import Halting, LoopGradient, LoopObjective, LoopSchedule
from loopverse.errors import UserError, unknown
from loopverse.nn import CoreConfig
from loopverse.registry import load_domain
from loopverse.training.files import write_text
from loopverse.training.optim import AdamW, Muon, Optimizer
from loopverse.training.rate import Cosine, Rate, Trapezoid
from loopverse.training.settings import TrainingSettings

GROUPS: dict[str, dict[str, type]] = {
    "core/injection": {
        "none": nn.NoInjection,
        "add": nn.Add,
        "concat": nn.Concat,
        "retention": nn.Retention,
        "retention_residual": nn.RetentionResidual,
        "scaled": nn.Scaled,
    },
    "core/init": {"zeros": nn.Zeros, "normal": nn.Normal, "embed": nn.Embed},
    "schedule": {
        "constant": depth.Constant,
        "uniform": depth.Uniform,
        "inverse_cost": depth.InverseCost,
        "poisson": depth.Poisson,
        "lognormal_poisson": depth.LognormalPoisson,
        "ramp": depth.Ramp,
    },
    "gradient": {
        "full": depth.Full,
        "truncated": depth.Truncated,
        "checkpointed": depth.Checkpointed,
        "phantom": depth.Phantom,
        "one_step": depth.OneStep,
        "implicit": depth.Implicit,
    },
    "halting": depth.RULES,
    "objective": {
        "final": depth.Final,
        "every": depth.Every,
        "expected": depth.Expected,
        "gate_distillation": depth.GateDistillation,
        "ponder": depth.Pondered,
        "expert_routing": depth.ExpertRouting,
        "token_routing": depth.TokenRouting,
    },
    "optimizer": {"adamw": AdamW, "muon": Muon},
    "rate": {"cosine": Cosine, "trapezoid": Trapezoid},
}
"""Every strategy by the name it is chosen with: group -> option -> class."""


@dataclass
class TrainConfig:
    """Everything that decides what a run computes. `loopverse.compose([...])` makes one.

    Attributes:
        domain: what is learned: the `Config` of a domain adapter.
        core: the looped network.
        schedule: how many loops a training step gets.
        gradient: how to differentiate through them.
        halting: when to stop early.
        objective: which loops are supervised.
        optimizer: how a gradient changes the weights.
        rate: how the learning rate moves over the run.
        training: how long, in what portions, how carefully.
        seed: all randomness of the run follows from it.
        name: the run folder's name; empty: made of the choices and the time.
        runs: the folder that run folders are put in.
        choices: which option of every group was picked. Composition fills it in.
    """

    domain: Any = MISSING
    core: CoreConfig = field(default_factory=CoreConfig)
    schedule: LoopSchedule = MISSING
    gradient: LoopGradient = MISSING
    halting: Halting = MISSING
    objective: LoopObjective = MISSING
    optimizer: Optimizer = MISSING
    rate: Rate = MISSING
    training: TrainingSettings = field(default_factory=TrainingSettings)
    seed: int = 0
    name: str = ""
    runs: str = "runs"
    choices: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [group for group in GROUPS if _strategy(self, group) == MISSING]
        missing += ["domain"] if self.domain == MISSING else []
        if missing:
            raise ValueError(
                f"TrainConfig needs {', '.join(missing)}: pass them, or start from "
                "loopverse.compose() and change what it returns"
            )
        self.core.check()
        _restore_tuples(self)
        self.choices = {**self.choices, **strategy_names(self)}


END = "...\n"
"""What YAML ends a document with: a `config.yaml` that has it was not cut short."""


def strategy_names(config: TrainConfig) -> dict[str, str]:
    """The option of every group that a configuration holds now; a class in no group has none."""
    names = {}
    for group, options in GROUPS.items():
        named = {kind: name for name, kind in options.items()}
        kind = type(_strategy(config, group))
        if kind in named:
            names[group] = named[kind]
    return names


def save_config(config: TrainConfig, folder: Path) -> None:
    """Write `config.yaml`, every value, and `choices.yaml`, every type, into a run folder.

    Raises:
        ValueError: a strategy that is in no group, which nothing could load again.
    """
    names = strategy_names(config)
    if unnamed := GROUPS.keys() - names.keys():
        group = min(unnamed)
        raise UserError(
            f"{group} {type(_strategy(config, group)).__name__} has no name to load it by: add it "
            f'to loopverse.training.config.GROUPS["{group}"]'
        )
    values = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(values, dict)
    del values["choices"]
    choices = OmegaConf.create({**config.choices, **names})
    write_text(folder / "choices.yaml", OmegaConf.to_yaml(choices))
    write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(values)) + END)


def load_config(folder: Path) -> TrainConfig:
    """The configuration that `save_config` wrote, by this version of Loopverse or by one before it.

    A setting that the run is too old to have is at its default, by which a run does what it did before there was
    the setting; a warning names it.

    Raises:
        ValueError: files that are missing, cut short, or have what this version does not know.
    """
    choices = _read(folder / "choices.yaml")
    values = _read(folder / "config.yaml")
    schema = OmegaConf.structured(TrainConfig)
    for group, options in GROUPS.items():
        node = OmegaConf.structured(_pick(group, options, choices, folder))
        OmegaConf.update(schema, group.replace("/", "."), node)
    schema.domain = OmegaConf.structured(load_domain(_named("domain", choices, folder)).Config)
    absent = list(_absent(schema, values))
    if absent and not (folder / "config.yaml").read_text(encoding="utf-8").endswith(END):
        raise UserError(
            f"{folder / 'config.yaml'} has no {absent[0]}: it was cut short, or is of another version "
            "of Loopverse"
        )
    try:
        config = OmegaConf.to_object(OmegaConf.merge(schema, values, {"choices": choices}))
    except OmegaConfBaseException as error:
        raise UserError(
            f"{folder / 'config.yaml'} does not fit this version of Loopverse: "
            f"{str(error).splitlines()[0]}"
        ) from error
    assert isinstance(config, TrainConfig)
    for name in absent:
        value = OmegaConf.select(schema, name)
        warnings.warn(
            f"{folder / 'config.yaml'} is older than {name}: taken as {value}", stacklevel=2
        )
    return config


def _strategy(config: TrainConfig, group: str) -> Any:
    return operator.attrgetter(group.replace("/", "."))(config)


def _restore_tuples(settings: Any) -> None:
    """Make tuples of the lists that OmegaConf makes of tuples."""
    hints = typing.get_type_hints(type(settings))
    for item in fields(settings):
        value = getattr(settings, item.name)
        if is_dataclass(value):
            _restore_tuples(value)
        elif isinstance(value, list) and typing.get_origin(hints[item.name]) is tuple:
            setattr(settings, item.name, tuple(value))


def _read(path: Path) -> dict[str, Any]:
    try:
        values = OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UserError(f"{path.parent} is not a run folder: it has no {path.name}") from error
    except Exception as error:
        raise UserError(f"{path} is damaged and cannot be read as YAML") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} is damaged: expected settings, got {type(values).__name__}")
    return {str(key): value for key, value in values.items()}


def _absent(schema: DictConfig, values: Any, path: str = "") -> Iterator[str]:
    """The settings of `schema` that `values` do not have."""
    for name in schema:
        full, node = f"{path}{name}", schema._get_node(name)
        if full == "choices":
            continue
        if not isinstance(values, dict) or name not in values:
            yield full
        elif isinstance(node, DictConfig) and is_dataclass(OmegaConf.get_type(node)):
            yield from _absent(node, values[name], f"{full}.")


def _named(group: str, choices: dict[str, Any], folder: Path) -> str:
    if group not in choices:
        raise UserError(f"{folder / 'choices.yaml'} does not say which {group} was chosen")
    return str(choices[group])


def _pick(group: str, options: dict[str, type], choices: dict[str, Any], folder: Path) -> type:
    name = _named(group, choices, folder)
    if name not in options:
        raise unknown(group, name, options, f"chosen in {folder / 'choices.yaml'}")
    return options[name]
