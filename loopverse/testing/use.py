"""Checks of a domain in use: a model that was saved, what it makes, and what is shown of it."""

import tempfile
from pathlib import Path

import torch
from omegaconf import OmegaConf

from loopverse.analysis.allocation import collect_allocation
from loopverse.analysis.exhibits import collect_exhibits
from loopverse.depth import FixedPoint
from loopverse.domain import DomainAdapter, Sample
from loopverse.model import LoopedModel
from loopverse.testing.bench import LOOPS, ROWS, Bench, global_seed
from loopverse.testing.checking import check
from loopverse.testing.declaration import metric_is_declared_and_lower_is_better
from loopverse.testing.failure import NothingToCheck, expect
from loopverse.testing.learning import any_number_of_loops_works
from loopverse.testing.prediction import loss_is_deterministic
from loopverse.training import checkpoint
from loopverse.training.checkpoint import Progress


@check(loss_is_deterministic)
def saved_and_loaded_it_is_the_same(bench: Bench) -> None:
    """Settings, weights and assets bring back the same model, in a process that opened no data."""
    model = bench.model()
    before = bench.outcome(model).losses
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "assets").mkdir()
        model.adapter.save_assets(folder / "assets")
        checkpoint.save(folder / "step-00000000", Progress(), model)
        text = OmegaConf.to_yaml(OmegaConf.structured(bench.config))
        schema = OmegaConf.structured(bench.adapter_class.Config)
        config = OmegaConf.to_object(OmegaConf.merge(schema, OmegaConf.create(text)))
        with global_seed(1):
            loaded = bench.around(bench.adapter_class(config, bench.width), seed=1)
        loaded.adapter.load_assets(folder / "assets")
        checkpoint.load(folder / "step-00000000", loaded)
    after = bench.outcome(loaded).losses
    expect(
        torch.equal(before, after),
        "the same losses after saving and loading",
        f"losses that differ by up to {float((before - after).abs().max()):.3g}",
        "likely a tensor that is neither a parameter nor a buffer (register_buffer), "
        "or a table that belongs into save_assets",
    )


@check(saved_and_loaded_it_is_the_same)
def it_moves_to_another_device(bench: Bench) -> None:
    """Model and batch moved to another device, what the core reads is there too."""
    adapter = bench.opened().eval().to("meta")  # a device that every machine has
    try:
        with torch.no_grad():
            found = adapter.embed(bench.batch.to("meta")).x.device.type
    except NotImplementedError as error:
        raise NothingToCheck(
            "embed asks what this device, which holds no values, has not"
        ) from error
    except RuntimeError as error:
        if ".item() cannot be called" in str(error):
            raise NothingToCheck("embed looks at values, and this device holds none") from error
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
    expect(
        found == "meta",
        "embed to work on the device of its parameters and batch",
        found,
        "likely a tensor made on the CPU: torch.zeros(..., device=x.device), or register_buffer",
    )


@check(saved_and_loaded_it_is_the_same)
def it_counts_in_another_precision(bench: Bench) -> None:
    """Model and batch in float64, what the core reads is too, and the losses are those of float32."""
    single = bench.outcome(bench.model()).losses
    batch = bench.batch.apply(lambda leaf: leaf.double() if leaf.is_floating_point() else leaf)
    model = bench.model().double()
    found, double = "torch.float64", single
    try:
        with torch.no_grad():
            read = model.adapter.embed(batch).x.dtype
        if read == torch.float64:
            double = bench.outcome(model, batch).losses
        else:
            found = str(read)
    except RuntimeError as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
    expect(
        found == "torch.float64",
        "embed and loss to count in the precision of their parameters and batch, torch.float64",
        found,
        "likely .float() on the way, or a tensor made in float32: dtype=x.dtype, or register_buffer",
    )
    expect(
        torch.allclose(double.float(), single, rtol=1e-3, atol=1e-3),
        "the losses of float32 in float64",
        f"losses that differ by up to {float((double - single).abs().max()):.3g}",
        "likely a difference of large numbers, or log of a sum of exp: use logsumexp, log_softmax",
    )


