"""`loopverse solve`: collect, train and plan in turn, from nothing, until an environment is solved."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from loopverse.cli import Parser
from loopverse.errors import UserError

if TYPE_CHECKING:
    from loopverse_world_model.planning.agent import PlanningPolicy
    from loopverse_world_model.replay import Replay

PLAN, PROGRESS, REPLAY = "solve.json", "progress.jsonl", "replay"
USUAL = (
    "training.batch_size=256",
    "training.trackers=[]",
    "training.log_every=50",
    "training.valid_batches=4",
    "domain.imagine=markov",
    "domain.horizon=3",
    "domain.end_weight=100",
    "schedule=constant",
    "core.loops=2",
    "optimizer.lr=0.003",
)
"""Settings of training where it is little and often; what is given on the line replaces them."""


@dataclass
class Plan:
    """What was asked for; it is kept in the folder, so that a killed one goes on as it began.

    Attributes:
        env: the environment.
        target: mean return to reach.
        iterations: rounds at most.
        start: random steps before the first one.
        collect: planned episodes of each round.
        steps: of training in a round.
        episodes: of an evaluation.
        noise: of the actions while collecting.
        seed: of everything.
        words: settings of training and of the planner.
    """

    env: str
    target: float
    iterations: int
    start: int
    collect: int
    steps: int
    episodes: int
    noise: float
    seed: int
    words: list[str] = field(default_factory=list)


def command(arguments: list[str]) -> int:
    """Solve an environment, or go on solving it."""
    options = _parser().parse_with_settings(arguments)
    console = Console(highlight=False)
    if (Path(options.env) / PLAN).exists():
        folder = Path(options.env)
        plan = Plan(**json.loads((folder / PLAN).read_text(encoding="utf-8")))
    else:
        names = list(Plan.__dataclass_fields__)
        plan = Plan(**{n: getattr(options, n if n != "words" else "settings") for n in names})
        _check(plan)
        stem = plan.env.replace("/", "-").replace(":", "-")
        folder = Path(
            options.runs, options.name or f"solve-{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
        )
        if folder.exists():
            raise UserError(
                f"{folder} is there already: name another, or go on with it by its path"
            )
        folder.mkdir(parents=True)
        (folder / PLAN).write_text(json.dumps(asdict(plan), indent=1), encoding="utf-8")
    try:
        rows = _Rounds(plan, folder, console).go_on()
    except KeyboardInterrupt:
        line = f"loopverse solve {quote(str(folder))}"
        console.print(
            f"stopped; what is finished is kept, and this goes on:\n  {escape(line)}",
            soft_wrap=True,
        )
        raise
    _show(console, plan, folder, rows)
    return 0


def _check(plan: Plan) -> None:
    from loopverse_world_model.environments import make

    for name in ("iterations", "start", "collect", "steps", "episodes"):
        if getattr(plan, name) < 1:
            raise UserError(f"--{name} must be at least 1, got {getattr(plan, name)}")
    make(plan.env).close()


class _Rounds:
    """Rounds of a plan, each of which leaves a line behind it when it is done."""

    def __init__(self, plan: Plan, folder: Path, console: Console) -> None:
        from loopverse_world_model.planning.settings import is_planning

        self.plan, self.folder, self.console = plan, folder, console
        self.planning = [word for word in plan.words if is_planning(word)]
        self.training = [word for word in plan.words if not is_planning(word)]

    def go_on(self) -> list[dict[str, Any]]:
        """Do what is left to do; returns the lines of all rounds."""
        plan, path = self.plan, self.folder / PROGRESS
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        rows = [json.loads(line) for line in lines]
        while len(rows) < plan.iterations and not (rows and rows[-1]["solved"]):
            row = self._round(len(rows), rows[-1] if rows else None)
            rows.append(row)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            self.console.print(_line(row))
        return rows

    def _round(self, number: int, before: dict[str, Any] | None) -> dict[str, Any]:
        """Collect, by planning in what the round before learned; judge that, or learn from more.

        The time of a round is that of collecting and training. Only a planner whose collected episodes
        reach the target, or the last one, is played for the score.
        """
        plan, began, worked = self.plan, time.perf_counter(), time.process_time()
        replay = self._collected(number, before)
        returns = [one.total for one in replay.episodes[before["episodes"] if before else 0 :]]
        mean = sum(returns) / len(returns)
        reached = before is not None and mean >= plan.target
        last = number == plan.iterations - 1
        if not (reached or last):
            self._train(number, replay)
        spent = {
            "seconds": time.perf_counter() - began,
            "cpu_seconds": time.process_time() - worked,
        }
        row: dict[str, Any] = {
            "round": number,
            "episodes": replay.num_episodes,
            "steps": replay.num_transitions,
            "return": mean,
            "solved": False,
            **{name: value + (before[name] if before else 0.0) for name, value in spent.items()},
        }
        if before is not None and (reached or last):
            row["returns"] = self._played(number - 1)
            row["solved"] = sum(row["returns"]) / len(row["returns"]) >= plan.target
            if not (row["solved"] or last):
                self._train(number, replay)
        return row

    def _collected(self, number: int, before: dict[str, Any] | None) -> Replay:
        from loopverse_world_model.collection import collect
        from loopverse_world_model.environments import make
        from loopverse_world_model.policies import RandomPolicy

        plan, folder = self.plan, self.folder / REPLAY
        if before is None:
            env = make(plan.env)
            policy = RandomPolicy(env.action_space, plan.seed)
            env.close()
            return collect(folder, plan.env, policy, steps=plan.start, num_envs=1, seed=plan.seed)
        return collect(
            folder,
            plan.env,
            self._agent(number - 1, plan.noise),
            episodes=before["episodes"] + plan.collect,
            num_envs=plan.collect,
            seed=plan.seed,
        )

    def _played(self, number: int) -> list[float]:
        """Returns of some episodes for the score, planned in what a round learned."""
        from loopverse_world_model.playing_out import score

        plan = self.plan
        agent = self._agent(number, noise=0.0)
        return score(plan.env, agent, plan.episodes, seed=plan.seed + 1_000_003).returns

    def _train(self, number: int, replay: Replay) -> None:
        from loopverse import compose
        from loopverse.training import RunFolder, train

        run = self.folder / self._name(number)
        if (run / "config.yaml").exists():  # killed on the way
            folder = RunFolder.open(run)
            if folder.summary is None:
                train(run=folder)
            return
        plan, words = self.plan, list(USUAL)
        words += [f"training.steps={plan.steps}", f"seed={plan.seed}"]
        words += [
            f"training.{name}={plan.steps}" for name in ("evaluate_every", "checkpoint_every")
        ]
        words += [f"domain.env={plan.env}", f"domain.data={self.folder.absolute() / REPLAY}"]
        words += [f"domain.episodes={replay.num_episodes}"]
        words += [f"runs={self.folder}", f"name={self._name(number)}"]
        if number:
            words.append(f"training.start_from={self.folder / self._name(number - 1)}")
        train(compose(["domain=world_model", *words, *self.training]))

    def _agent(self, number: int, noise: float) -> PlanningPolicy:
        from loopverse.training import load
        from loopverse_world_model.commands.plan import adapter_of
        from loopverse_world_model.planning.agent import PlanningPolicy
        from loopverse_world_model.planning.settings import read_planner

        path = str(self.folder / self._name(number))
        run = load(path, "last")
        adapter = adapter_of(run, path)
        planner = read_planner(self.planning, adapter.actions.sizes)
        return PlanningPolicy(
            adapter,
            run.model.bind,
            run.config.schedule.typical(),
            planner,
            seed=self.plan.seed,
            noise=noise,
            name=f"planner of {self._name(number)}",
        )

    def _name(self, number: int) -> str:
        return f"round-{number:02d}"


def _line(row: dict[str, Any]) -> str:
    """A round in words."""
    who = "random" if row["round"] == 0 else "planned"
    said = f"round {row['round']}: {row['steps']} steps, {who} return {row['return']:.1f}, "
    said += f"{row['seconds']:.0f} s"
    if "returns" in row:
        said += f"; {len(row['returns'])} episodes for the score: "
        said += f"{sum(row['returns']) / len(row['returns']):.1f}"
    return said


def _show(console: Console, plan: Plan, folder: Path, rows: list[dict[str, Any]]) -> None:
    last = rows[-1]
    if last["solved"]:
        console.print(
            f"\nreached a mean return of {plan.target:g} in {plan.env} after {last['steps']} steps of the "
            f"environment and {last['seconds']:.0f} s of collecting and training"
        )
    else:
        console.print(f"\nnot reached: a mean return of {plan.target:g} in {plan.env}")
    console.print(
        f"Episodes for the score are not among the steps. Everything is in {folder}", soft_wrap=True
    )


def _parser() -> Parser:
    parser = Parser(
        "solve",
        "Learn to act in an environment from nothing: play at random, train a world model, plan in what it "
        "imagines to play more, and again, until the target is reached. Give the folder to go on.",
        {
            "loopverse solve CartPole-v1 --target 475 domain.value_steps=50": "until the pole stays up",
            "loopverse solve Pendulum-v1 --target -200 --iterations 12": "twelve rounds at most",
            "loopverse solve runs/solve-CartPole-v1-...": "go on after a kill",
        },
        settings="settings of training (core.loops=4, optimizer.lr=0.002) and of the planner (planner=cem, "
        "horizon=20, candidates=128)",
    )
    parser.add_argument("env", metavar="ENV", help="an environment, or the folder of a former call")
    parser.add_argument(
        "--target", metavar="R", type=float, default=float("inf"), help="mean return to reach"
    )
    parser.add_argument(
        "--iterations", metavar="N", type=int, default=20, help="rounds at most (20)"
    )
    parser.add_argument(
        "--start", metavar="N", type=int, default=200, help="random steps first (200)"
    )
    parser.add_argument(
        "--collect", metavar="N", type=int, default=1, help="episodes of a round (1)"
    )
    parser.add_argument(
        "--steps", metavar="N", type=int, default=400, help="of training in a round (400)"
    )
    parser.add_argument("--episodes", metavar="N", type=int, default=5, help="of an evaluation (5)")
    parser.add_argument("--noise", metavar="X", type=float, default=0.0, help="of the actions (0)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="of everything (0)")
    parser.add_argument("--name", metavar="NAME", default="", help="of the folder")
    parser.add_argument(
        "--runs", metavar="PATH", default="runs", help="where folders are put (runs)"
    )
    return parser
