"""What a domain shows: collected under one set of conditions, kept on disk, refused where damaged."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from analysis.toys import toy_model
from showing import GIF, PNG, Failing, Showing, Strange
from toy import Toy

from loopverse.analysis import Exhibition, collect_exhibits, evaluate_run
from loopverse.domain import Think
from loopverse.exhibit import (
    Curves,
    Estimate,
    Exhibit,
    HeatMap,
    Picture,
    Series,
    ShadedText,
    TableExhibit,
)
from loopverse.training import RunFolder

EVERYTHING = [
    TableExhibit(
        "t", "n", ["a", "b"], [["x", 1], ["y", 0.5], ["z", None], ["e", Estimate(2.0, None)]], "row"
    ),
    HeatMap("h", "", "x", [1, "two"], "y", [0.5], [[None, float("-inf")]], "nats", False),
    Curves("c", "", "x", "y", [Series("s", [1, 2], [0.5, float("inf")], [None, 0.1])], log_y=True),
    HeatMap("more", "", "x", [1], "y", [2], [[3.0]], "loops", None),
    ShadedText("w", "", ["a", "b c\n"], [1, None], "loops"),
    Picture("A dot", "", PNG, "a dot"),
    Picture("a  dot?", "", PNG, "a second dot"),
    Picture("!", "", GIF, "a moving dot"),
]


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    saved = Exhibition(EVERYTHING, 7, "it broke")
    saved.save(tmp_path)
    assert Exhibition.load(tmp_path) == saved
    assert sorted(path.name for path in (tmp_path / "exhibits").iterdir()) == [
        *("a-dot-2.png", "a-dot.png", "picture.gif"),
    ]
    assert "Infinity" not in (tmp_path / "exhibits.json").read_text(encoding="utf-8")


def test_what_is_no_longer_shown_leaves_nothing_behind(tmp_path: Path) -> None:
    Exhibition(EVERYTHING).save(tmp_path)
    Exhibition(EVERYTHING[:6]).save(tmp_path)
    assert [path.name for path in (tmp_path / "exhibits").iterdir()] == ["a-dot.png"]
    Exhibition([]).save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert Exhibition.load(tmp_path) == Exhibition([])


def test_two_exhibitions_of_a_run_leave_each_other_alone(tmp_path: Path) -> None:
    Exhibition(EVERYTHING, 1).save(tmp_path)
    Exhibition(EVERYTHING[-1:], 2).save(tmp_path, "allocation")
    assert Exhibition.load(tmp_path) == Exhibition(EVERYTHING, 1)
    assert Exhibition.load(tmp_path, "allocation") == Exhibition(EVERYTHING[-1:], 2)
    Exhibition([]).save(tmp_path, "allocation")
    assert not (tmp_path / "allocation").exists()
    assert len(list((tmp_path / "exhibits").iterdir())) == 3


def test_a_crash_while_saving_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Exhibition(EVERYTHING).save(tmp_path)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("loopverse.analysis.exhibits.write_text", crash)
    with pytest.raises(KeyboardInterrupt):
        Exhibition([Picture("new", "", GIF, "")]).save(tmp_path)
    assert Exhibition.load(tmp_path) == Exhibition(EVERYTHING)


def cut_short(run: Path) -> None:
    path = run / "exhibits.json"
    path.write_bytes(path.read_bytes()[:200])


def without_a_picture(run: Path) -> None:
    (run / "exhibits" / "a-dot.png").unlink()


def with_a_picture_that_is_none(run: Path) -> None:
    (run / "exhibits" / "a-dot.png").write_bytes(b"")


def altered(run: Path, change: Callable[[dict], object]) -> None:
    path = run / "exhibits.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content["exhibits"][0])
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    "harm",
    [
        cut_short,
        without_a_picture,
        with_a_picture_that_is_none,
        lambda run: altered(run, lambda table: table["rows"][0].pop()),
        lambda run: altered(run, lambda table: table.update(kind="hologram")),
        lambda run: altered(run, lambda table: table.pop("columns")),
        lambda run: altered(run, lambda table: table.update(columns=3)),
        lambda run: altered(run, lambda table: table["rows"][0].append({"weight": 1})),
    ],
)
def test_damaged_files_are_refused_with_a_remedy(
    harm: Callable[[Path], None], run: RunFolder
) -> None:
    Exhibition(EVERYTHING).save(run.path)
    harm(run.path)
    with pytest.raises(ValueError, match=r"damaged .* write it again with `loopverse evaluate"):
        Exhibition.load(run.path)


def test_a_domain_is_asked_in_evaluation_mode_without_gradients_and_with_a_fixed_seed() -> None:
    model = toy_model(adapter=Showing).train()
    modes: list[bool] = []
    model.core.register_forward_hook(lambda *_: modes.append(torch.is_grad_enabled()))
    first = collect_exhibits(model, [1, 2], trained=2, step=5)
    torch.rand(3)
    second = collect_exhibits(model, [1, 2], trained=2, step=5)
    assert modes == [False] * 4
    assert model.training
    assert repr(first) == repr(second)
    assert (first.step, first.problem, len(first.exhibits)) == (5, "", 5)


def test_think_at_gives_each_depth_its_own_loops() -> None:
    model = toy_model(adapter=Showing)
    (table, *_) = collect_exhibits(model, [1, 2], trained=2).exhibits
    assert isinstance(table, TableExhibit)
    batch = next(model.adapter.batches("valid", batch_size=4, seed=0))
    with torch.no_grad():
        alone = [float(model.adapter(model.bind(n), batch).loss) for n in (1, 2)]
    assert [row[1] for row in table.rows] == alone
    assert alone[0] != alone[1]


class Climbing(Showing):
    """One that shows a gradient."""

    def exhibits(
        self, think_at: Callable[[int], Think], loops: Sequence[int], trained: int
    ) -> Iterator[Exhibit]:
        batch = next(self.batches("valid", batch_size=4, seed=0))
        with torch.enable_grad():
            loss = self(think_at(trained), batch).loss
        (gradient,) = torch.autograd.grad(loss, [self.head.weight])
        yield TableExhibit("Steepness", "", ["norm"], [[float(gradient.norm())]])


def test_a_domain_may_ask_for_gradients() -> None:
    shown = collect_exhibits(toy_model(adapter=Climbing), [1], trained=1)
    assert shown.problem == ""
    (table,) = shown.exhibits
    assert isinstance(table, TableExhibit)
    steepness = table.rows[0][0]
    assert isinstance(steepness, float)
    assert steepness > 0


@pytest.mark.parametrize(
    ("domain", "kept", "problem"),
    [
        (Failing, 1, r"Failing.exhibits failed after 1 of them \(OSError: no display\)"),
        (
            Strange,
            0,
            r"expected one of TableExhibit, HeatMap, Curves, ShadedText, Picture, got Exhibit",
        ),
    ],
)
def test_an_error_of_the_domain_is_one_line_and_costs_only_what_comes_after_it(
    domain: type[Toy], kept: int, problem: str, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toy.Toy.exhibits", domain.exhibits)
    (run.path / "evaluation.json").unlink()
    with pytest.warns(UserWarning, match=problem.replace("Failing", "Toy")):
        evaluate_run(run)
    assert (run.path / "evaluation.json").exists()
    shown = Exhibition.load(run.path)
    assert len(shown.exhibits) == kept
    assert "\n" not in shown.problem


def test_where_the_domain_failed_is_printed_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    collect_exhibits(toy_model(adapter=Failing), [1], trained=1)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("LOOPVERSE_TRACEBACK", "1")
    collect_exhibits(toy_model(adapter=Failing), [1], trained=1)
    assert "showing.py" in capsys.readouterr().err
