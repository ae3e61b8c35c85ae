"""Runs killed with SIGKILL at random moments: what is bought again, and whether the rows are those of a quiet run."""

import random
import tempfile
from pathlib import Path

from tests.benchmarks.row import Row
from tests.flows.prose import english
from tests.flows.site import Site
from tests.simulator.server import running_simulator
from tests.system.crashes.processes import started, until

KILLS, DOCUMENTS = 8, 150
IN_FLIGHT, TEXTS_A_REQUEST = 6, 10


def measure() -> list[Row]:
    """One row: `KILLS` runs over one corpus are killed one after the other, and the last comes to its end."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder, running_simulator() as simulator:
        simulator.change({"latency": {"fixed_s": 0.08, "jitter_s": 0.05}})
        site = Site(Path(folder), simulator, (f"limits.max_in_flight={IN_FLIGHT}",))
        for number in range(DOCUMENTS):
            site.write(f"{number:03d}.txt", english(110, seed=number))
        chance = random.Random(0)
        for _ in range(KILLS):
            _kill(site, chance)
        done = site.run("ingest", str(site.corpus), "--json")
        assert done.returncode == 0, done.stderr
        books = simulator.books
        rows = site.check()  # every row: text, vector, ids, that no text of a document is lacking
        bought_again = books.texts_bought_again - max(0, books.text("millrace").bought - 1)  # that tries the key
    return [
        Row(
            f"kill -9, {KILLS} times in a run of {len(rows):,} chunks",
            "bought again <= in flight; 0 rows lost, doubled or mismatched",
            f"{bought_again} texts bought again, up to {IN_FLIGHT * TEXTS_A_REQUEST} in flight at each kill; "
            "0 rows lost, doubled or mismatched (every row compared)",
        )
    ]


def _kill(site: Site, chance: random.Random) -> None:
    """Kill a run some answers after its start."""
    books = site.simulator.books
    with started(site) as process:
        wanted = books.answered + chance.randint(3, 14)
        until(lambda: books.answered >= wanted or process.poll() is not None, "the provider is not asked")
        assert process.poll() is None, "it came to its end before it was killed"
        process.kill()
