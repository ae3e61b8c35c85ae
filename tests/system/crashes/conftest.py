"""A process that forks runs, and saved states to which a site can go back."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.site import ROOT, Site
from tests.simulator.server import Simulator, running_simulator
from tests.simulator.settings import API_KEY
from tests.system.crashes import library
from tests.system.crashes.runs import Runs
from tests.system.crashes.states import States


@pytest.fixture(scope="session")
def runs() -> Iterator[Runs]:
    with Runs({"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "DASHSCOPE_API_KEY": API_KEY}) as forking:
        yield forking


@pytest.fixture(scope="session")
def states(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[States]:
    """A site, and its states before the first run, after it, and after the corpus was edited."""
    with running_simulator() as simulator:
        yield States(Site(tmp_path_factory.mktemp("site"), simulator, small_site()), runs)


@pytest.fixture
def site(tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An empty site of its own."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", API_KEY)
    made = Site(tmp_path, simulator, small_site())
    made.corpus.mkdir()
    return made


def small_site() -> tuple[str, ...]:
    """Many chunks that cost little, and two requests under way at most."""
    return ("embedding.dimensions=64", f"chunking.max_tokens={library.MAX_TOKENS}", "limits.max_in_flight=2")
