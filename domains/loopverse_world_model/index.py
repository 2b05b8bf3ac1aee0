"""What a replay says of itself on disk: its spaces, and a line for each episode that is whole.

    spaces.json       what is observed and what can be done
    episodes.jsonl    one line for each episode
    records/          a flat file of numbers for each column, a record for each observation

A line of the index is written after the records it speaks of, so what it names is there.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loopverse.errors import UserError
from loopverse_world_model.episode import Episode
from loopverse_world_model.spaces import space_from_json, space_to_json

if TYPE_CHECKING:
    from gymnasium import Space

SPACES, EPISODES = "spaces.json", "episodes.jsonl"
FORMAT = 1
"""Raise it when a folder written by another version could be misread."""


def write_spaces(folder: Path, observation_space: "Space", action_space: "Space") -> None:
    """Say once and for all what a replay holds; the file appears whole."""
    text = {
        "format": FORMAT,
        "observation": json.loads(space_to_json(observation_space)),
        "action": json.loads(space_to_json(action_space)),
    }
    unfinished = folder / f"{SPACES}.{os.getpid()}"
    unfinished.write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(folder / SPACES)


def read_spaces(folder: Path) -> "tuple[Space, Space]":
    """What a replay holds: the space of its observations and that of its actions.

    Raises:
        UserError: this is no folder of a replay, or one of another format.
    """
    try:
        text: dict[str, Any] = json.loads((folder / SPACES).read_text(encoding="utf-8"))
        spaces = [space_from_json(json.dumps(text[name])) for name in ("observation", "action")]
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} holds no replay: expected {SPACES} there, as collecting writes it"
        ) from error
    except (ValueError, KeyError) as error:
        raise UserError(f"cannot read {folder / SPACES}: {error}") from error
    if text.get("format") != FORMAT:
        raise UserError(
            f"{folder} is a replay of format {text.get('format')}, expected {FORMAT}: collect it anew"
        )
    return spaces[0], spaces[1]


def read_episodes(folder: Path) -> list[Episode]:
    """The index. A line that a kill left unfinished is no line yet.

    Raises:
        UserError: a line that is not of an index, or not in its place.
    """
    path = folder / EPISODES
    if not path.exists():
        return []
    *lines, _ = path.read_text(encoding="utf-8").split("\n")
    episodes = []
    for number, line in enumerate(lines):
        try:
            episode = Episode(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise UserError(f"line {number + 1} of {path} is not of an episode: {error}") from error
        if episode.number != number:
            raise UserError(
                f"line {number + 1} of {path} is of episode {episode.number}, expected {number}"
            )
        episodes.append(episode)
    return episodes
