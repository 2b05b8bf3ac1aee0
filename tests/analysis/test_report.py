"""The report: whole pages from whole and from broken runs, with nothing that reaches out."""

import itertools
import json
import re
import statistics
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from showing import Showing

from loopverse.analysis import evaluate_run
from loopverse.analysis.depths import DepthTable
from loopverse.analysis.exhibits import Exhibition
from loopverse.analysis.facts import read_facts
from loopverse.analysis.quality import Quality, QualityTable
from loopverse.analysis.report import write_report
from loopverse.depth import Poisson
from loopverse.exhibit import HeatMap, ShadedText
from loopverse.training import RunFolder

VOID = {"meta", "link", "br", "img"}


class Page(HTMLParser):
    """Checks the nesting while it reads, and keeps what tests ask for."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset", "action"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def page_of(run: RunFolder) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def html(trained: Path) -> str:
    return write_report(trained).read_text(encoding="utf-8")


def test_a_whole_run_has_every_section(html: str, run: RunFolder) -> None:
    page = Page(html)
    for heading in ("What each loop bought", "Training", "The network", "Settings", "Machine"):
        assert heading in page.text
    assert page.tags.count("svg") == 1 + 6  # the mark, and six figures
    assert "finished" in page.text
    assert "bits trained on" in page.text  # the toy's units
    assert "bits a second" in page.text
    value = DepthTable.load(run.path / "evaluation.json").reference.metrics["nats_per_bit"]
    assert f"{value:.3f}" in page.text


def test_the_page_needs_no_network_and_no_script(html: str) -> None:
    page = Page(html)
    assert all(link.startswith(("#", "data:,")) for link in page.links)
    assert not {"script", "img", "iframe", "object"} & set(page.tags)
    assert not re.search(r"@import|url\((?!#)", html)
    assert len(html) < 3_000_000


def test_ids_are_unique_and_headings_in_order(html: str) -> None:
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_a_report_written_again_is_the_same_to_the_byte(html: str, trained: Path) -> None:
    assert write_report(str(trained)).read_text(encoding="utf-8") == html


def test_what_a_run_and_its_model_say_is_never_taken_for_html(run: RunFolder) -> None:
    table = DepthTable.load(run.path / "evaluation.json")
    table.depths[0].sample = "</pre><script>alert(1)</script>\x00"
    table.save(run.path / "evaluation.json")
    odd = RunFolder(run.path.rename(run.path.with_name("a <b> & 'c'")))
    page = page_of(odd)
    assert "<script>alert(1)</script>\ufffd" in page.text
    assert "a <b> & 'c'" in page.text
    assert "script" not in page.tags


def test_an_example_is_shown_with_its_prompt(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "An example" not in page_of(run).text
    table = DepthTable.load(run.path / "evaluation.json")
    table.depths[0].example = "1 0 1"
    table.save(run.path / "evaluation.json")
    monkeypatch.setattr(read_facts(run).domain, "example", "1 <mask:1> 1")
    page = page_of(run)
    assert "An example, by depth" in page.text
    assert "1 <mask:1> 1" in page.text
    assert "1 0 1" in page.text


def without_evaluation(run: RunFolder) -> None:
    (run.path / "evaluation.json").unlink()


def with_damaged_evaluation(run: RunFolder) -> None:
    path = run.path / "evaluation.json"
    path.write_bytes(path.read_bytes()[:100])


def stopped_before_any_step(run: RunFolder) -> None:
    run.rows.path.unlink()
    (run.path / "summary.json").unlink()
    without_evaluation(run)


def stopped_while_writing_a_row(run: RunFolder) -> None:
    text = run.rows.path.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines(keepends=True) if json.loads(line)["step"] < 3]
    run.rows.path.write_text("".join(lines) + '{"step": 3, "spl', encoding="utf-8")
    (run.path / "summary.json").unlink()
    without_evaluation(run)


def evaluated_at_one_depth_only(run: RunFolder) -> None:
    table = DepthTable.load(run.path / "evaluation.json")
    table.depths = table.depths[:1]
    table.save(run.path / "evaluation.json")


def diverged_when_deep(run: RunFolder) -> None:
    table = DepthTable.load(run.path / "evaluation.json")
    table.depths[-1].metrics["nats_per_bit"] = float("inf")
    table.depths[-1].batches = [float("nan")] * len(table.weights)
    table.save(run.path / "evaluation.json")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (without_evaluation, "There is no evaluation by depth yet: loopverse evaluate"),
        (with_damaged_evaluation, "evaluation.json is damaged and cannot be read"),
        (stopped_before_any_step, "No training step has been logged yet."),
        (stopped_while_writing_a_row, "Training is at step 2 of 6: loopverse train run="),
        (stopped_while_writing_a_row, "Nothing has been measured on held-out data yet"),
        (evaluated_at_one_depth_only, "nats per bit"),
        (diverged_when_deep, "With 4 loops the result is not a finite number."),
    ],
)
def test_a_run_that_is_not_whole_has_a_report_that_says_so(
    run: RunFolder, harm: Callable[[RunFolder], None], said: str
) -> None:
    harm(run)
    assert said in page_of(run).text


def test_depths_drawn_again_are_those_of_training(run: RunFolder) -> None:
    facts = read_facts(run)
    assert facts.drawn_depths == [row["depth"] for row in facts.train]


def test_depths_drawn_for_every_sequence_average_to_those_of_training(
    per_sequence_run: RunFolder,
) -> None:
    facts = read_facts(per_sequence_run)
    assert isinstance(facts.config.schedule, Poisson)
    assert facts.per_sequence
    size = facts.config.training.batch_size
    steps = [facts.drawn_depths[i * size : (i + 1) * size] for i in range(facts.step)]
    assert [statistics.mean(drawn) for drawn in steps] == [row["depth"] for row in facts.train]
    assert "Drawn for every sequence" in page_of(per_sequence_run).text


def test_a_folder_that_is_no_run_is_refused(run: RunFolder) -> None:
    with pytest.raises(ValueError, match="is not a run folder"):
        write_report(run.path / "checkpoints")


def test_commands_that_would_fail_are_not_offered(run: RunFolder) -> None:
    facts = read_facts(run)
    facts.config.core.tied = False
    offered = dict(facts.commands)
    assert offered["measure it at other depths"].endswith("--loops 1,2")
    assert not any("sample" in line for line in offered.values())  # the toy does not


def test_quality_against_block_evaluations_is_drawn_and_tabled(run: RunFolder) -> None:
    rows = [
        Quality(loops, steps, 10.0 * steps, 0.5, [3.0, 4.0], [2.0, 2.0], [2, 2], [1.0, 2.0], [0.5])
        for loops in (1, 2)
        for steps in (4, 8)
    ]
    table = QualityTable("runs/<judge>", 9, 6, 2, ["budget=peaked"], "cpu", rows)
    before = page_of(run).tags.count("svg")
    table.save(run.path / "quality.json")
    page = page_of(run)
    assert page.tags.count("svg") == before + 2
    for text in ("against block evaluations", "runs/<judge>", "budget=peaked", "± 3.2"):
        assert text in page.text
    table.judge = ""
    for row in rows:
        row.nats, row.tokens = [], []
    table.save(run.path / "quality.json")
    assert page_of(run).tags.count("svg") == before + 1
    (run.path / "quality.json").write_text("{")
    assert "quality.json is damaged" in page_of(run).text


@pytest.fixture
def showing_run(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run whose domain shows something of every kind."""
    monkeypatch.setattr("toy.Toy.exhibits", Showing.exhibits)
    monkeypatch.setattr("toy.Toy.suggestions", Showing.suggestions)
    evaluate_run(run)
    return run


