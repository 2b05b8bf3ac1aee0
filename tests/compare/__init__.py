"""Tests of loopverse.compare."""
