"""Replays in the cache, each found again by all that it depends on."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from loopverse.errors import UserError
from loopverse.text import cache_root
from loopverse_world_model.collection import collect
from loopverse_world_model.environments import make, maker_of
from loopverse_world_model.index import FORMAT, SPACES
from loopverse_world_model.policies import policy_of, text_of
from loopverse_world_model.replay import Replay

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger("loopverse.world_model")


def kept(key: str, whole: Callable[[Replay], bool], fill: Callable[[Path], None]) -> Replay:
    """The replay that `fill` makes, from the cache if it is there and whole.

    Of two processes that ask at once, one fills and both read. What a kill left half done is filled on;
    what a disk damaged is made anew.

    Args:
        key: all that the contents depend on.
        whole: whether nothing is missing.
        fill: puts what is missing into a folder.

    Raises:
        UserError: the cache cannot be written, or what `fill` raises.
    """
    shelf = cache_root() / "replays"
    folder = shelf / hashlib.sha256(f"{FORMAT} {key}".encode()).hexdigest()[:32]
    lock = FileLock(folder.with_suffix(".lock"))
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise UserError(
            f"cannot write the cache {shelf}: {(error.strerror or str(error)).lower()}; "
            "set LOOPVERSE_CACHE to a folder with space where you may write"
        ) from error
    try:
        replay = _open(folder)
        if replay is None or not whole(replay):
            fill(folder)
            replay = Replay.open(folder)
        return replay
    finally:
        lock.release()


def _open(folder: Path) -> Replay | None:
    if not (folder / SPACES).exists():
        return None
    try:
        return Replay.open(folder)
    except UserError as error:
        log.warning("%s; making it anew", error)
        shutil.rmtree(folder)
        return None


def collected(
    env_id: str,
    *,
    steps: int,
    env_kwargs: Mapping[str, Any] | None = None,
    policy: str = "random",
    repeat: int = 1,
    num_envs: int = 8,
    seed: int = 0,
    max_episode_steps: int | None = None,
    console: Console | None = None,
) -> Replay:
    """Episodes of an environment, played on the spot if they are not in the cache.

    Args:
        env_id: as in `make`.
        steps: transitions, at least.
        env_kwargs: what the environment is made with.
        policy: `random`, or `module:function`.
        repeat: steps that a random action is held for, at most.
        num_envs: how many play side by side; the episodes are the same for any number.
        seed: of the episodes.
        max_episode_steps: after which an episode is cut off; None: as in `make`.
        console: where to show progress; None: nowhere.

    Raises:
        UserError: as `collect` and `policy_of`, or the cache cannot be written.
    """
    settings = {
        "environment": [env_id, dict(env_kwargs or {}), max_episode_steps],
        "policy": [policy, text_of(policy), repeat],
        "steps": steps,
        "seed": seed,
        "versions": _versions(env_id),
    }

    def fill(folder: Path) -> None:
        env = make(env_id, env_kwargs, max_episode_steps=max_episode_steps)
        spaces = env.observation_space, env.action_space
        env.close()
        collect(
            folder,
            env_id,
            policy_of(policy, *spaces, seed=seed, repeat=repeat),
            steps=steps,
            num_envs=num_envs,
            seed=seed,
            env_kwargs=env_kwargs,
            max_episode_steps=max_episode_steps,
            console=console,
        )

    key = json.dumps(settings, sort_keys=True, default=repr)
    return kept(key, lambda replay: replay.num_transitions >= steps, fill)


def _versions(env_id: str) -> dict[str, str]:
    """Of the packages that decide what an environment does."""
    module, maker = env_id.rpartition(":")[0], maker_of(env_id)
    packages = {"gymnasium", module.partition(".")[0], maker.partition(":")[0].partition(".")[0]}
    if "mujoco" in maker:
        packages.add("mujoco")
    return {package: found for package in packages if (found := _version(package))}


def _version(package: str) -> str:
    try:
        return metadata.version(package) if package else ""
    except metadata.PackageNotFoundError:  # a module of the user's
        return ""
