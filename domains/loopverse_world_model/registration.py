"""`loopverse/World-v0`, made known to Gymnasium without importing it: now, or once somebody does."""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

WORLD = "loopverse/World-v0"
PACKAGE = "loopverse_world_model.environment"
HOME = "gymnasium.envs.registration"
"""Where Gymnasium keeps what can be made."""


def register_world() -> None:
    """Have `gymnasium.make(WORLD, run=...)` and `make_vec` find their way, whichever is imported first.

    Gymnasium looks for environments of other packages nowhere (its plug-ins went with version 1.0), so
    they are there once their package is imported. Ours must not cost the second that importing
    Gymnasium takes when nobody wants an environment.
    """
    if HOME in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, _Waiting())


def _register() -> None:
    from gymnasium.envs import registration

    if WORLD not in registration.registry:
        registration.register(
            WORLD,
            entry_point=f"{PACKAGE}:LoopedWorldEnv",
            vector_entry_point=f"{PACKAGE}:LoopedWorldVectorEnv",
        )


class _Waiting(MetaPathFinder):
    """Finds one module, once, as it would be found without it, and has it loaded with a sequel."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != HOME:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Registering(spec.loader)
        return spec


class _Registering(Loader):
    """Loads as another loader does, then registers."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        _register()
