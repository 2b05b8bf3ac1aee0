"""Environments of Gymnasium, made so that what is wrong with them is said in one sentence."""

from __future__ import annotations

import importlib
import importlib.util
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from loopverse.errors import UserError, unknown

if TYPE_CHECKING:
    from gymnasium import Env
    from gymnasium.vector import SyncVectorEnv

LONGEST_EPISODE = 1_000
"""Steps after which an episode is cut off where the environment itself sets no limit."""
TRIFLES = (
    "precision lowered by casting",  # of the bounds of a Box
    "maximum and minimum values are equal",  # a number that never changes is modelled like others
    "[Rr]ender",  # asked of every environment, shown or not
)
"""Warnings about an environment's declaration that change nothing of what is done here."""
EXTRAS = {"mujoco": "mujoco", "pygame": "classic"}
"""Modules that environments need, and the extra of ours that brings them."""


def make(
    env_id: str,
    env_kwargs: Mapping[str, Any] | None = None,
    *,
    max_episode_steps: int | None = None,
    render_mode: str | None = None,
) -> Env:
    """One environment, which gives what its spaces say or refuses.

    Args:
        env_id: `Name-v0`, or `package:Name-v0` for one that `package` registers when it is imported.
        env_kwargs: what it is made with.
        max_episode_steps: after which an episode is cut off; None: the environment's own limit, and
            `LONGEST_EPISODE` where it has none.
        render_mode: as Gymnasium names it.

    Raises:
        UserError: there is no such environment, it lacks a package, or it takes no such arguments.
    """
    import gymnasium
    from gymnasium.wrappers import PassiveEnvChecker, TimeLimit

    from loopverse_world_model.conformity import Conforming

    asked = dict(env_kwargs or {})
    if render_mode is not None:  # an environment that shows nothing need not know the word
        asked["render_mode"] = render_mode
    with _without_trifles(env_id), _in_our_words(env_id, asked):
        env = gymnasium.make(
            env_id,
            max_episode_steps=max_episode_steps,
            disable_env_checker=True,  # it is put outside of our own check below
            **asked,
        )
        if max_episode_steps is None and env.spec and env.spec.max_episode_steps is None:
            env = TimeLimit(env, LONGEST_EPISODE)
        return PassiveEnvChecker(Conforming(env, env_id))


def make_vector(
    env_id: str,
    num_envs: int,
    env_kwargs: Mapping[str, Any] | None = None,
    *,
    max_episode_steps: int | None = None,
) -> SyncVectorEnv:
    """Environments side by side in this process; a row whose episode ended waits to be reset.

    Nothing resets itself, because every episode is begun with a seed of its own.

    Raises:
        UserError: as `make`, or `num_envs` is below 1.
    """
    from gymnasium.vector import AutoresetMode, SyncVectorEnv

    if num_envs < 1:
        raise UserError(f"num_envs must be at least 1, got {num_envs}")

    def build() -> Env:
        return make(env_id, env_kwargs, max_episode_steps=max_episode_steps)

    return SyncVectorEnv([build] * num_envs, autoreset_mode=AutoresetMode.DISABLED)


def registered() -> list[str]:
    """The newest version of every environment that is registered, without those that wrap old ones."""
    import gymnasium

    newest: dict[str, tuple[int, str]] = {}
    for env_id, spec in gymnasium.registry.items():
        name, version = f"{spec.namespace}/{spec.name}", spec.version or 0
        if version >= newest.get(name, (0, ""))[0] and not spec.name.startswith("GymV"):
            newest[name] = (version, env_id)
    return sorted(env_id for _, env_id in newest.values())


def maker_of(env_id: str) -> str:
    """What an environment is registered to be made by; empty where that is not known yet."""
    import gymnasium

    spec = gymnasium.registry.get(env_id.rpartition(":")[2])
    return str(spec.entry_point) if spec else ""


@contextmanager
def _without_trifles(env_id: str) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        for trifle in TRIFLES:
            warnings.filterwarnings("ignore", f".*{trifle}", UserWarning)
        if "mujoco" in maker_of(env_id) and not _missing("mujoco"):
            stack.enter_context(_hearing_mujoco())
        yield


@contextmanager
def _hearing_mujoco() -> Iterator[None]:
    """Take what MuJoCo says of a model while it is compiled.

    By itself it writes to the terminal and into a file in the working folder, for every copy of the
    environment; that Gymnasium's models use an attribute that is to go is nothing to a user.
    """
    mujoco = importlib.import_module("mujoco")  # whose types do not know these functions
    said: list[str] = []
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(said.append)
    try:
        yield
    finally:
        mujoco.set_mju_user_warning(before)
    for text in said:
        if "deprecated" not in text:
            warnings.warn(f"MuJoCo: {text}", stacklevel=2)


@contextmanager
def _in_our_words(env_id: str, env_kwargs: Mapping[str, Any]) -> Iterator[None]:
    """Turn what Gymnasium raises while an environment is made into what a user can do."""
    from gymnasium import error

    module, _, name = env_id.rpartition(":")
    if module and _missing(module.partition(".")[0]):
        raise UserError(
            f"the environment {env_id!r} is to be registered by the package {module!r}, which is not "
            "installed here: install it, or leave out what is before the colon"
        )
    try:
        yield
    except (error.UnregisteredEnv, error.DeprecatedEnv) as problem:
        raise unknown(
            "environment",
            name,
            registered(),
            "one that another package registers is named package:Name-v0",
        ) from problem
    except (ImportError, error.Error) as problem:
        raise _lacks(env_id, problem) from problem
    except TypeError as problem:
        if "unexpected keyword argument" not in str(problem):
            raise
        said = _plain(problem).partition(" was raised from")[0]
        raise UserError(
            f"the environment {env_id!r} cannot be made with {dict(env_kwargs)}: {said}"
        ) from problem


def _lacks(env_id: str, problem: Exception) -> UserError:
    text = _plain(problem)
    for module, extra in EXTRAS.items():
        if re.search(rf"\b{module}\b", text, re.IGNORECASE) and _missing(module):
            text = f'it needs {module}: pip install "loopverse[{extra}]"'
    return UserError(f"the environment {env_id!r} cannot be made: {text}")


def _missing(module: str) -> bool:
    return importlib.util.find_spec(module) is None


def _plain(problem: Exception) -> str:
    """The text of an error without colours, as the end of a sentence of ours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", str(problem)).strip().rstrip(".")
