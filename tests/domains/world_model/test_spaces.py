"""Spaces: their leaves, their text, values in and out."""

import numpy as np
import pytest
from domains.world_model.toys import ACTIONS, OBSERVATIONS
from gymnasium import spaces

from loopverse_world_model.spaces import (
    flatten,
    leaves_of,
    space_from_json,
    space_to_json,
    unflatten,
)

ALL = [*OBSERVATIONS.values(), *ACTIONS.values(), spaces.Box(-np.inf, np.inf, (2, 3), np.float64)]


@pytest.mark.parametrize("space", ALL, ids=str)
def test_a_space_is_the_same_after_its_text(space: spaces.Space) -> None:
    assert space_from_json(space_to_json(space)) == space


@pytest.mark.parametrize("space", ALL, ids=str)
def test_a_value_comes_back_from_its_leaves(space: spaces.Space) -> None:
    space.seed(0)
    value = space.sample()
    leaves = flatten(space, value)
    assert list(leaves) == [leaf.path for leaf in leaves_of(space, "observation")]
    back = flatten(space, unflatten(space, leaves))
    assert all(np.array_equal(leaves[path], back[path]) for path in leaves)


def test_leaves_say_what_they_are() -> None:
    nested = {leaf.path: leaf for leaf in leaves_of(OBSERVATIONS["nested"], "observation")}
    assert list(nested) == ["a/b", "arm.0", "arm.1", "bits", "cards"]
    assert nested["arm.0"].kind == "categories"
    assert nested["arm.0"].start == 1
    assert nested["cards"].sizes == (2, 3, 4)
    assert nested["arm.1"].low == (-9.0,)
    (image,) = leaves_of(OBSERVATIONS["image"], "observation")
    assert image.kind == "image"
    assert len({leaf.name for leaf in nested.values()}) == 5


def test_names_of_modules_are_different_where_paths_are() -> None:
    space = spaces.Dict({"a.b": spaces.Discrete(2), "a%2Eb": spaces.Discrete(2)})
    assert len({leaf.name for leaf in leaves_of(space, "observation")}) == 2


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Text(5), "cannot model the observation space Text"),
        (spaces.Dict({"a": spaces.Sequence(spaces.Discrete(2))}), "at 'a'"),
        (spaces.Discrete(10_000), "has 10000 categories, expected at most 4096"),
        (spaces.Dict({}), "called nothing"),
        (
            spaces.Dict({"a.b": spaces.Discrete(2), "a": spaces.Dict({"b": spaces.Discrete(2)})}),
            "all different",
        ),
    ],
)
def test_a_space_that_cannot_be_modelled_is_refused(space: spaces.Space, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        leaves_of(space, "observation")


def test_text_that_is_no_space_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot read a space from 'Box"):
        space_from_json("Box(3,)")
