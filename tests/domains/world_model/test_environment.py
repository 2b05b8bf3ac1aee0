"""A world model as an environment: what Gymnasium asks of one, and what its rows are to each other."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from domains.world_model.models import adapter_of, make_model
from domains.world_model.planted import walker, walks
from domains.world_model.toys import ACTIONS, OBSERVATIONS
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import SyncVectorEnv
from tensordict import TensorDict

from loopverse import LoopedModel
from loopverse.errors import UserError
from loopverse_world_model.beginnings import beginnings_of, load_beginnings, save_beginnings
from loopverse_world_model.environment import LoopedWorldEnv, LoopedWorldVectorEnv
from loopverse_world_model.environment.lanes import Chance, Lanes
from loopverse_world_model.environment.opening import Opened
from loopverse_world_model.environment.world import World
from loopverse_world_model.imagination import Imagination

BOTH = pytest.mark.parametrize("stochastic", [False, True])


@pytest.fixture
def lenient() -> Iterator[None]:
    """The checker also has advice on bounds and names, which are those of the real environment."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", ".*(symmetric and normalized|does not have a spec|not having a spec)"
        )
        yield


@pytest.mark.usefixtures("lenient")
@BOTH
@pytest.mark.parametrize(
    ("space", "action"),
    [("vector", "box"), ("image", "discrete"), ("nested", "cards"), ("nested", "bits")],
)
def test_gymnasium_finds_nothing_wrong(space: str, action: str, stochastic: bool) -> None:
    model = make_model(space, action)
    env = LoopedWorldEnv(model=model, stochastic=stochastic, render_mode="rgb_array")
    check_env(env)
    assert env.observation_space == OBSERVATIONS[space]
    assert env.action_space == ACTIONS[action]


