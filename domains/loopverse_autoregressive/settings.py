"""What can be asked of generation."""

from dataclasses import dataclass, fields

from loopverse.domain import SampleSettings

USUAL, IN_STEP = 64, 32
"""Places where nothing is asked, and up to how many prompts there are none then (docs/benchmarks.md)."""


@dataclass
class AutoregressiveSampling(SampleSettings):
    """What can be asked of the autoregressive domain's sampling.

    Attributes:
        places: texts under way at once, each in a loop of its own: none waits for one that needs more
            loops, and where one ends, the next prompt begins. What a text becomes does not depend on it.
            0: all prompts in step, token by token, each token as deep as the deepest of them. null: in 64
            places from 33 prompts on, in step with fewer, where that is as fast or faster.
    """

    places: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.places is not None and self.places < 0:
            raise ValueError(f"places must be 0 (all prompts in step) or more, got {self.places}")

    def places_for(self, prompts: int) -> int:
        """Places for so many prompts; 0: in step."""
        usual = USUAL if prompts > IN_STEP else 0
        places = usual if self.places is None else self.places
        return min(places, prompts) if prompts > 1 else 0  # a single prompt waits for no other

    @classmethod
    def of(cls, settings: SampleSettings) -> "AutoregressiveSampling":
        """The same, from settings that may know less."""
        if isinstance(settings, cls):
            return settings
        return cls(**{item.name: getattr(settings, item.name) for item in fields(SampleSettings)})
