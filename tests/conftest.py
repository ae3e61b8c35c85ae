"""Fixtures for every folder of tests."""

from tests.simulator.fixtures import simulator, start_simulator

__all__ = ["simulator", "start_simulator"]
