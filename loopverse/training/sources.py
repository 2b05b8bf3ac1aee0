"""Where Hydra finds our settings: the dataclasses themselves, and the `configs/` of every package."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from loopverse import registry
from loopverse.training.config import GROUPS, TrainConfig

HYDRA_VERSION = "1.3"
MAIN_FILE = "train"
_SCHEMA = "schema"


class DataclassSource(ConfigSource):
    """Offers `schedule/poisson`, `domain/NAME` and so on, straight from the dataclasses.

    The same lies under `schema/`, so that a YAML file of the same name can start from it:
    `defaults: [/schema/schedule/poisson@_here_]`. A domain's module is imported when it is chosen,
    and no other.
    """

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        options = {f"{group}/{name}" for group, names in GROUPS.items() for name in names}
        options |= {f"domain/{name}" for name in registry.domain_entry_points()}
        self._paths = options | {f"{_SCHEMA}/{path}" for path in (*options, "train")}

    @staticmethod
    def scheme() -> str:
        return "loopverse"

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        return any(path.startswith(config_path.rstrip("/") + "/") for path in self._paths)

    def is_config(self, config_path: str) -> bool:
        return config_path.removesuffix(".yaml") in self._paths

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        parent = f"{config_path.rstrip('/')}/" if config_path else ""
        below = {
            path[len(parent) :].split("/")[0] for path in self._paths if path.startswith(parent)
        }
        names: list[str] = []
        for name in sorted(below - {_SCHEMA}):
            self._list_add_result(names, parent + name, name, results_filter)
        return names

    def load_config(self, config_path: str) -> ConfigResult:
        path = config_path.removesuffix(".yaml")
        node = OmegaConf.structured(_dataclass(path.removeprefix(f"{_SCHEMA}/")))
        return ConfigResult(
            provider=self.provider,
            path=f"{self.scheme()}://{path}",
            config=node,
            header={"package": None},
        )


class PackageConfigs(SearchPathPlugin):
    """Adds the dataclasses, and the `configs/` folder of every package that brings a domain."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for name, folder in domain_folders().items():
            search_path.append(f"domain-{name}", f"file://{folder}")
        search_path.append("loopverse", f"{DataclassSource.scheme()}://")


def config_folder() -> Path:
    """The `configs/` folder: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def domain_folders() -> dict[str, Path]:
    """The `configs/` folders that domain packages ship, by domain. Imports none of them."""
    folders = {}
    for entry in registry.domain_entry_points().values():
        spec = importlib.util.find_spec(entry.module.split(".")[0])
        for location in (spec.submodule_search_locations or []) if spec else []:
            if (Path(location) / "configs").is_dir():
                folders[entry.name] = Path(location) / "configs"
    return folders


def composed(overrides: Sequence[str]) -> DictConfig:
    """`configs/train.yaml` under overrides, as Hydra composes it, its own node `hydra` included."""
    with _own_hydra():
        return hydra.compose(MAIN_FILE, list(overrides), return_hydra_config=True)


def group_options(group: str = "") -> list[str]:
    """The options of a group; without an argument, all groups."""
    if not group:
        return ["domain", "core", "size", *GROUPS]
    with _own_hydra():
        return GlobalHydra.instance().config_loader().get_group_options(group, ObjectType.CONFIG)


def register() -> None:
    """Make all of it known to Hydra, and two words for settings files; twice does no harm.

    `${half:n}` is half of a number, rounded up; `${either:a,b}` is `b` where `a` is empty.
    """
    for plugin in (DataclassSource, PackageConfigs):
        Plugins.instance().register(plugin)
    OmegaConf.register_new_resolver("half", lambda number: -(-int(number) // 2), replace=True)
    OmegaConf.register_new_resolver("either", lambda first, second: first or second, replace=True)


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Hydra over our settings; also inside a job, where another Hydra is at work already."""
    register()
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(config_folder()), version_base=HYDRA_VERSION):
            yield
    finally:
        GlobalHydra.instance().hydra = outer


def _dataclass(path: str) -> type:
    if path == "train":
        return TrainConfig
    group, _, name = path.rpartition("/")
    return registry.load_domain(name).Config if group == "domain" else GROUPS[group][name]