class Counter(gymnasium.Env[Any, Any]):
    """It shows one number, and then another one."""

    action_space = gymnasium.spaces.Discrete(2, start=1)

    def __init__(self, whole: bool) -> None:
        box = gymnasium.spaces.Box(0, 9, (), np.float32)
        self.observation_space = gymnasium.spaces.Discrete(5, start=2) if whole else box
        self.shown = np.int64 if whole else np.float32

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return np.array(self.shown(2))[()], {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.array(self.shown(3))[()], 0.0, True, False, {}


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("whole", [True, False])
def test_a_world_of_a_single_number_is_checked_too(whole: bool) -> None:
    gymnasium.register("CounterForWorlds-v0", Counter)  # pyright: ignore[reportArgumentType]
    try:
        model = make_model(env="CounterForWorlds-v0", env_kwargs={"whole": whole})
        env = LoopedWorldEnv(model=model, stochastic=True)
        check_env(env)
        observation, _ = env.reset(seed=0)
        assert type(observation) is (np.int64 if whole else np.ndarray)
        assert observation in env.observation_space
    finally:
        del gymnasium.registry["CounterForWorlds-v0"]


@BOTH
@pytest.mark.parametrize(
    ("space", "imagine", "num"),
    [
        ("vector", "decoded", 5),
        ("vector", "latent", 5),
        ("vector", "markov", 35),  # more than are computed at once
        ("nested", "decoded", 5),
        ("nested", "latent", 5),
        ("image", "decoded", 3),
    ],
)
def test_a_row_of_many_is_the_single_environment_to_the_bit(
    space: str, imagine: str, num: int, stochastic: bool
) -> None:
    """Through ends, restarts and rows that begin at different times; as separate ones side by side."""
    model = make_model(space, "box", imagine=imagine)
    _unsure(model)
    asked: dict[str, Any] = {"model": model, "stochastic": stochastic, "max_steps": 5}
    many = LoopedWorldVectorEnv(num, **asked)
    apart = SyncVectorEnv([lambda: LoopedWorldEnv(**asked)] * num)
    assert many.observation_space == apart.observation_space
    assert many.action_space == apart.action_space
    many.action_space.seed(0)
    ends = 0
    ours, theirs = many.reset(seed=3), apart.reset(seed=3)
    for _ in range(12):
        assert data_equivalence(ours[:-1], theirs[:-1], exact=True)
        assert ours[0] in many.observation_space
        actions = many.action_space.sample()
        ours, theirs = many.step(actions), apart.step(actions)
        ends += int(ours[2].sum()) + int(ours[3].sum())
    assert ends > num  # rows began anew, some before others
    assert data_equivalence(many.reset()[0], apart.reset()[0], exact=True)


def _unsure(model: LoopedModel) -> None:
    """So that episodes end here and there, also where nothing is drawn."""
    dynamics = adapter_of(model).dynamics
    with torch.no_grad():
        dynamics.going.weight.mul_(5.0)
        dynamics.going.bias.fill_(0.5)


def test_the_world_is_the_imagination_of_the_model() -> None:
    model = make_model("vector", "box")
    dynamics = adapter_of(model).dynamics
    env = LoopedWorldEnv(model=model)
    observation, _ = env.reset(seed=0)
    world = Imagination(dynamics, model.bind(2))
    memory = world.begin(1)
    with torch.no_grad():
        memory = world.observe(memory, _rows(torch.tensor(observation)[None], 1))
        for step in range(6):
            action = np.array([0.3 * step, -0.2], np.float32)
            observation, reward, ended, _, _ = env.step(action)
            memory, imagined = world.step(memory, dynamics.actions.encode(action[None]))
            assert np.allclose(observation, imagined.observation["value"][0], atol=1e-4)
            assert reward == pytest.approx(float(imagined.reward), abs=1e-4)
            assert ended == (float(imagined.keep_going) < 0.5)


def test_outcomes_are_drawn_from_what_is_predicted() -> None:
    """The mean and the deviation of many draws; and how often the episode goes on."""
    adapter, think = walker(walks([20]))
    leaf: Any = adapter.dynamics.leaves["value"]
    with torch.no_grad():
        leaf.head.bias[2:] = torch.tensor([0.3, 0.6]).log()
        adapter.dynamics.going.bias.fill_(1.0)
    start = torch.tensor([[1.0, 2.0]])
    lanes = Lanes(adapter, think, 5000)
    with torch.no_grad():
        lanes.place(torch.ones(5000, dtype=torch.bool), _rows(start, 5000))
        rng = torch.Generator().manual_seed(0)
        normal, uniform = torch.randn(5000, 3, generator=rng), torch.rand(5000, 1, generator=rng)
        turn = lanes.step(torch.full((5000, 1), 0.5), Chance(normal, uniform))
    outputs = leaf.head.bias.detach()
    deviations = leaf.distribution(
        outputs
    ).base_dist.scale.tolist()  # near 0.3 and 0.6, held in bounds
    values = turn.observation["value"]
    assert values.mean(0) == pytest.approx([1.5, 1.0], abs=0.03)
    assert values.std(0) == pytest.approx(deviations, rel=0.05)
    assert turn.goes_on.mean() == pytest.approx(1 / (1 + np.exp(-1)), abs=0.02)


def _rows(start: torch.Tensor, num: int) -> TensorDict:
    return TensorDict({"value": start.expand(num, -1)}, [num])


def test_categories_and_bits_are_drawn_as_often_as_they_are_probable() -> None:
    from loopverse_world_model.environment.lanes import _discrete
    from loopverse_world_model.prediction import categories

    place = torch.linspace(0, 1, 1001)[:-1, None].expand(-1, 2)
    chances = torch.tensor([0.1, 0.7, 0.2, 0.25, 0.75]).log()
    drawn = _discrete(categories(chances.expand(1000, -1), (3, 2)), place)
    assert drawn[:, 0].bincount().tolist() == pytest.approx([100, 700, 200], abs=2)
    assert drawn[:, 1].bincount().tolist() == pytest.approx([250, 750], abs=2)
    bits = torch.distributions.Bernoulli(torch.full((1000, 2), 0.3))
    drawn = _discrete(torch.distributions.Independent(bits, 1), place)
    assert drawn.float().mean(0).tolist() == pytest.approx([0.3, 0.3], abs=0.002)


def test_a_latent_model_reads_its_imagination_after_as_many_steps_as_it_was_trained_for() -> None:
    """Its state would go on adding up; begun anew from what it imagined, it forgets what it has summed."""
    records = walks([20], push=0.1)
    adapter, think = walker(records, imagine="latent", horizon=3)
    lanes = Lanes(adapter, think, 2)
    ages, states = [], []
    with torch.no_grad():
        lanes.place(torch.ones(2, dtype=torch.bool), _rows(torch.zeros(1, 2), 2))
        for step in range(1, 8):
            turn = lanes.step(torch.full((2, 1), 0.1), None)
            ages.append(int(lanes.memory.age[0]))
            states.append(0.0 if lanes.memory.z is None else float(lanes.memory.z[0, 0, 0]))
            assert turn.observation["value"][0] == pytest.approx(
                [0.1 * step, -0.2 * step], abs=1e-5
            )
    assert ages == [1, 2, 0, 1, 2, 0, 1]
    assert states == pytest.approx([0.1, 0.2, 0.0, 0.1, 0.2, 0.0, 0.1])


def test_numbers_stay_within_their_space_and_are_read_as_they_are_shown() -> None:
    records = walks([20])
    adapter, think = walker(records)
    adapter.config.env = ""
    leaf: Any = adapter.dynamics.observed[0]
    object.__setattr__(leaf, "high", (1.0,))
    lanes = Lanes(adapter, think, 1)
    with torch.no_grad():
        lanes.place(torch.ones(1, dtype=torch.bool), _rows(torch.tensor([[0.9, 0.0]]), 1))
        high = lanes.step(torch.ones(1, 1), None).observation["value"]
        down = lanes.step(-torch.ones(1, 1), None).observation["value"]
    assert high[0].tolist() == [1.0, -2.0]
    assert down[0].tolist() == [0.0, 0.0]  # from 1.0, not from 1.9


def test_whole_numbers_of_a_box_are_whole() -> None:
    from domains.world_model.planted import adapter_for
    from gymnasium import spaces

    adapter = adapter_for(spaces.Box(0, 255, (3,), np.uint8))
    lanes = Lanes(adapter, walker(walks([3]))[1], 1)
    leaf = adapter.dynamics.observed[0]
    shown = lanes._conforming(leaf, np.array([[-3.2, 7.6, 300.0]], np.float32))
    assert shown.dtype == np.uint8
    assert shown.tolist() == [[0, 8, 255]]


def test_an_episode_ends_after_its_largest_number_of_steps() -> None:
    model = make_model()
    with torch.no_grad():
        adapter_of(model).dynamics.going.bias.fill_(50.0)
    env = LoopedWorldEnv(model=model, max_steps=3)
    env.reset(seed=0)
    assert [env.step(0)[2:4] for _ in range(3)] == [(False, False)] * 2 + [(False, True)]
    env.reset()
    assert env.step(0)[3] is False


def test_the_usual_length_is_that_of_the_real_environment() -> None:
    assert LoopedWorldEnv(model=make_model()).max_steps == 1000  # the toy sets no limit
    cart_pole = make_model(env="CartPole-v1", env_kwargs={})
    assert LoopedWorldEnv(model=cart_pole).max_steps == 500


def test_seeds_decide_everything() -> None:
    env = LoopedWorldEnv(model=make_model("vector", "box"), stochastic=True)

    def played(seed: int) -> np.ndarray:
        seen = [env.reset(seed=seed)[0]]
        seen += [env.step(np.zeros(2, np.float32))[0] for _ in range(3)]
        return np.stack([*seen, env.reset()[0]])

    assert np.array_equal(played(1), played(1))
    assert not np.array_equal(played(1), played(2))


def test_pictures_are_shown_as_they_are_and_numbers_as_a_plot() -> None:
    env = LoopedWorldEnv(model=make_model("image"), render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    assert np.array_equal(env.render(), observation)
    plotted = LoopedWorldVectorEnv(2, model=make_model("nested"), render_mode="rgb_array")
    plotted.reset(seed=0)
    plotted.step(plotted.action_space.sample())
    frames = plotted.render()
    assert frames is not None
    assert [frame.dtype for frame in frames] == [np.uint8] * 2
    assert frames[0].ndim == 3
    assert frames[0].shape[2] == 3
    assert frames[0].std() > 0


def test_grey_pictures_and_those_with_transparency_become_coloured() -> None:
    from loopverse_world_model.environment.drawing import _rgb

    grey = np.full((8, 8, 1), 7, np.uint8)
    assert np.array_equal(_rgb(grey), np.full((8, 8, 3), 7, np.uint8))
    assert _rgb(np.zeros((8, 8, 4), np.uint8)).shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "give run='runs/NAME', or model=, got neither"),
        ({"run": "runs/x", "model": True}, "got both"),
        ({"run": "runs/x"}, "runs/x"),
        ({"model": True, "loops": 0}, "loops must be at least 1, got 0"),
        ({"model": True, "max_steps": 0}, "max_steps must be at least 1, got 0"),
        ({"model": True, "lanes": 0}, "lanes must be at least 1, got 0"),
        ({"model": True, "render_mode": "human"}, "'rgb_array' or None, got 'human'.*no window"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(asked: dict[str, Any], words: str) -> None:
    asked = {**asked, **({"model": make_model()} if asked.get("model") else {})}
    with pytest.raises(UserError, match=words):
        LoopedWorldEnv(**asked)


def test_a_model_of_another_domain_is_refused() -> None:
    from toy import Toy, ToyConfig

    from loopverse import CoreConfig
    from loopverse.nn import Embed, NoInjection

    core = CoreConfig(width=16, num_heads=2, injection=NoInjection(), init=Embed())
    stranger = LoopedModel(Toy(ToyConfig(), 16), core)
    with pytest.raises(
        UserError, match="the model is of the domain Toy, expected one trained with"
    ):
        LoopedWorldEnv(model=stranger)


@pytest.mark.parametrize(
    ("action", "given", "words"),
    [
        ("discrete", 3, r"expected actions in Discrete\(3\), got 3"),
        ("discrete", [0, 1], "actions must be of shape"),
        ("cards", [0, 3], "got 3"),
        ("bits", [0, 1, 2, 0], "got 2"),
        ("box", [float("nan"), 0.0], "got nan"),
    ],
)
def test_an_action_that_there_is_not_is_refused(action: str, given: Any, words: str) -> None:
    env = LoopedWorldEnv(model=make_model("vector", action))
    env.reset(seed=0)
    with pytest.raises(UserError, match=words):
        env.step(given)


def test_actions_beyond_their_bounds_count_as_those_at_the_bounds() -> None:
    env = LoopedWorldEnv(model=make_model("vector", "box"))

    def after(push: float) -> np.ndarray:
        env.reset(seed=0)
        return env.step(np.full(2, push))[0]

    assert np.array_equal(after(2.0), after(30.0))
    assert not np.array_equal(after(2.0), after(1.0))


def test_nothing_can_be_done_before_a_reset() -> None:
    model = make_model()
    with pytest.raises(gymnasium.error.ResetNeeded):
        LoopedWorldEnv(model=model).step(0)
    with pytest.raises(gymnasium.error.ResetNeeded):
        LoopedWorldVectorEnv(2, model=model).step(np.zeros(2, int))


def test_seeds_of_rows_are_as_many_as_rows_and_rows_are_not_reset_alone() -> None:
    env = LoopedWorldVectorEnv(3, model=make_model())
    with pytest.raises(UserError, match="expected one seed, or 3, one for each row, got 2"):
        env.reset(seed=[1, 2])
    with pytest.raises(UserError, match="leave reset_mask out"):
        env.reset(options={"reset_mask": np.array([True, False, False])})
    first = env.reset(seed=[5, None, 7])[0]
    assert np.array_equal(first[[0, 2]], env.reset(seed=[5, None, 7])[0][[0, 2]])


def test_imagination_that_is_no_longer_finite_is_an_error_and_not_an_observation() -> None:
    model = make_model()
    env = LoopedWorldVectorEnv(2, model=model)
    for _ in range(2):
        env.reset(seed=0)
        env.step(np.zeros(2, int))
    with torch.no_grad():
        leaf: Any = adapter_of(model).dynamics.leaves["value"]
        leaf.head.bias.fill_(torch.nan)
    with pytest.raises(
        FloatingPointError, match="not finite after 2 steps: the model does not hold"
    ):
        env.step(np.zeros(2, int))


def test_rows_that_share_their_lanes_with_idle_ones_are_refused_nothing() -> None:
    """A world of 3 rows in lanes of 2 is that of 3 rows in lanes of 2: one lane is half idle."""
    model = make_model()
    three, four = (LoopedWorldVectorEnv(n, model=model, lanes=2) for n in (3, 4))
    ours, theirs = three.reset(seed=0)[0], four.reset(seed=0)[0]
    for _ in range(5):
        assert np.array_equal(ours, theirs[:3])
        ours, theirs = three.step(np.ones(3, int))[0], four.step(np.ones(4, int))[0]


def test_first_observations_are_kept_and_come_back(tmp_path: Path) -> None:
    model = make_model("nested")
    adapter = adapter_of(model)
    records = adapter.source.records("train")
    kept = beginnings_of(records)
    firsts = [0, *(records["episode"].diff().nonzero()[:, 0] + 1).tolist()]
    assert len(kept) == len(firsts)
    assert (kept == records["observation"][firsts]).all()
    save_beginnings(kept, tmp_path)
    loaded = load_beginnings(tmp_path, adapter.dynamics.observed)
    assert (loaded == kept).all()
    assert {path: value.dtype for path, value in loaded.items()} == {
        path: value.dtype for path, value in kept.items()
    }
    other = adapter_of(make_model("vector")).dynamics.observed
    with pytest.raises(UserError, match="is of other observations than this model"):
        load_beginnings(tmp_path, other)
    (tmp_path / "beginnings.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="missing or damaged"):
        load_beginnings(tmp_path, adapter.dynamics.observed)


def test_of_many_first_observations_some_are_kept() -> None:
    records = walks([1] * 600)
    kept = beginnings_of(records)
    assert len(kept) == 256
    assert torch.equal(kept["value"][[0, -1]], records["observation", "value"][[0, 1198]])


def test_episodes_begin_where_episodes_began() -> None:
    adapter, think = walker(walks([5]))
    beginnings = _rows(torch.zeros(1, 2), 3)
    beginnings["value"] = torch.arange(6.0).reshape(3, 2)
    world = World(Opened(adapter, think, beginnings, 10), 40, stochastic=False, lanes=16)
    generators = [np.random.default_rng(row) for row in range(40)]
    seen = world.begin(np.ones(40, bool), generators)["value"]
    assert {tuple(row) for row in seen.tolist()} == {(0, 1), (2, 3), (4, 5)}


def test_importing_the_package_is_enough_for_gymnasium_to_know_the_world(tmp_path: Path) -> None:
    code = "import gymnasium; import loopverse_world_model; print(gymnasium.spec('loopverse/World-v0').entry_point)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "loopverse_world_model.environment:LoopedWorldEnv"


def test_the_world_is_made_by_its_name() -> None:
    model = make_model()
    env = gymnasium.make("loopverse_world_model:loopverse/World-v0", model=model, loops=1)
    assert isinstance(env.unwrapped, LoopedWorldEnv)
    many = gymnasium.make_vec(
        "loopverse/World-v0", 3, vectorization_mode="vector_entry_point", model=model
    )
    assert isinstance(many, LoopedWorldVectorEnv)
    assert many.num_envs == 3
    with pytest.raises(UserError, match="nowhere"):
        gymnasium.make("loopverse/World-v0", run="nowhere")
