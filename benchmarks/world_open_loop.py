"""Open-loop error against horizon on several environments, beside persistence and a linear model.

python benchmarks/world_open_loop.py --envs Pendulum-v1 Acrobot-v1 MountainCarContinuous-v0 CartPole-v1
"""

import argparse
from pathlib import Path

import torch
from once import shown
from world_runs import trained

from loopverse_world_model import WorldModel
from loopverse_world_model.evaluation.baselines import baselines
from loopverse_world_model.evaluation.open_loop import HORIZONS, open_loop

HOLD = {"Acrobot-v1": 3, "MountainCarContinuous-v0": 10}
"""Random actions are held for up to so many steps where single ones lead nowhere."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--envs", nargs="+", default=["Pendulum-v1", "Acrobot-v1"])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/world_open_loop"))
    parser.add_argument("--only-train", action="store_true", help="train, no table")
    parser.add_argument("overrides", nargs="*", help="settings of all runs")
    options = parser.parse_intermixed_args()
    for env in options.envs:
        more = [f"domain.env={env}", f"domain.hold={HOLD.get(env, 1)}", f"seed={options.seed}"]
        more += [f"training.steps={options.steps}", *options.overrides]
        run = trained(options.folder, f"{env}-{options.seed}", more)
        if options.only_train:
            continue
        adapter = run.model.adapter
        assert isinstance(adapter, WorldModel)
        with torch.no_grad():
            think = run.model.bind(run.config.schedule.typical())
            tables = {"loopverse": open_loop(adapter, think, limit=2000)}
            tables |= baselines(adapter, limit=2000)
        print(f"\n{env}\n\n| horizon | starts | " + " | ".join(tables) + " | beats both |")
        print("|---" * (len(tables) + 3) + "|")
        for horizon in HORIZONS:
            errors = {name: table.error(horizon) for name, table in tables.items()}
            found = {name: one for name, one in errors.items() if one is not None}
            if "loopverse" not in found:
                print(f"| {horizon} | 0 |" + " - |" * (len(tables) + 1))
                continue
            best = min(found, key=lambda name: found[name].value)
            cells = " | ".join(shown(one) for one in found.values())
            starts = tables["loopverse"].num_starts(horizon)
            print(f"| {horizon} | {starts} | {cells} | {'yes' if best == 'loopverse' else 'no'} |")


if __name__ == "__main__":
    main()
