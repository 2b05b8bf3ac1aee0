"""How a trained model is used: settings of sampling, loops shared out, a rule to stop early.

`KEY=VALUE` words say all of it: fields of the domain's `Sampling`, and `budget=NAME` and `halting=NAME`
with settings of their own, such as `budget.strength=0.5`. `halting=calibrated` is the rule that
`loopverse calibrate` chose for a run.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from loopverse import depth
from loopverse.depth import FixedDepth, Halting, LoopBudget, LoopResult, Vote
from loopverse.domain import Sample, SampleSettings, Think
from loopverse.errors import UserError, unknown
from loopverse.model import LoopedModel
from loopverse.training.calibrated import calibrated_rule
from loopverse.training.config import GROUPS
from loopverse.training.explain import explained
from loopverse.training.names import leaves

CHOICES: dict[str, dict[str, type]] = {
    "budget": {
        "even": depth.Even,
        "decreasing": depth.Decreasing,
        "increasing": depth.Increasing,
        "peaked": depth.Peaked,
        "table": depth.Table,
    },
    "halting": GROUPS["halting"],
    "vote": {"last": depth.Last, "average": depth.Average, "majority": depth.Majority},
}
"""What is chosen by name, as in `budget=peaked`: group -> option -> class. The first is the default."""


@dataclass
class Use:
    """A way to use a trained model, beside its number of loops.

    Attributes:
        sampling: an instance of the domain's `Sampling`.
        budget: how the loops are shared out over the domain's outer process.
        halting: when to stop early; a learned rule needs a model that was trained with it.
        vote: which loop's readout a prediction is made from.
    """

    sampling: SampleSettings
    budget: LoopBudget = field(default_factory=depth.Even)
    halting: Halting = field(default_factory=FixedDepth)
    vote: Vote = field(default_factory=depth.Last)

    def think(
        self,
        model: LoopedModel,
        loops: int,
        observe: Callable[[LoopResult], None] | None = None,
    ) -> Think:
        """The model's `think` for `sample`.

        Args:
            model: the trained model.
            loops: of a call, on average where the budget is not even; the most a unit gets where the
                rule is adaptive.
            observe: called with the result of each call.
        """
        return model.bind(
            loops,
            seed=self.sampling.seed,
            halting=self.halting,
            observe=observe,
            budget=self.budget,
            vote=self.vote,
        )


CALIBRATED = "halting=calibrated"


def read_use(
    sampling: type[SampleSettings], words: Sequence[str] = (), run: Path | None = None
) -> Use:
    """What `KEY=VALUE` words ask for.

    Args:
        sampling: the domain's `Sampling`.
        words: such as `["length=40", "budget=peaked", "budget.strength=0.5"]`.
        run: whose calibrated rule `halting=calibrated` is; None: of no run.

    Raises:
        ValueError: an unknown setting, a value that it cannot have, the same setting twice, or a run
            that is not calibrated.
    """
    given = _by_name(words)
    if run is not None and given.get("halting") == CALIBRATED:
        del given["halting"]
        rule = calibrated_rule(run)
        own = next((word for name, word in given.items() if name.startswith("halting.")), None)
        if own is not None:
            raise UserError(
                f"{CALIBRATED} has the settings that were found, got {own} too: leave one out"
            )
        return replace(read_use(sampling, list(given.values())), halting=rule)
    picked = {group: _pick(group, given.pop(group, "")) for group in CHOICES}
    asked = OmegaConf.structured(sampling)
    chosen = OmegaConf.create({group: OmegaConf.structured(kind) for group, kind in picked.items()})
    known = [*leaves(asked, ""), *leaves(chosen, ""), *CHOICES]
    for name in given:
        if name not in known:
            raise _unknown(name, known)
    with explained(words):
        for name, word in given.items():
            node = chosen if name.partition(".")[0] in CHOICES else asked
            node.merge_with(_read(word))
        return Use(
            _object(asked), _object(chosen.budget), _object(chosen.halting), _object(chosen.vote)
        )


def read_halting(words: Sequence[str], run: Path) -> tuple[Halting, list[str]]:
    """The rule that some `KEY=VALUE` words ask for, and the other words.

    Args:
        words: of which those about `halting` are read.
        run: whose calibrated rule `halting=calibrated` is.

    Raises:
        ValueError: as `read_use`.
    """
    own = [word for word in words if word.partition("=")[0].partition(".")[0] == "halting"]
    others = [word for word in words if word not in own]
    return read_use(SampleSettings, own, run).halting, others


def finished_texts(prompts: Sequence[str], said: Iterable[Sample]) -> list[str]:
    """What every prompt has become when all is said: drafts are left out, a whole piece is all of it."""
    texts = list(prompts)
    for piece in said:
        if not piece.draft:
            texts[piece.row] = piece.text if piece.whole else texts[piece.row] + piece.text
    return texts


def _by_name(words: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for word in words:
        name, equals, _ = word.partition("=")
        if not (name and equals):
            raise UserError(
                f"cannot read {word!r}: settings are written KEY=VALUE, such as temperature=0.5"
            )
        if name in given:
            raise UserError(f"{name} is given twice, {given[name]} and {word}: leave one out")
        given[name] = word
    return given


def _pick(group: str, word: str) -> type:
    options = CHOICES[group]
    name = word.partition("=")[2] if word else next(iter(options))
    if name not in options:
        raise unknown(group, name, options)
    return options[name]


def _unknown(name: str, known: Sequence[str]) -> UserError:
    group, _, last = name.partition(".")
    owners = [
        f"{group}={option}"
        for option, kind in CHOICES.get(group, {}).items()
        if last in {item.name for item in fields(kind)}
    ]
    if owners:
        verb = "have" if len(owners) > 1 else "has"
        return UserError(f"unknown setting {name!r}; {' and '.join(owners)} {verb} it")
    return unknown(
        "setting", name, known, "`loopverse sample RUN --settings` says what each of them does"
    )


def _read(word: str) -> DictConfig:
    try:
        return OmegaConf.from_dotlist([word])
    except YAMLError as error:
        raise UserError(f"cannot read the value in {word}: quote it, KEY='\"VALUE\"'") from error


def _object(node: DictConfig) -> Any:
    """The dataclass that a node was made of, with the values that it has now."""
    return OmegaConf.to_object(node)
