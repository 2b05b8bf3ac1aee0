"""Environments are made, or refused in words that help; what they return fits their spaces."""

import warnings

import gymnasium
import numpy as np
import pytest
from domains.world_model.toys import OBSERVATIONS, TOY, Toy

from loopverse.errors import UserError
from loopverse_world_model import environments
from loopverse_world_model.conformity import conformed
from loopverse_world_model.environments import LONGEST_EPISODE, make, make_vector, registered


@pytest.mark.parametrize(
    ("env_id", "words"),
    [
        ("CartPol-v1", "unknown environment 'CartPol-v1'; did you mean 'CartPole-v1'?"),
        ("CartPole-v9", "did you mean 'CartPole-v1'?"),
        ("Cart Pole", "Malformed environment ID"),
        ("ALE/Pong-v5", "one that another package registers is named package:Name-v0"),
        ("no_such_package:Pong-v5", "'no_such_package', which is not installed here"),
        ("domains.world_model.toys:Tou-v0", "did you mean 'Toy-v0'?"),
    ],
)
def test_an_unknown_environment_is_refused_with_what_may_be_meant(env_id: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        make(env_id)
    assert words in str(caught.value)


def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(*args: object, **kwargs: object) -> None:
        raise gymnasium.error.DependencyNotInstalled("MuJoCo is not installed, run ...")

    monkeypatch.setattr(gymnasium, "make", absent)
    monkeypatch.setattr(environments, "_missing", lambda _: True)
    with pytest.raises(UserError, match=r'it needs mujoco: pip install "loopverse\[mujoco\]"'):
        make("HalfCheetah-v5")


def test_an_argument_that_the_environment_does_not_take_is_named() -> None:
    with pytest.raises(UserError, match=r"made with \{'speed': 3\}: .*argument 'speed'$"):
        make("CartPole-v1", {"speed": 3})


def test_the_known_environments_are_the_newest_of_each_name() -> None:
    names = registered()
    assert "CartPole-v1" in names
    assert "CartPole-v0" not in names
    assert not [name for name in names if name.startswith("Gym")]


def test_an_episode_without_a_limit_is_cut_off_after_the_longest() -> None:
    env = make(TOY, {"longest": 0})
    env.reset(seed=0)
    steps = [env.step(0)[3] for _ in range(LONGEST_EPISODE)]
    assert steps.index(True) == LONGEST_EPISODE - 1


def test_a_limit_can_be_set_and_that_of_the_environment_holds_otherwise() -> None:
    assert make("CartPole-v1").get_wrapper_attr("_max_episode_steps") == 500
    assert make("CartPole-v1", max_episode_steps=7).get_wrapper_attr("_max_episode_steps") == 7


def test_rows_of_a_vector_environment_wait_to_be_reset() -> None:
    envs = make_vector(TOY, 2, {"shortest": 1, "longest": 1})
    envs.reset(seed=[0, 1])
    _, _, terminated, _, _ = envs.step(np.zeros(2, np.int64))
    assert terminated.all()
    with pytest.raises(AssertionError):
        envs.step(np.zeros(2, np.int64))


def test_less_than_one_environment_is_refused() -> None:
    with pytest.raises(UserError, match="num_envs must be at least 1, got 0"):
        make_vector(TOY, 0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"broken": "shape"}, "expected shape [3] of float32, got [2] of float32"),
        ({"space": "nested", "broken": "structure"}, "got ['other']"),
        ({"space": "nested", "broken": "category"}, "expected a member of Discrete"),
    ],
)
def test_an_observation_that_is_not_in_its_space_is_refused(
    settings: dict[str, str], words: str
) -> None:
    env = make(TOY, {**settings, "shortest": 9, "at": 1})
    env.reset(seed=0)
    with pytest.raises(UserError, match="Toy-v0' gave an observation") as caught:
        env.step(0)
    assert words in str(caught.value)


@pytest.mark.parametrize("space", OBSERVATIONS)
def test_an_observation_in_its_space_passes_as_it_is(space: str) -> None:
    env = make(TOY, {"space": space, "longest": 0})
    value, _ = env.reset(seed=0)
    assert env.observation_space.contains(value)


def test_numbers_of_another_width_are_converted_and_others_refused() -> None:
    box = OBSERVATIONS["vector"]
    assert conformed(box, np.ones(3, np.float64)).dtype == np.float32
    with pytest.raises(ValueError, match="got \\[16, 16, 3\\] of float64"):
        conformed(OBSERVATIONS["image"], np.ones((16, 16, 3)))


def test_warnings_that_mean_nothing_here_are_kept_away_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Toy, "metadata", {})  # of which Gymnasium says that rendering may fail
    make(TOY)
    with pytest.warns(DeprecationWarning, match="out of date"):
        make("CartPole-v0")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        env = make(TOY, {"longest": 0})
        env.observation_space.high[:] = -50
        env.reset(seed=0)
    assert any("not within the observation space" in str(warning.message) for warning in heard)
