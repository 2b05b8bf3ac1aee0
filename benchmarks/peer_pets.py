"""How fast a probabilistic-ensemble planner learns: PETS of mbrl-lib, with the settings of its tutorial.

Beside `loopverse solve`. mbrl-lib pins a Hydra that Python 3.11 cannot load, so it has an environment of its own:

    python3 -m venv pets && pets/bin/pip install mbrl==0.2.0 && pets/bin/pip install "hydra-core>=1.3"
    OMP_NUM_THREADS=1 pets/bin/python benchmarks/peer_pets.py cartpole --seeds 0 1 2
    OMP_NUM_THREADS=1 pets/bin/python benchmarks/peer_pets.py pendulum --seeds 0 1 2

`cartpole` is mbrl-lib's, of continuous pushes and trials of 200 steps, in which the planner is given the
true reward and the true ends. `pendulum` is Pendulum-v1, and the reward is learned. A seed is over when
the mean of its last `--window` trials reaches the target, or after `--trials`.
"""

# mbrl-lib is in an environment of its own, and not in ours:
# pyright: reportMissingImports=false

import argparse
import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
import mbrl.env.cartpole_continuous
import mbrl.env.reward_fns
import mbrl.env.termination_fns
import mbrl.models
import mbrl.planning
import mbrl.util.common
import numpy as np
import torch
from omegaconf import OmegaConf

SETTINGS: dict[str, dict[str, Any]] = {
    "cartpole": {"learned_rewards": False, "target": 195.0},
    "pendulum": {"learned_rewards": True, "target": -200.0},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=sorted(SETTINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--window", type=int, default=1)
    options = parser.parse_args()
    print("| seed | steps | wall s | CPU s | returns of the trials |\n|---|---|---|---|---|")
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            steps, wall, cpu, returns = _learn(
                options.task, seed, options.trials, options.window, Path(folder)
            )
        said = ", ".join(f"{one:.0f}" for one in returns)
        print(f"| {seed} | {steps} | {wall:.0f} | {cpu:.0f} | {said} |", flush=True)


def _learn(
    task: str, seed: int, trials: int, window: int, folder: Path
) -> tuple[int, float, float, list[float]]:
    """Steps, seconds and returns until the target is reached."""
    settings = SETTINGS[task]
    np.random.seed(seed)  # noqa: NPY002 - which mbrl-lib draws from
    torch.manual_seed(seed)
    env = _env(task)
    env.reset(seed=seed)
    env.action_space.seed(seed)
    cfg = _config(settings["learned_rewards"])
    shapes = env.observation_space.shape, env.action_space.shape
    model = mbrl.util.common.create_one_dim_tr_model(cfg, *shapes)
    replay = mbrl.util.common.create_replay_buffer(
        cfg, *shapes, rng=np.random.default_rng(seed), obs_type=np.double,
        action_type=np.double, reward_type=np.double,
    )  # fmt: skip
    ends, reward = mbrl.env.termination_fns.no_termination, None
    if task == "cartpole":
        ends, reward = mbrl.env.termination_fns.cartpole, mbrl.env.reward_fns.cartpole
    imagined = mbrl.models.ModelEnv(
        env, model, ends, reward, generator=torch.Generator().manual_seed(seed)
    )
    agent = mbrl.planning.create_trajectory_optim_agent_for_model(
        imagined, cfg.algorithm.agent, num_particles=20
    )
    trainer = mbrl.models.ModelTrainer(model, optim_lr=1e-3, weight_decay=5e-5)
    began, worked = time.perf_counter(), time.process_time()
    random = mbrl.planning.RandomAgent(env)
    mbrl.util.common.rollout_agent_trajectories(env, 200, random, {}, replay_buffer=replay)
    returns: list[float] = []
    planned = 0
    while len(returns) < trials and not _reached(returns, window, settings["target"]):
        observation, _ = env.reset()
        agent.reset()
        with contextlib.redirect_stdout(io.StringIO()):
            mbrl.util.common.train_model_and_save_model_and_data(
                model, trainer, cfg.overrides, replay, work_dir=folder
            )
        total, over = 0.0, False
        while not over:
            stepped = mbrl.util.common.step_env_and_add_to_buffer(
                env, observation, agent, {}, replay
            )
            observation, gained, terminated, truncated, _ = stepped
            total, planned, over = total + float(gained), planned + 1, terminated or truncated
        returns.append(total)
        spent = time.perf_counter() - began
        print(f"trial {len(returns)}: {total:.0f} after {spent:.0f} s", file=sys.stderr, flush=True)
    wall, cpu = time.perf_counter() - began, time.process_time() - worked
    return 200 + planned, wall, cpu, returns


def _reached(returns: list[float], window: int, target: float) -> bool:
    return len(returns) >= window and float(np.mean(returns[-window:])) >= target


def _env(task: str) -> Any:
    if task == "pendulum":
        return gymnasium.make("Pendulum-v1")
    return gymnasium.wrappers.TimeLimit(mbrl.env.cartpole_continuous.CartPoleEnv(), 200)


def _config(learned_rewards: bool) -> Any:
    """Those of mbrl-lib's tutorial on PETS and CartPole, `notebooks/pets_example.ipynb`."""
    return OmegaConf.create(
        {
            "device": "cpu",
            "dynamics_model": {
                "_target_": "mbrl.models.GaussianMLP",
                "_recursive_": False,  # as in the Hydra that it pins
                "device": "cpu",
                "num_layers": 3,
                "in_size": "???",
                "out_size": "???",
                "ensemble_size": 5,
                "hid_size": 200,
                "deterministic": False,
                "propagation_method": "fixed_model",
                "activation_fn_cfg": {"_target_": "torch.nn.LeakyReLU", "negative_slope": 0.01},
            },
            "algorithm": {
                "normalize": True,
                "normalize_double_precision": True,
                "target_is_delta": True,
                "learned_rewards": learned_rewards,
                "agent": {
                    "_target_": "mbrl.planning.TrajectoryOptimizerAgent",
                    "_recursive_": False,
                    "action_lb": "???",
                    "action_ub": "???",
                    "planning_horizon": 15,
                    "replan_freq": 1,
                    "verbose": False,
                    "optimizer_cfg": {
                        "_target_": "mbrl.planning.CEMOptimizer",
                        "num_iterations": 5,
                        "elite_ratio": 0.1,
                        "population_size": 500,
                        "alpha": 0.1,
                        "lower_bound": "???",
                        "upper_bound": "???",
                        "return_mean_elites": True,
                        "clipped_normal": False,
                        "device": "cpu",
                    },
                },
            },
            "overrides": {
                "trial_length": 200,
                "num_steps": 5000,
                "model_batch_size": 32,
                "validation_ratio": 0.05,
                "patience": 50,
                "num_epochs_train_model": 50,
            },
        }
    )


if __name__ == "__main__":
    main()
