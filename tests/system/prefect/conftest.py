"""A site for each test."""

from tests.flows.conftest import site

__all__ = ["site"]
