"""What each loop of a trained model does, when to stop, and whether it converges."""

from loopverse.diagnosis.diagnose import Diagnosis, diagnose, diagnose_run
from loopverse.diagnosis.findings import Choice, Finding

__all__ = ["Choice", "Diagnosis", "Finding", "diagnose", "diagnose_run"]