def test_what_the_domain_shows_is_in_the_page_and_nowhere_else(showing_run: RunFolder) -> None:
    page = page_of(showing_run)
    assert page.tags.count("svg") == 1 + 6 + 2  # a map and lines
    pictures = [link for link in page.links if link.startswith("data:image/")]
    assert [link.partition(";")[0] for link in pictures] == ["data:image/png", "data:image/gif"]
    assert page.tags.count("img") == 2
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    for text in ("Likelihood [by depth]", "nats <b>", "± 0.25", "–", "It moves.", "cost in $", "∞"):
        assert text in page.text
    html = (showing_run.path / "report.html").read_text(encoding="utf-8")
    assert html.count('class="best"') == 2  # of two columns
    assert 'alt="a &#34;dot&#34;"' in html
    assert "Of <code>bits</code>." in html
    assert write_report(showing_run).read_text(encoding="utf-8") == html


def test_what_the_domain_suggests_is_offered_with_the_path_of_the_run(
    showing_run: RunFolder,
) -> None:
    odd = RunFolder(showing_run.path.rename(showing_run.path.with_name("a run")))
    offered = dict(read_facts(odd).commands)
    assert offered["look at it for longer"] == f"loopverse gaze '{odd.path}' --bits 3"
    assert f"loopverse gaze '{odd.path}' --bits 3" in page_of(odd).text


def test_exhibits_that_are_damaged_or_incomplete_are_said_to_be_so(showing_run: RunFolder) -> None:
    path = showing_run.path / "exhibits.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"problem": ""', '"problem": "oh no"'))
    assert "Not all that the domain shows is here: oh no." in page_of(showing_run).text
    path.write_text("[]")
    page = page_of(showing_run)
    assert "exhibits.json or a picture of it is damaged" in page.text
    assert "Shown by the domain" not in page.text


def test_where_the_loops_went_has_a_section_of_its_own(showing_run: RunFolder) -> None:
    before = page_of(showing_run)
    assert "Where the loops went" not in before.text
    text = ShadedText("Words", "Of `w`.", ["<b>", "x\n", "given"], [1, 3, None], "loops")
    units = HeatMap("Units", "", "x", [1], "y", [2], [[3.0]], "loops", None)
    Exhibition([text, units], 7, "no light").save(showing_run.path, "allocation")
    page = page_of(showing_run)
    for words in (
        "Where the loops went",
        "of step 7",
        "<b>x\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}\ngiven",
        "is here: no light.",
    ):
        assert words in page.text
    assert page.tags.count("svg") == before.tags.count("svg") + 1
    assert len(page.ids) == len(set(page.ids))
    html = (showing_run.path / "report.html").read_text(encoding="utf-8")
    assert '<span style="--shade: 0.06" title="1 loops">&lt;b&gt;</span>' in html
    assert '<span style="--shade: 0.5" title="3 loops">' in html
    assert "<span" not in html.partition("</span>given")[2].partition("</pre>")[0]
    assert html.partition("</span>given")[1]


def test_a_damaged_record_of_where_the_loops_went_is_said_to_be_so(run: RunFolder) -> None:
    (run.path / "allocation.json").write_text("[]")
    page = page_of(run)
    assert "allocation.json or a picture of it is damaged" in page.text
    assert "halting=NAME" in page.text
