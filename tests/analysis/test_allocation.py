"""Where the loops went, for a domain that says nothing of its own, and for one that does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from analysis.toys import toy_model
from tensordict import TensorDict
from toy import Toy

from loopverse.analysis import Allocation, collect_allocation, rank_correlation
from loopverse.analysis.exhibits import Exhibition
from loopverse.depth import FixedPoint, Halting
from loopverse.domain import Outcome, Think
from loopverse.exhibit import Curves, Estimate, Exhibit, HeatMap, TableExhibit
from loopverse.training.evaluation import Way, held_out

SETTLES = FixedPoint(tolerance=0.5)
AT_ONCE = FixedPoint(tolerance=100.0)


def collected(adapter: type[Toy] = Toy, **changes: object) -> Allocation:
    rules: dict[str, Halting] = {"settles": SETTLES, "at once": AT_ONCE}
    settings = {"rules": rules, "depth": 3, "batch_size": 4, **changes}
    return collect_allocation(toy_model(adapter=adapter), **settings)


def test_loops_are_held_against_the_losses_at_full_depth() -> None:
    model = toy_model()
    full, rule = Way(3), Way(3, SETTLES)
    expected, loops = [], {2: 0, 3: 0}
    losses: torch.Tensor | None = None
    for measured in held_out(model, [full, rule], batch_size=4):
        outcome = measured.outcome
        if measured.way is full:
            losses = outcome.losses[outcome.weights > 0]
            continue
        assert outcome.depth is not None
        assert losses is not None
        depth = outcome.depth[outcome.weights > 0]
        for number in loops:
            loops[number] += int((depth == number).sum())
        expected.append(rank_correlation(depth, losses))
    spent = collected().spent["settles"]
    total = sum(loops.values())
    assert spent.loops.shares == {number: count / total for number, count in loops.items()}
    relation = spent.relations["loss"]
    known = [value for value in expected if value is not None]
    assert relation.num_batches == len(known)
    assert relation.correlation is not None
    assert min(known) <= relation.correlation.value <= max(known)


def test_a_domain_that_says_nothing_of_its_own_has_all_of_it_to_show() -> None:
    exhibits = collected(fixed=[1]).exhibition.exhibits
    kinds = [TableExhibit, TableExhibit, Curves, TableExhibit, Curves, HeatMap, HeatMap]
    assert [type(exhibit) for exhibit in exhibits] == kinds
    ways, _, _, correlations, _, units, _ = exhibits
    assert isinstance(ways, TableExhibit)
    assert [row[0] for row in ways.rows] == ["1 loop", "3 loops", "settles", "at once"]
    assert isinstance(correlations, TableExhibit)
    assert isinstance(correlations.rows[0][1], Estimate)
    assert correlations.rows[1][1] is None
    assert "A dash (at once): it is not defined" in correlations.note
    assert isinstance(units, HeatMap)
    assert {value for row in units.values for value in row} == {None, 2.0, 3.0}


def test_a_collapse_is_said() -> None:
    table = collected().exhibition.exhibits[1]
    assert "at once collapsed: 100 % of the units get 1 loop" in table.note
    assert "settles collapsed" not in table.note


def test_it_is_kept_beside_what_the_domain_shows(tmp_path: Path) -> None:
    found = collected(step=7)
    found.save(tmp_path)
    assert Exhibition.load(tmp_path, "allocation") == found.exhibition
    assert Exhibition.load(tmp_path, "allocation").step == 7
    assert Exhibition.load(tmp_path) == Exhibition([])


class Placed(Toy):
    """A toy whose bits are the harder the later they come, but for the first, and which shows a call."""

    def difficulties(self, outcome: Outcome, batch: TensorDict) -> dict[str, torch.Tensor]:
        places = torch.arange(float(outcome.losses.shape[1])).expand_as(outcome.losses).clone()
        places[:, 0] = float("nan")
        return {"place": places}

    def allocation(self, think: Think, batch: TensorDict) -> Iterator[Exhibit]:
        assert not self.training
        assert not torch.is_grad_enabled()
        depth = think(self.embed(batch)).result.depth
        yield TableExhibit("Sum of loops", "", ["row", "sum"], [["0", int(depth[0].sum())]])


def test_what_a_domain_calls_difficult_and_shows_of_its_own_comes_with_it() -> None:
    found = collected(Placed)
    assert list(found.spent["settles"].relations) == ["loss", "place"]
    own = [one for one in found.exhibition.exhibits if one.title.startswith("Sum of loops")]
    assert [one.title for one in own] == ["Sum of loops (settles)", "Sum of loops (at once)"]
    assert isinstance(own[1], TableExhibit)
    assert own[1].rows[0][1] == 12
    assert found.exhibition.problem == ""


def test_one_rule_needs_no_name_in_titles_and_single_units_may_be_left_out() -> None:
    one = collected(Placed, rules={"settles": SETTLES}).exhibition.exhibits
    assert one[-1].title == "Sum of loops"
    some = collected(Placed, closely=["settles"]).exhibition.exhibits
    assert [exhibit.title for exhibit in some[-2:]] == [
        "Loops of single units (settles)",
        "Sum of loops (settles)",
    ]


class Crooked(Placed):
    """One whose difficulties have another shape, and whose exhibit cannot be made."""

    def difficulties(self, outcome: Outcome, batch: TensorDict) -> dict[str, torch.Tensor]:
        return {"place": torch.zeros(3)}

    def allocation(self, think: Think, batch: TensorDict) -> Iterator[Exhibit]:
        raise OSError("no\ndisplay")


def test_an_error_of_the_domain_costs_only_what_it_was_asked_for() -> None:
    found = collected(Crooked)
    assert list(found.spent["settles"].relations) == ["loss"]
    assert len(found.exhibition.exhibits) == len(collected().exhibition.exhibits)
    assert found.exhibition.problem == (
        "Crooked.difficulties failed (ValueError: 'place' must have the shape of the losses, [4, 12], "
        "got [3]); Crooked.allocation failed after 0 of them (OSError: no display)"
    )


class Late(Placed):
    """One whose difficulties fail in the third batch."""

    calls = 0

    def difficulties(self, outcome: Outcome, batch: TensorDict) -> dict[str, torch.Tensor]:
        self.calls += 1
        return super().difficulties(outcome, batch) if self.calls < 3 else {}["gone"]


def test_difficulties_that_fail_on_the_way_are_left_out() -> None:
    found = collected(Late)
    assert list(found.spent["settles"].relations) == ["loss"]
    assert "Late.difficulties failed (KeyError" in found.exhibition.problem


class Silent(Toy):
    """One that does not say how many loops its units got."""

    def forward(self, think: Think, batch: TensorDict) -> Outcome:
        return self.loss(self.predict(think(self.embed(batch)).z), batch)


def test_a_domain_that_does_not_say_its_loops_is_told_how() -> None:
    found = collected(Silent)
    assert found.spent == {}
    assert [type(exhibit) for exhibit in found.exhibition.exhibits] == [TableExhibit]
    assert "return `thought.weigh(...)` from forward" in found.exhibition.problem


def test_only_some_batches_are_read_where_it_is_asked() -> None:
    assert len(collected(only=lambda number: number > 0).table.weights) == 3


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_the_mode_it_was_in(training: bool) -> None:
    model = toy_model().train(training)
    collect_allocation(model, {"settles": SETTLES}, 3, batch_size=4)
    assert model.training is training
