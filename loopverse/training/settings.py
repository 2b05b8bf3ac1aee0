"""What the training loop can be told: the group `training` of the configuration."""

from dataclasses import dataclass, field

PRECISIONS = ("auto", "bf16", "fp32")


@dataclass
class TrainingSettings:
    """How long, in what portions and how carefully to train.

    Attributes:
        steps: optimiser steps of the whole run.
        start_from: a run whose weights a new run starts from, RUN or RUN@CHECKPOINT (best, last or a step;
            last if it is left out); empty: fresh weights.
        batch_size: sequences per micro-batch and process.
        accumulate: micro-batches per optimiser step; the gradient is the mean over all their units.
        clip: largest norm of the gradient; null does not clip.
        precision: bf16 (autocast), fp32, or auto: bf16 where the device computes it natively.
        compile: compile the blocks with torch.compile; a minute at the start, faster steps after.
        ema: decay of a moving average of the weights, used to evaluate; null keeps none.
        evaluate_every: steps between evaluations on held-out data.
        valid_batches: batches of one evaluation at most; null takes all.
        checkpoint_every: steps between checkpoints.
        keep: newest checkpoints kept, beside the best one.
        log_every: steps between rows of metrics.jsonl and the trackers.
        trackers: where else to log, by accelerate's names: tensorboard, wandb, mlflow, ...
    """

    steps: int = 1000
    start_from: str = ""
    batch_size: int = 16
    accumulate: int = 1
    clip: float | None = 1.0
    precision: str = "auto"
    compile: bool = False
    ema: float | None = None
    evaluate_every: int = 200
    valid_batches: int | None = 32
    checkpoint_every: int = 200
    keep: int = 2
    log_every: int = 1
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"])

    def __post_init__(self) -> None:
        for name in (
            *("steps", "batch_size", "accumulate", "evaluate_every", "valid_batches"),
            *("checkpoint_every", "keep", "log_every"),
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"training.{name} must be at least 1, got {value}")
        if self.clip is not None and self.clip <= 0:
            raise ValueError(f"training.clip must be above 0, or null for none, got {self.clip}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"training.ema must be in (0, 1), or null for none, got {self.ema}")
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"training.precision must be one of {', '.join(PRECISIONS)}, got {self.precision}"
            )
