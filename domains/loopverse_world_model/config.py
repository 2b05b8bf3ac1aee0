"""Settings of the world-model domain."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHOICES = {
    "predict": ("change", "value"),
    "imagine": ("latent", "decoded", "markov"),
    "decode": ("every", "deferred"),
}


@dataclass
class WorldModelConfig:
    """Settings of the world model.

    Attributes:
        env: an environment of Gymnasium, `Name-v0` or `package:Name-v0`.
        env_kwargs: what it is made with.
        data: a folder to learn from instead of playing: collected episodes, `.npz` or HDF5 in Minari's
            layout; empty: episodes are collected from `env` and kept in the cache.
        policy: who plays while collecting: `random`, or `module:function` of your own.
        hold: steps for which a random action is held; longer explores farther.
        transitions: how many to collect.
        num_envs: environments that play side by side; the data are the same for any number.
        data_seed: of the episodes.
        episodes: use only the first so many; 0: all there are.
        held_out: share of the episodes that is kept for evaluation, at least one.
        context: observed steps at the beginning of a window, at least 1.
        horizon: steps from the last observation on, of which all but the first are imagined.
        growth: batches after which the horizon of training grows by one, from 1; 0: it does not grow.
        pad: windows may run past the end of an episode, where nothing counts; false refuses episodes
            that are shorter than a window.
        decode: `every` step has a loss on what is decoded, or only the last (`deferred`).
        latent_weight: of the distance between imagined and observed features, with `deferred`.
        smooth_weight: of the length of the path of states beyond `smooth_limit`, with `deferred`.
        smooth_limit: length per step, in root mean square of the state, that is free.
        predict: the `change` since the last observation, in units of the data's, or the `value`.
        imagine: beside the action, a step reads what the step before it `decoded` and the state it left,
            or the state alone (`latent`), or what it decoded alone (`markov`), for environments that
            show all there is: nothing is carried from step to step, so that `horizon=1` is enough.
        symlog: model the symlog of numbers and rewards.
        beta: how far uncertain numbers keep their say in training, from 0 (the likelihood, in which they
            are hardly learned) to 1 (the squared error).
        end_weight: how often it counts in training whether an episode goes on. Ends are rare, and what
            they depend on may matter to nothing else, such as where a cart runs off its track.
        value_steps: learn the return of the next so many steps, as episodes of the data went on, which
            planners add to the end of a plan; 0: do not.
        tokens: units of the state of one environment step.
        observation_space: filled in: what is observed, so that a model loads without its environment.
        action_space: filled in: what can be done.
    """

    env: str = "Pendulum-v1"
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    policy: str = "random"
    hold: int = 1
    transitions: int = 10_000
    num_envs: int = 8
    data_seed: int = 0
    episodes: int = 0
    held_out: float = 0.1
    context: int = 1
    horizon: int = 10
    growth: int = 0
    pad: bool = True
    decode: str = "every"
    latent_weight: float = 0.1
    smooth_weight: float = 0.01
    smooth_limit: float = 1.0
    predict: str = "change"
    imagine: str = "decoded"
    symlog: bool = False
    beta: float = 0.5
    end_weight: float = 10.0
    value_steps: int = 0
    tokens: int = 1
    observation_space: str = ""
    action_space: str = ""

    def __post_init__(self) -> None:
        for name, options in CHOICES.items():
            if getattr(self, name) not in options:
                raise ValueError(
                    f"domain.{name} must be {' or '.join(options)}, got {getattr(self, name)}"
                )
        if self.decode == "deferred" and self.imagine != "latent":
            raise ValueError(
                f"domain.decode=deferred decodes the last step only, and domain.imagine={self.imagine} "
                "reads what every step decodes: choose domain.imagine=latent with it"
            )
        if self.imagine == "markov" and self.context > 1:
            raise ValueError(
                "domain.imagine=markov remembers nothing of a step but what it observed last, so it needs "
                f"domain.context=1, got {self.context}: choose domain.imagine=decoded to read more of them"
            )
        if self.value_steps and self.imagine == "latent":
            raise ValueError(
                f"domain.value_steps={self.value_steps} values what a step decoded, and domain.imagine=latent "
                "decodes nothing: choose domain.imagine=decoded or markov with it"
            )
        for name in ("hold", "transitions", "num_envs", "context", "horizon", "tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"domain.{name} must be at least 1, got {getattr(self, name)}")
        for name in (
            "episodes",
            "growth",
            "latent_weight",
            "smooth_weight",
            "smooth_limit",
            "end_weight",
            "value_steps",
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"domain.{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.beta <= 1:
            raise ValueError(f"domain.beta must be in [0, 1], got {self.beta}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"domain.held_out must be between 0 and 1, got {self.held_out}")
        if self.data:  # a run is resumed and evaluated from other folders
            self.data = str(Path(self.data).expanduser().absolute())
        if not (self.observation_space and self.action_space):
            from loopverse_world_model.sources import spaces_of  # it imports gymnasium

            self.observation_space, self.action_space = spaces_of(self)
