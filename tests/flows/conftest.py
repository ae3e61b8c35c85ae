"""A site for each test."""

from pathlib import Path

import pytest

from tests.flows.site import Site
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY


@pytest.fixture
def site(tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An empty corpus, an empty lake, and a provider without limits."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", API_KEY)
    site = Site(tmp_path, simulator)
    site.corpus.mkdir()
    return site
