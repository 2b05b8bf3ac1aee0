"""`loopverse plan`: play an environment with a world model, by planning in what it imagines."""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console

from loopverse.cli import Parser, loops_number
from loopverse.errors import UserError

if TYPE_CHECKING:
    from loopverse.depth import Halting
    from loopverse.training import LoadedRun
    from loopverse_world_model.adapter import WorldModel
    from loopverse_world_model.playing_out import Score

FILE, PICTURE = "plan.json", "plan.gif"


def command(arguments: list[str]) -> int:
    """Play the real environment and say what came of it."""
    options = _parser().parse_with_settings(arguments)
    if options.episodes < 1:
        raise UserError(f"--episodes must be at least 1, got {options.episodes}")
    from loopverse.training import load, read_halting  # below the parser: these import torch
    from loopverse_world_model.planning.agent import PlanningPolicy
    from loopverse_world_model.planning.settings import read_planner
    from loopverse_world_model.playing_out import score
    from loopverse_world_model.policies import RandomPolicy

    console = Console(highlight=False)
    run = load(options.run, options.checkpoint)
    adapter = adapter_of(run, options.run)
    halting, settings = read_halting(options.settings, run.folder.path)
    planner = read_planner(settings, adapter.actions.sizes)
    env = options.env or adapter.config.env
    env_kwargs = adapter.config.env_kwargs if env == adapter.config.env else {}
    check_spaces(adapter, env, env_kwargs)
    trained = options.loops or run.config.schedule.typical()
    think_at = partial(run.model.bind, halting=halting)
    policy = PlanningPolicy(adapter, think_at, trained, planner, seed=options.seed)
    common = {"seed": options.seed, "env_kwargs": env_kwargs}
    with console.status(f"playing {env}") as status:
        done: list[float] = []

        def told(recording) -> None:
            done.append(float(recording.reward.sum()))
            status.update(f"playing {env}: {len(done)} of {options.episodes}, last {done[-1]:.1f}")

        planned = score(env, policy, options.episodes, told=told, **common)
    random = score(
        env, RandomPolicy(adapter.action_space, options.seed), options.episodes, **common
    )
    _show(console, env, planned, random)
    _keep(run, options, env, planner, halting, trained, planned, random)
    if not options.no_video:
        _picture(console, run, env, env_kwargs, planned)
    return 0


def adapter_of(run: LoadedRun, path: str) -> WorldModel:
    """The world model of a run.

    Raises:
        UserError: it is a run of another domain.
    """
    from loopverse_world_model import WorldModel

    adapter = run.model.adapter
    if not isinstance(adapter, WorldModel):
        raise UserError(
            f"{path} is a run of {type(adapter).__name__}, expected one of a world model: "
            "`loopverse train domain=world_model` makes one"
        )
    return adapter


def check_spaces(adapter: WorldModel, env_id: str, env_kwargs: dict[str, object]) -> None:
    """Refuse an environment that the model was not trained for.

    Raises:
        UserError: which of its spaces differs, and how.
    """
    from contextlib import closing

    from loopverse_world_model.environments import make

    with closing(make(env_id, env_kwargs)) as env:
        for what, own, its in (
            ("observation", adapter.observation_space, env.observation_space),
            ("action", adapter.action_space, env.action_space),
        ):
            if own != its:
                raise UserError(
                    f"{env_id} has another {what} space than the run: expected {own}, got {its}; "
                    "plan in the environment that the run was trained on, or train on this one"
                )


def _show(console: Console, env: str, planned: Score, random: Score) -> None:
    console.print(f"\n[bold]return[/] of {len(planned.returns)} episodes of {env}")
    for name, one in (("planned", planned), ("random", random)):
        spread = "" if one.mean.margin is None else f" ± {one.mean.margin:.1f}"
        worst, best = min(one.returns), max(one.returns)
        console.print(f"  {name:8} {one.mean.value:8.1f}{spread}   from {worst:.1f} to {best:.1f}")
    pace = planned.steps / planned.seconds
    console.print(
        f"  {planned.steps} steps planned in {planned.seconds:.0f} s, {pace:.0f} a second\n"
    )


def _keep(
    run: LoadedRun,
    options: argparse.Namespace,
    env: str,
    planner: object,
    halting: Halting,
    loops: int,
    planned: Score,
    random: Score,
) -> None:
    """Write `plan.json` into the run folder."""
    from loopverse.depth import rule_in_words

    found = {
        "env": env,
        "checkpoint": run.step,
        "planner": {"name": type(planner).__name__, **vars(planner)},
        "loops": loops,
        "halting": rule_in_words(halting),
        "seed": options.seed,
        "seconds": planned.seconds,
        "steps": planned.steps,
        "returns": planned.returns,
        "random_returns": random.returns,
    }
    path = run.folder.path / FILE
    path.write_text(json.dumps(found, indent=1), encoding="utf-8")


def _picture(
    console: Console, run: LoadedRun, env: str, env_kwargs: dict[str, object], planned: Score
) -> None:
    """Write an animation of the usual episode, or say why there is none."""
    from loopverse_world_model.playing_out import animation

    try:
        held = animation(env, planned.usual, env_kwargs)
    except UserError as error:
        console.print(f"no video: {error}", soft_wrap=True)
        return
    path = run.folder.path / PICTURE
    path.write_bytes(held)
    console.print(f"[bold]video[/]  {path}", soft_wrap=True)


def _parser() -> Parser:
    parser = Parser(
        "plan",
        "Play the environment of a world model by planning in what the model imagines, beside random "
        "play on the same seeds. Writes plan.json and plan.gif into the run folder.",
        {
            "loopverse plan runs/NAME": "ten episodes",
            "loopverse plan runs/NAME --episodes 3 planner=cem horizon=20": "another planner",
            "loopverse plan runs/NAME loops=2 elite_loops=8": "cheap candidates, careful elites",
            "loopverse plan runs/NAME halting=calibrated": "no loop more than a state needs, once "
            "`loopverse calibrate` has found how many that are",
        },
        settings="`planner=NAME` (icem, cem, mppi, categorical) and settings of the planner: horizon, "
        "candidates, iterations, elites, discount, loops, elite_loops, ...; `halting=NAME` and settings "
        "of the rule",
    )
    parser.add_argument("run", metavar="RUN", help="a run folder of the domain world_model")
    parser.add_argument("--episodes", metavar="N", type=int, default=10, help="episodes (10)")
    parser.add_argument("--env", metavar="ID", help="another environment with the same spaces")
    parser.add_argument(
        "--loops", metavar="N", type=loops_number, help="loops of a step (as in training)"
    )
    parser.add_argument(
        "--checkpoint", metavar="WHICH", default="best", help="best, last or a step (best)"
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of episodes and plans (0)"
    )
    parser.add_argument("--no-video", action="store_true", help="make no GIF")
    return parser
