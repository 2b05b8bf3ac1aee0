"""Halting rules and objectives in training and in use: by name, in files, on the toy."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from safetensors.torch import load_file
from stepwise import StepwiseSampling

from loopverse import depth, nn, registry
from loopverse.domain import Thought
from loopverse.model import LoopedModel
from loopverse.training import RunFolder, load, train
from loopverse.training.build import build_model
from loopverse.training.compose import compose
from loopverse.training.config import GROUPS, TrainConfig, load_config, save_config
from loopverse.training.evaluation import evaluate
from loopverse.training.use import read_use

PAIRS: list[tuple[depth.Halting, depth.LoopObjective]] = [
    (depth.ExitGate(), depth.GateDistillation()),
    (depth.Ponder(), depth.Pondered()),
    (depth.ExpertChoice(), depth.ExpertRouting()),
    (depth.TokenChoice(2), depth.TokenRouting()),
    (depth.Bounded(depth.ExitGate(), min_loops=2), depth.Expected()),
]


@pytest.fixture(autouse=True)
def _toy_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "domain_entry_points", registry.domain_entry_points)
    toy.register()


def trained(folder: Path, **changes: Any) -> RunFolder:
    return train(replace(toy.toy_config(folder, steps=2), **changes)).folder


@pytest.mark.parametrize(("halting", "objective"), PAIRS, ids=lambda one: type(one).__name__)
def test_a_learned_rule_trains_is_loaded_and_stops_units(
    halting: depth.Halting, objective: depth.LoopObjective, tmp_path: Path
) -> None:
    run = trained(tmp_path, halting=halting, objective=objective)
    assert run.config.halting == halting
    model = load(run.path).model
    found = evaluate(model, depth=2, batch_size=4, max_batches=1, halting=halting)
    assert found["nats_per_bit"] > 0


def test_every_rule_without_a_head_evaluates_any_run(tmp_path: Path) -> None:
    model = load(trained(tmp_path).path).model
    for name, kind in GROUPS["halting"].items():
        rule = kind()
        if rule.learned:
            with pytest.raises(ValueError, match=f"{type(rule).__name__} reads a trained head and"):
                evaluate(model, depth=2, batch_size=4, max_batches=1, halting=rule)
        else:
            assert evaluate(model, depth=2, batch_size=4, max_batches=1, halting=rule), name


def test_the_gate_alone_learns_in_a_frozen_model(tmp_path: Path) -> None:
    gate = {"halting": depth.ExitGate()}
    first = trained(tmp_path / "one", **gate, objective=depth.Expected())
    config = replace(
        toy.toy_config(tmp_path / "two", steps=3, start_from=str(first.path)),
        **gate,
        objective=depth.GateDistillation(),
    )
    second = train(config).folder
    before, after = (load_file(run.at("last") / "model.safetensors") for run in (first, second))
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    gate_alone = {"head.linear.weight", "head.linear.bias"}
    assert moved == gate_alone
    learning = [name for name, p in build_model(config).named_parameters() if p.requires_grad]
    assert set(learning) == gate_alone  # whatever penalty a domain adds to the loss


def test_a_gate_is_learned_for_a_run_that_had_none(tmp_path: Path) -> None:
    first = trained(tmp_path / "one")
    config = replace(
        toy.toy_config(tmp_path / "two", steps=2, start_from=str(first.path)),
        halting=depth.ExitGate(),
        objective=depth.GateDistillation(),
    )
    runs = first, train(config).folder
    before, after = (load(run, "last").model.state_dict() for run in runs)
    assert after.keys() - before.keys() == {"head.linear.weight", "head.linear.bias"}
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_lessons_of_several_calls_are_joined_as_their_losses_are() -> None:
    objective, head = depth.GateDistillation(), depth.ExitHead(4)
    torch.manual_seed(0)
    states = torch.randn(3, 2, 5, 4)
    losses = torch.rand(3, 2, 5)

    def thought(part: torch.Tensor) -> Thought:
        found = list(part)
        result = depth.LoopResult(found[-1], torch.full(found[-1].shape[:2], 3))
        weights, extra = objective.weights(found, head)
        return Thought(found, result, weights, extra, objective.lesson(found, head))

    whole = thought(states).lesson
    joined = Thought.joined([thought(states[:, :, :2]), thought(states[:, :, 2:])]).lesson
    assert whole is not None
    assert joined is not None
    torch.testing.assert_close(joined.loss(losses, joined.logits), whole.loss(losses, whole.logits))


@pytest.mark.parametrize(
    ("halting", "objective"),
    [
        (depth.ExitGate(), depth.Final()),
        (depth.TokenChoice(), depth.Expected()),
        (depth.ExpertChoice(), depth.TokenRouting()),
        (depth.FixedPoint(), depth.Pondered()),
    ],
)
def test_a_rule_and_an_objective_for_another_head_are_refused(
    halting: depth.Halting, objective: depth.LoopObjective
) -> None:
    core = nn.CoreConfig(width=16, num_heads=2, injection=nn.Add(), init=nn.Zeros())
    with pytest.raises(ValueError, match="do not fit: .* token_choice from token_routing"):
        LoopedModel(toy.Toy(toy.ToyConfig(), 16), core, halting, objective)


def test_units_of_a_causal_model_do_not_compete(tmp_path: Path) -> None:
    run = trained(tmp_path, halting=depth.ExpertChoice(), objective=depth.ExpertRouting())
    model = load(run.path).model
    with pytest.raises(ValueError, match="in a causal model later ones must not decide: use halt"):
        evaluate(
            model,
            depth=2,
            batch_size=4,
            max_batches=1,
            halting=depth.ExpertChoice(per="sequence", loops=2),
        )


NESTED = depth.AnyOf(
    [depth.Confidence(0.5), depth.Patience(depth.SecondOrder(0.1), 3), depth.FixedPoint(0.2)]
)


def test_rules_within_rules_survive_a_run_folder(tmp_path: Path) -> None:
    config: TrainConfig = replace(toy.toy_config(tmp_path), halting=NESTED)
    assert config.choices["halting"] == "any_of"
    save_config(config, tmp_path)
    assert load_config(tmp_path).halting == NESTED


def test_rules_within_rules_are_written_on_the_command_line() -> None:
    inner = "{halting: patience, rule: {halting: second_order, tolerance: 0.1}, times: 3}"
    first, last = (
        "{halting: confidence, threshold: 0.5}",
        "{_target_: loopverse.depth.FixedPoint, tolerance: 0.2}",
    )
    words = ["halting=any_of", f"halting.rules=[{first}, {inner}, {last}]"]
    assert read_use(StepwiseSampling, words).halting == NESTED
    line = ["domain=toy", "size=tiny", *(word.replace(", ", ",") for word in words)]
    assert compose(line).halting == NESTED
    use = read_use(StepwiseSampling, ["halting=patience", "halting.rule=confidence"])
    assert use.halting == depth.Patience(depth.Confidence(), 2)


def test_words_choose_a_rule_and_its_settings() -> None:
    use = read_use(StepwiseSampling, ["halting=confidence", "halting.threshold=0.8"])
    assert use.halting == depth.Confidence(0.8)
    use = read_use(StepwiseSampling, ["halting=prediction_kl", "halting.max_entropy=1.5"])
    assert use.halting == depth.PredictionKL(max_entropy=1.5)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["halting=confident"],
            "unknown halting 'confident'; did you mean 'confidence'? known: all",
        ),
        (["halting.rules=[confidence]"], "halting=any_of and halting=all_of have it"),
        (["halting=any_of", "halting.rules=[sure]"], "unknown halting 'sure'"),
        (["halting=any_of", "halting.rules=[]"], "halting.rules must name at least one rule"),
        (["halting=bounded", "halting.max_loops=0"], "halting.max_loops must be at least"),
        (["halting=confidence", "halting.threshold=9"], "halting.threshold must be in (0, 1]"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(words: list[str], line: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011  the line is looked for below, as plain text
        read_use(StepwiseSampling, words)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_router_has_as_many_choices_as_the_core_has_loops() -> None:
    for name in ("token_choice", "expert_choice"):
        config = compose(["domain=toy", "size=tiny", f"halting={name}", "core.loops=7"])
        assert isinstance(config.halting, GROUPS["halting"][name])
        assert vars(config.halting)["loops"] == 7
