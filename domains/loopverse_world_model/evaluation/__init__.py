"""What a world model knows: open-loop errors, calibration, long rollouts, deferred decoding."""

from loopverse_world_model.evaluation.allocation import allocation, difficulties
from loopverse_world_model.evaluation.baselines import LeastSquares, Persistence, baselines
from loopverse_world_model.evaluation.calibration import Calibration, calibration
from loopverse_world_model.evaluation.deferral import Deferral, deferral
from loopverse_world_model.evaluation.exhibits import exhibits
from loopverse_world_model.evaluation.forecasting import Forecast, Forecaster, ModelForecaster
from loopverse_world_model.evaluation.open_loop import (
    HORIZONS,
    OpenLoop,
    measure_errors,
    open_loop,
)
from loopverse_world_model.evaluation.rollouts import Rollouts, rollouts
from loopverse_world_model.evaluation.starts import Starts

__all__ = [
    "HORIZONS",
    "Calibration",
    "Deferral",
    "Forecast",
    "Forecaster",
    "LeastSquares",
    "ModelForecaster",
    "OpenLoop",
    "Persistence",
    "Rollouts",
    "Starts",
    "allocation",
    "baselines",
    "calibration",
    "deferral",
    "difficulties",
    "exhibits",
    "measure_errors",
    "open_loop",
    "rollouts",
]
