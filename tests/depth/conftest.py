"""Every test of this folder draws the same global noise."""

from strategies import same_noise

__all__ = ["same_noise"]
