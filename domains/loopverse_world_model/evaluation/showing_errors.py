"""Exhibits of open-loop error: beside its rivals, by part, by loops, and by what is decoded on the way."""

from collections.abc import Mapping, Sequence

from loopverse.exhibit import Cell, HeatMap, TableExhibit
from loopverse_world_model.evaluation.deferral import Deferral
from loopverse_world_model.evaluation.open_loop import OpenLoop

UNIT = "in standard deviations of the training data, root mean square"


def error_table(
    model: OpenLoop, rivals: Mapping[str, OpenLoop], horizons: Sequence[int], longest: int
) -> TableExhibit:
    """The error of the observation at each horizon, who is best, and whether the model beats them all.

    Args:
        model: its errors.
        rivals: those of others, from the same starts.
        horizons: rows, whether or not an episode is that long.
        longest: transitions of the longest episode.
    """
    rows: list[list[Cell]] = []
    lost: dict[str, list[int]] = {}
    for horizon in horizons:
        if horizon not in model.horizons:
            rows.append([str(horizon), *[None] * (len(rivals) + 4)])
            continue
        found = {name: one.error(horizon) for name, one in {"model": model, **rivals}.items()}
        errors = {name: one for name, one in found.items() if one is not None}
        best = min(errors, key=lambda name: errors[name].value)
        for name, rival in rivals.items():
            difference = model.difference(rival, horizon)
            if difference is None or difference.value >= 0:
                lost.setdefault(name, []).append(horizon)
        where = f"{model.num_starts(horizon)}/{model.num_episodes(horizon)}"
        beaten = _beaten(model, rivals, horizon)
        rows.append([str(horizon), *errors.values(), best, beaten, where])
    return TableExhibit(
        "Open-loop error",
        f"Of the observation, {UNIT}, so many steps after the last one that was seen, under the actions "
        "that were taken; after ±, half of the 95 % interval over held-out episodes. Persistence: "
        "nothing changes. Linear: least squares on the training episodes, rolled out. Beats: whether the "
        "model errs less than both; in noise, where the interval of a difference holds zero. "
        f"Starts: how many, in how many episodes. {_verdict(lost)}{_dashes(horizons, model, longest)}",
        columns=["horizon", "model", *rivals, "best", "beats", "starts"],
        rows=rows,
        best="row",
    )


def part_table(
    model: OpenLoop, rivals: Mapping[str, OpenLoop], horizons: Sequence[int]
) -> TableExhibit:
    """The error of each part that is predicted: leaves of the observation, reward, going on.

    What a model of averages never misses is left out: there was nothing to predict.
    """
    parts = list(model.heads)
    if len(parts) == 3:  # a single leaf is the observation as a whole
        parts = parts[1:]
    parts = [part for part in parts if bool((rivals["persistence"].heads[part] > 0).any())]
    rows: list[list[Cell]] = []
    for part in parts:
        rows.append([part, *(model.error(horizon, part) for horizon in horizons)])
        for name, errors in rivals.items():
            rows.append([f"  {name}", *(errors.error(horizon, part) for horizon in horizons)])
    return TableExhibit(
        "Open-loop error by part",
        f"Of the model, and of what it is compared with, by horizon. Numbers, pictures and the reward {UNIT}; "
        "categories and bits as the share that is wrong; whether the episode goes on (continue) as the "
        "Brier score, a mean square. Of the reward and of going on nothing persists that was seen: "
        "there, persistence says what is usual. Left out is what never changed.",
        columns=["part", *map(str, horizons)],
        rows=rows,
    )


def loops_map(by_loops: Mapping[int, OpenLoop], horizons: Sequence[int]) -> HeatMap:
    """The error of the observation for every number of loops and horizon."""
    some = next(iter(by_loops.values()))
    values: list[list[float | None]] = []
    for errors in by_loops.values():
        found = [errors.error(horizon) for horizon in horizons]
        values.append([None if one is None else one.value for one in found])
    return HeatMap(
        "Open-loop error by loops and horizon",
        f"Of the observation, {UNIT}, from {some.num_starts(some.horizons[0])} held-out starts, the "
        "same for every number of loops.",
        x_label="horizon",
        x=[str(horizon) for horizon in horizons],
        y_label="loops",
        y=[str(loops) for loops in by_loops],
        values=values,
        unit="standard deviations",
    )


def deferral_table(found: Sequence[Deferral], decoded: bool) -> TableExhibit:
    """Decoding at the end against decoding every step, from one model.

    Args:
        found: by horizon.
        decoded: whether the model was trained to read what it decodes.
    """
    trained = "decode and read every step" if decoded else "decode only where it is asked to"
    rows: list[list[Cell]] = [
        [
            str(one.horizon),
            one.deferred,
            one.deferred_seconds * 1e3,
            one.every,
            one.every_seconds * 1e3,
        ]
        for one in found
    ]
    return TableExhibit(
        "Deferred decoding",
        f"The error of the observation, {UNIT}, and what it takes to get there, all starts together, when "
        "only the last step is decoded (deferred), and when every step is decoded and read by the "
        f"next. This model was trained to {trained}; a model trained for the other way errs less in it.",
        columns=["horizon", "deferred", "ms", "every step", "ms "],
        rows=rows,
    )


def _beaten(model: OpenLoop, rivals: Mapping[str, OpenLoop], horizon: int) -> str:
    differences = [model.difference(rival, horizon) for rival in rivals.values()]
    if any(one is None or one.value >= 0 for one in differences):
        return "no"
    return "yes" if all(one is not None and one.sure for one in differences) else "in noise"


def _verdict(lost: Mapping[str, Sequence[int]]) -> str:
    if not lost:
        return "The model has the smallest error at every horizon."
    where = "; ".join(
        f"{name} at {', '.join(map(str, horizons))}" for name, horizons in lost.items()
    )
    return f"As good as the model, or better: {where}."


def _dashes(horizons: Sequence[int], model: OpenLoop, longest: int) -> str:
    if set(horizons) <= set(model.horizons):
        return ""
    return f" Dashes: the longest held-out episode has {longest} transitions."