@check(loss_is_deterministic)
def it_compiles(bench: Bench) -> None:
    """What the core reads is made by one graph of `torch.compile`, and is the same."""
    adapter = bench.opened().eval()
    torch.compiler.reset()  # every adapter is compiled anew here, and there is a limit to that
    embed = torch.compile(adapter.embed, backend="eager", fullgraph=True)
    try:
        with torch.no_grad():
            same = torch.allclose(embed(bench.batch).x, adapter.embed(bench.batch).x, atol=1e-5)
        found = "the same" if same else "another tensor, compiled"
    except RuntimeError as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    expect(
        found == "the same",
        "embed to be one graph that reads the same",
        found,
        "likely .item() or an `if` on what is in a tensor, for which a GPU is waited for: decide it in "
        "prepare, or with torch.where",
    )


@check(loss_is_deterministic)
def samples_repeat_with_their_seed(bench: Bench) -> None:
    """The same prompts and seed give the same samples, in pieces that name their row."""
    model = _sampling_model(bench)
    first, second = (_samples(model, bench.prompts, chance) for chance in (1, 2))
    expect(
        all(isinstance(piece, Sample) for piece in first),
        "sample to yield loopverse.Sample(row, text)",
        f"{first[:1]}",
        "yield pieces as soon as they exist, each with the number of its prompt",
    )
    rows = sorted({piece.row for piece in first})
    expect(
        rows != [] and set(rows) <= set(range(len(bench.prompts))),
        f"pieces that continue one of {len(bench.prompts)} prompts",
        f"pieces for the rows {rows}",
        "Sample.row counts the prompts from 0",
    )
    expect(
        _joined(first) == _joined(second),
        "the same samples twice from one seed",
        f"{_joined(first)} and {_joined(second)}",
        "draw from a torch.Generator per row, seeded by (settings.seed, row)",
    )


@check(samples_repeat_with_their_seed)
def samples_do_not_depend_on_their_neighbours(bench: Bench) -> None:
    """A prompt alone is continued as it is beside others."""
    model = _sampling_model(bench)
    alone = _joined(_samples(model, bench.prompts[:1])).get(0, "")
    beside = _joined(_samples(model, bench.prompts)).get(0, "")
    expect(
        alone == beside,
        "row 0 alone to be continued as in a batch",
        f"{alone!r} alone and {beside!r} in a batch",
        "give every row a generator of its own, seeded by (settings.seed, row), and mask padding",
    )


@check(loss_is_deterministic)
def what_it_shows_comes_without_an_error(bench: Bench) -> None:
    """What the domain shows of a model comes without an error, and what it suggests names the run."""
    kind = bench.adapter_class
    for command in kind.suggestions:
        expect(
            "{run}" in command,
            "{run} in every command of suggestions, where the run folder stands",
            f"{command!r}",
            "write it as it is typed, such as 'loopverse evaluate {run}'",
        )
    if kind.exhibits is DomainAdapter.exhibits and not kind.suggestions:
        raise NothingToCheck("the domain shows and suggests nothing")
    shown = collect_exhibits(bench.model(), [1, LOOPS], trained=LOOPS)
    expect(
        not shown.problem,
        "exhibits of the kinds in loopverse.exhibit, and no error",
        shown.problem,
        "a report lacks all that comes after; LOOPVERSE_TRACEBACK=1 shows where it was raised",
    )


@check(any_number_of_loops_works, metric_is_declared_and_lower_is_better)
def where_the_loops_went_is_known(bench: Bench) -> None:
    """Under a rule to stop early every unit says how many loops it got, and what is shown of it comes."""
    found = collect_allocation(
        bench.model(), {"rule": FixedPoint(tolerance=0.5)}, LOOPS, batch_size=ROWS, max_batches=1
    )
    expect(
        not found.exhibition.problem,
        "loops and difficulties for each unit, and no error",
        found.exhibition.problem,
        "a report lacks what was asked for; LOOPVERSE_TRACEBACK=1 shows where it was raised",
    )


def _sampling_model(bench: Bench) -> LoopedModel:
    if bench.adapter_class.sample is DomainAdapter.sample:
        raise NothingToCheck("the domain does not sample")
    return bench.model().eval()


def _samples(model: LoopedModel, prompts: list[str], chance: int = 0) -> list[Sample]:
    settings = model.adapter.Sampling(length=8, temperature=1.0)
    with torch.no_grad(), global_seed(chance):
        return list(model.adapter.sample(model.bind(LOOPS), prompts, settings))


def _joined(pieces: list[Sample]) -> dict[int, str]:
    """The text of every row."""
    texts: dict[int, str] = {}
    for piece in (piece for piece in pieces if not piece.draft):
        texts[piece.row] = texts.get(piece.row, "") + piece.text
    return texts
