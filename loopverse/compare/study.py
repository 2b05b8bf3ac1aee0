"""What is compared: the settings of a study, and the arms, seeds and words that they come to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from loopverse import registry
from loopverse.errors import UserError, unknown
from loopverse.training.sources import config_folder, group_options

BUDGETS = ("data", "flops", "seconds")
TIE = 0.01
"""Share of the metric by which one try must be better than another to be told from it."""
OWN = "own"
"""A core or a size that is not said: the domain's own."""


@dataclass
class Study:
    """A grid of models, each with its controls, trained alike.

    Attributes:
        domains: what is learned; null: every installed domain.
        cores: choices of the group `core`; `own` is that of the domain's settings.
        sizes: choices of the group `size`, likewise.
        loops: numbers of loops of one tied layer; 1 is the control of equal parameters.
        untied: numbers of loops that own a layer each: controls of equal FLOPs and, together, the sizes that
            equivalent parameters are read off.
        drawn: mean numbers of loops of a tied layer, drawn anew at every step of the training.
        seeds: of all arms.
        budget: what all arms get alike. "data": as many steps; "flops": as many training FLOPs as the arm
            without loops in that many steps; "seconds": as much time as that one.
        rates: learning rates that are tried for every arm, as multiples of the domain's own.
        tries: steps of a try, as a share of the steps.
        settings: of all runs, as they are typed after `loopverse train`.
        domain_settings: more of them, by domain.
    """

    domains: list[str] | None = None
    cores: list[str] = field(default_factory=lambda: [OWN])
    sizes: list[str] = field(default_factory=lambda: [OWN])
    loops: list[int] = field(default_factory=lambda: [1, 2, 4])
    untied: list[int] = field(default_factory=lambda: [2, 4])
    drawn: list[int] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0, 1])
    budget: str = "data"
    rates: list[float] = field(default_factory=lambda: [1.0])
    tries: float = 0.25
    settings: list[str] = field(default_factory=list)
    domain_settings: dict[str, list[str]] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse what cannot be compared.

        Raises:
            ValueError: in one sentence.
        """
        if self.budget not in BUDGETS:
            raise unknown("budget", self.budget, BUDGETS)
        for name in ("cores", "sizes", "seeds", "rates"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UserError(f"{name} must name at least one, each once, got {values}")
        for name in ("loops", "untied", "drawn"):
            values = getattr(self, name)
            if any(number < 1 for number in values) or len(set(values)) < len(values):
                raise UserError(f"{name} must be numbers above 0, each once, got {values}")
        if 1 not in self.loops:
            raise UserError(
                f"loops must hold 1, the control of equal parameters, got {self.loops}: add it"
            )
        lacking = {*self.loops, *self.drawn} - {1} - set(self.untied)
        if lacking:
            raise UserError(
                f"untied must hold the control of equal FLOPs for every number of loops, and "
                f"{_listed(lacking)} {'is' if len(lacking) == 1 else 'are'} missing: add to untied"
            )
        if any(rate <= 0 for rate in self.rates) or not 0 < self.tries <= 1:
            raise UserError(
                f"rates must be above 0 and tries above 0 and at most 1, got {self.rates} and {self.tries}"
            )
        for word in self.settings + [w for words in self.domain_settings.values() for w in words]:
            key = word.partition("=")[0].lstrip("+~")
            if key in TAKEN:
                raise UserError(f"a study decides {key} itself, got {word}: {TAKEN[key]}")
        for name in self.domain_settings:
            if name not in registry.domain_entry_points():
                raise unknown("domain", name, registry.domain_entry_points())

    def groups(self) -> list[Group]:
        """What is compared among itself: the same domain, core and size.

        Raises:
            ValueError: a domain that is not installed, or a core or size that does not exist.
        """
        installed = registry.domain_entry_points()
        domains = list(installed) if self.domains is None else self.domains
        for name in domains:
            if name not in installed:
                raise unknown("domain", name, installed)
        for group, names in (("core", self.cores), ("size", self.sizes)):
            for name in names:
                if name != OWN and name not in (known := group_options(group)):
                    raise unknown(group, name, [OWN, *known])
        return [
            Group(domain, core, size)
            for domain in domains
            for core in self.cores
            for size in self.sizes
        ]

    def arms(self) -> list[Arm]:
        """The arms of every group, the control of equal parameters first."""
        tied = [Arm("tied", loops) for loops in sorted(self.loops)]
        untied = [Arm("untied", loops) for loops in sorted(self.untied) if loops > 1]
        return [*tied, *untied, *(Arm("drawn", loops) for loops in sorted(self.drawn))]

    def words(self, group: Group, arm: Arm) -> list[str]:
        """What is typed after `loopverse train` for an arm, but for seed, rate and steps."""
        return [
            f"domain={group.domain}",
            *([] if group.core == OWN else [f"core={group.core}"]),
            *([] if group.size == OWN else [f"size={group.size}"]),
            *self.settings,
            *self.domain_settings.get(group.domain, []),
            *arm.words,
        ]


TAKEN = {
    "domain": "use domains",
    "core": "use cores",
    "size": "use sizes",
    "core.loops": "use loops, untied and drawn",
    "core.tied": "use untied",
    "schedule": "use loops and drawn",
    "seed": "use seeds",
    "name": "folders are named by what is in them",
    "runs": "use --folder",
    "optimizer.lr": "use rates",
}
"""Settings of a run that follow from those of the study, and what to use instead."""


@dataclass(frozen=True)
class Group:
    """A domain, a core and a size: what is compared among itself."""

    domain: str
    core: str = OWN
    size: str = OWN

    def __str__(self) -> str:
        return " ".join([self.domain, *(name for name in (self.core, self.size) if name != OWN)])


@dataclass(frozen=True)
class Arm:
    """A kind of depth and how much of it.

    Attributes:
        kind: "tied": one layer, looped; "untied": a layer for each loop; "drawn": tied, with a number of
            loops drawn at every training step.
        loops: how many; the mean where they are drawn.
    """

    kind: str
    loops: int

    @property
    def words(self) -> list[str]:
        """The settings that make the difference."""
        schedule = "poisson" if self.kind == "drawn" else "constant"
        tied = [] if self.kind != "untied" else ["core.tied=false"]
        return [f"core.loops={self.loops}", f"schedule={schedule}", *tied]

    def __str__(self) -> str:
        if self.loops == 1:
            return "1 loop"
        return (
            f"{self.loops} loops"
            + {"tied": "", "untied": ", untied", "drawn": ", drawn"}[self.kind]
        )


def read_study(name: str, changes: Sequence[str] = ()) -> Study:
    """A study of `configs/study/`, or of a YAML file of one's own, with `KEY=VALUE` changes.

    Raises:
        ValueError: no such study, a setting that it does not have, or a value that it refuses.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = config_folder() / "study" / f"{name}.yaml"
        if not path.exists():
            raise unknown(
                "study", name, studies(), "a study of your own is the path of a .yaml file"
            )
    if not path.exists():
        raise UserError(f"there is no study {path}")
    try:
        study = OmegaConf.structured(Study)
        read = OmegaConf.load(path)
        _check_names(OmegaConf.to_container(read), f"{path.name}")
        typed = OmegaConf.from_dotlist(list(changes))
        _check_names(OmegaConf.to_container(typed), "a study")
        found = OmegaConf.to_object(OmegaConf.merge(study, read, typed))
    except (OmegaConfBaseException, OSError) as error:
        where = getattr(error, "full_key", None)
        said = str(error).splitlines()[0]
        raise UserError(f"study {name}: {f'{where}: ' if where else ''}{said}") from error
    except YAMLError as error:
        raise UserError(f"{path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    assert isinstance(found, Study)
    found.check()
    return found


def studies() -> list[str]:
    """Names of the studies in `configs/study/`."""
    return sorted(path.stem for path in (config_folder() / "study").glob("*.yaml"))


def as_yaml(study: Study) -> str:
    """The study as a file that `read_study` reads."""
    return OmegaConf.to_yaml(OmegaConf.create(asdict(study)))


def pairs(study: Study) -> Iterator[tuple[Group, Arm]]:
    """Every arm of every group."""
    for group in study.groups():
        for arm in study.arms():
            yield group, arm


def _check_names(read: Any, where: str) -> None:
    if read is None:
        return
    if not isinstance(read, dict):
        raise UserError(f"{where} must hold settings, KEY: VALUE, got {read!r}")
    known = [item.name for item in fields(Study)]
    for name in read:
        if name not in known:
            raise unknown(f"setting of {where}", str(name), known)


def _listed(numbers: set[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers))
