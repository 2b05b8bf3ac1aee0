"""What can be asked of generation."""

from dataclasses import dataclass, fields

from loopverse.domain import SampleSettings


@dataclass
class AutoregressiveSampling(SampleSettings):
    """What can be asked of the autoregressive domain's sampling.

    Attributes:
        places: texts under way at once, each in a loop of its own: none waits for one that needs more
            loops, and where one ends, the next prompt begins. What a text becomes does not depend on it.
            0: all prompts in step, token by token, each token as deep as the deepest of them.
    """

    places: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.places < 0:
            raise ValueError(f"places must be 0 (all prompts in step) or more, got {self.places}")

    @classmethod
    def of(cls, settings: SampleSettings) -> "AutoregressiveSampling":
        """The same, from settings that may know less."""
        if isinstance(settings, cls):
            return settings
        return cls(**{item.name: getattr(settings, item.name) for item in fields(SampleSettings)})
