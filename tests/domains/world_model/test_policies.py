"""Who acts: the same in an episode whatever is played beside it."""

import numpy as np
import pytest
from domains.world_model.toys import ACTIONS, OBSERVATIONS

from loopverse.errors import UserError
from loopverse_world_model.policies import (
    Policy,
    RandomPolicy,
    Rows,
    Scripted,
    policy_of,
    text_of,
)

TOYS = "domains.world_model.toys"


def actions_of(policy: Policy, episodes: list[int], steps: int) -> np.ndarray:
    """What a policy does in episodes that begin together, `[steps n ...]`."""
    memory, seen, chosen = None, np.zeros((len(episodes), 3), np.float32), []
    for step in range(steps):
        rows = Rows(np.array(episodes), np.full(len(episodes), step))
        actions, memory = policy.act(seen, rows, memory)
        chosen.append(actions)
    return np.stack(chosen)


@pytest.mark.parametrize("space", ACTIONS)
@pytest.mark.parametrize("repeat", [1, 4])
def test_random_actions_follow_from_seed_and_episode_only(space: str, repeat: int) -> None:
    policy = RandomPolicy(ACTIONS[space], 7, repeat)
    together = actions_of(policy, [5, 2, 9], 20)
    alone = actions_of(RandomPolicy(ACTIONS[space], 7, repeat), [2], 20)
    assert (together[:, 1] == alone[:, 0]).all()
    assert (together[:, 0] != together[:, 1]).any()
    assert (actions_of(RandomPolicy(ACTIONS[space], 8, repeat), [2], 20) != alone).any()
    assert all(ACTIONS[space].contains(action) for action in together[:, 0])


def test_a_row_that_begins_another_episode_forgets_the_one_before() -> None:
    policy = RandomPolicy(ACTIONS["box"], 0, 3)
    seen = np.zeros((1, 3), np.float32)
    memory = None
    for step in (0, 1, 2):
        _, memory = policy.act(seen, Rows(np.array([4]), np.array([step])), memory)
    later, _ = policy.act(seen, Rows(np.array([6]), np.array([0])), memory)
    assert (later == actions_of(policy, [6], 1)[0]).all()


def test_held_actions_last_up_to_so_many_steps() -> None:
    chosen = actions_of(RandomPolicy(ACTIONS["box"], 0, 4), [0], 400)[:, 0, 0]
    (changes,) = np.nonzero(np.diff(chosen))
    runs = np.diff(changes)
    assert set(runs) == {1, 2, 3, 4}
    assert abs(runs.mean() - 2.5) < 0.3
    assert RandomPolicy(ACTIONS["box"], 0, 4).name == "random, held up to 4 steps"


def test_actions_cannot_be_held_for_no_time() -> None:
    with pytest.raises(UserError, match="at least 1 step, got 0"):
        RandomPolicy(ACTIONS["box"], 0, 0)


def test_a_function_acts_with_a_generator_of_each_episode() -> None:
    spaces = OBSERVATIONS["vector"], ACTIONS["discrete"]
    policy = policy_of(f"{TOYS}:to_the_right", *spaces, seed=3)
    together = actions_of(policy, [0, 1, 2], 30)
    assert (together[:, 1] == actions_of(policy, [1], 30)[:, 0]).all()
    assert (together[:, 0] != together[:, 1]).any()
    assert together.dtype == np.int64
    assert policy.name == f"{TOYS}:to_the_right"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("randm", "a policy is `random` or module:function"),
        ("no_such_module:act", "cannot be imported: No module named 'no_such_module'"),
        (f"{TOYS}:no_such", "has no function 'no_such'"),
        (f"{TOYS}:unasked", r"function\(observation, rng\) -> action; it takes \(observation"),
    ],
)
def test_what_is_no_policy_is_refused(source: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Scripted(source, OBSERVATIONS["vector"], ACTIONS["discrete"], 0)


def test_an_action_outside_its_space_is_refused() -> None:
    policy = Scripted(f"{TOYS}:outside", OBSERVATIONS["vector"], ACTIONS["discrete"], 0)
    with pytest.raises(
        UserError, match=r"outside' returned 7, expected an action of Discrete\(3\)"
    ):
        actions_of(policy, [0], 1)


def test_a_policy_is_told_apart_by_its_text() -> None:
    assert text_of("random") == ""
    assert "def to_the_right" in text_of(f"{TOYS}:to_the_right")
