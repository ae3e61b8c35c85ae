"""The command, killed with SIGKILL at random moments again and again until a run comes to its end."""

import random
import subprocess
import time

import pytest

from tests.flows.site import Site
from tests.system.crashes import library
from tests.system.crashes.processes import processes_of, started, until
from tests.system.crashes.runs import assert_rows_are_the_lakes, assert_same_rows, assert_tidy

IN_FLIGHT = 4


def wait_for_answers(site: Site, process: subprocess.Popen[str], more: int) -> None:
    answered = site.simulator.books.answered + more
    until(lambda: site.simulator.books.answered >= answered or process.poll() is not None, "the provider is not asked")


def kill_until_it_ends(site: Site, kills: int, chance: random.Random) -> int:
    """How many runs were killed, `kills` at most, before one came to its end."""
    site.simulator.change({"latency": {"fixed_s": 0.06, "jitter_s": 0.05}})
    for killed in range(kills):
        with started(site) as process:
            wait_for_answers(site, process, chance.randrange(14))
            time.sleep(chance.uniform(0.0, 0.4))  # not waiting for anything: the moment is what is random
            if process.poll() is not None:
                assert process.returncode in {0, 3}, process.communicate()
                return killed
            process.kill()
    return kills


def assert_killing_changed_nothing(site: Site, kills: int, wanted_exit: int) -> None:
    ended = site.run("ingest", str(site.corpus), "--json")
    assert ended.returncode == wanted_exit, ended.stderr
    bought_again = site.simulator.books.texts_bought_again
    assert bought_again <= 10 * IN_FLIGHT * kills
    rows = site.rows()
    assert_rows_are_the_lakes(site, rows)
    assert_tidy(site)
    assert processes_of(site.folder) == []
    elsewhere = (f"lake.path={site.folder / 'lake-2'}", f"milvus.uri={site.folder / 'milvus-2.db'}")
    assert site.ingest(*elsewhere).exit_code == wanted_exit
    assert_same_rows(rows, site.rows(*elsewhere))


@pytest.mark.parametrize(
    ("documents", "kills"),
    [
        pytest.param(100, 6, marks=pytest.mark.timeout(300)),
        pytest.param(600, 60, marks=[pytest.mark.thorough, pytest.mark.timeout(3600)]),
    ],
)
def test_whatever_the_moments_the_rows_are_those_of_an_undisturbed_run(documents: int, kills: int, site: Site) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    site.overrides = (*site.overrides, f"limits.max_in_flight={IN_FLIGHT}")
    library.write_first(site.corpus, documents)
    killed = kill_until_it_ends(site, kills // 2, chance)
    (site.corpus / "a" / "002.md").unlink()  # while a run over it lies broken off
    library.edit(site.corpus)
    (site.corpus / "a" / "002.md").unlink()
    killed += kill_until_it_ends(site, kills - kills // 2, chance)
    site.simulator.change({"latency": {"fixed_s": 0, "jitter_s": 0}})
    assert_killing_changed_nothing(site, killed, wanted_exit=0)
