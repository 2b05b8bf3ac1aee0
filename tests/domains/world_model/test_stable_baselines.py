"""An agent of a well-known library, trained in an imagined world alone, then let into the real one."""

import importlib
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from loopverse.training import RunFolder, train
from loopverse.training.compose import compose
from loopverse_world_model.environment import LoopedWorldEnv

ENVIRONMENT = "CartPole-v1"
IMAGINED_STEPS = 16_000
EPISODES = 20


def world(tmp_path: Path) -> RunFolder:
    """A small model of a cart and its pole, as random actions show them."""
    overrides = [
        *("domain=world_model", f"domain.env={ENVIRONMENT}", "domain.transitions=6000"),
        *("domain.horizon=10", "core.width=32", "core.loops=2", "schedule=constant"),
        *("training.steps=400", "training.batch_size=64", "training.precision=fp32"),
        *("training.trackers=[]", f"runs={tmp_path}", "name=world"),
    ]
    return train(compose(overrides)).folder


def returns(act: Any) -> np.ndarray:
    """Of episodes in the real environment."""
    env, found = gymnasium.make(ENVIRONMENT), []
    for seed in range(EPISODES):
        observation, _ = env.reset(seed=1000 + seed)
        total, over = 0.0, False
        while not over:
            observation, reward, ended, cut, _ = env.step(act(observation))
            total, over = total + float(reward), ended or cut
        found.append(total)
    env.close()
    return np.array(found)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_an_agent_trained_in_imagination_does_better_in_reality_than_chance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agents = pytest.importorskip("stable_baselines3")
    building = importlib.import_module("stable_baselines3.common.env_util")
    torch.set_num_threads(1)
    folder = world(tmp_path)
    worlds = building.make_vec_env(
        LoopedWorldEnv,
        n_envs=4,
        seed=0,
        env_kwargs={"run": folder.path, "max_steps": 200, "lanes": 1},
    )
    agent = agents.PPO(
        "MlpPolicy", worlds, n_steps=256, batch_size=256, learning_rate=1e-3, gamma=0.98, seed=0
    )
    agent.learn(IMAGINED_STEPS)
    rng = np.random.default_rng(0)
    trained = returns(lambda seen: int(agent.predict(seen, deterministic=True)[0]))
    chance = returns(lambda _: int(rng.integers(2)))
    with capsys.disabled():
        print(
            f"\n{ENVIRONMENT}, return of {EPISODES} episodes: PPO after {IMAGINED_STEPS} imagined steps "
            f"{trained.mean():.0f} ± {trained.std():.0f}, random {chance.mean():.0f} ± {chance.std():.0f} "
            "(standard deviations)"
        )
    assert trained.mean() > 3 * chance.mean()
