"""Ctrl-C and SIGTERM: what was paid for is kept, what is left is told, the exit code is 130, and nothing is left behind."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.flows.commands.ingest.test_run import _endless_pdf
from tests.flows.site import ROOT, Site
from tests.system.crashes import library
from tests.system.crashes.processes import interrupt, processes_of, started, until
from tests.system.crashes.runs import Runs
from tests.system.crashes.states import States

AT_ONCE_S = 20.0
"""Of a loaded machine; what is not stopped in these tests goes on for longer, most of it for ever."""


def ends(process: subprocess.Popen[str], within_s: float) -> tuple[str, str]:
    """Standard output and error of a process that was stopped; both are complete, so nobody else holds them open."""
    began = time.monotonic()
    out, error = process.communicate(timeout=60)
    assert time.monotonic() - began < within_s
    assert process.returncode == 130, error
    assert "Traceback" not in error
    return out, error


def assert_goes_on(site: Site) -> None:
    """Nothing holds the lake or the collection any more, and what was bought is not bought again."""
    assert processes_of(site.folder) == []
    site.simulator.change({"faults": [], "latency": {"fixed_s": 0}})
    again = site.run("ingest", str(site.corpus))
    assert again.returncode == 0, again.stderr
    assert site.simulator.books.texts_bought_again == 0
    site.check(dimensions=64, max_tokens=library.MAX_TOKENS)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.thorough)])
def test_while_embedding_requests_under_way_are_awaited_and_kept(number: int, site: Site) -> None:
    library.write_first(site.corpus, 60)
    site.simulator.change({"latency": {"fixed_s": 0.4}})
    with started(site, "--json") as process:
        until(lambda: site.simulator.books.answered >= 4, "nothing is answered")
        interrupt(process, number)
        out, error = ends(process, 0.4 + AT_ONCE_S)
    report = json.loads(out)
    assert report["outcome"] == "interrupted"
    left = 61 - report["documents"]["added"]  # the first may be in by then
    assert report["left"] == {"files": left, "chunks": report["left"]["chunks"]}
    assert report["left"]["chunks"] > 0
    assert f"{left} files left" in error
    assert site.simulator.books.answered == report["requests"]["sent"]
    assert_goes_on(site)


def test_while_reading_nothing_is_waited_for(site: Site) -> None:
    for name in "abc":
        (site.corpus / f"{name}.pdf").write_bytes(_endless_pdf())
    with started(site) as process:
        # The forking, spawning and reading processes: this one, the resource tracker and a reader at least.
        until(lambda: len(processes_of(site.folder)) >= 3, "nobody reads")
        interrupt(process)
        out, error = ends(process, AT_ONCE_S)
    assert "left       3 files; 0 chunks of them were cut" in out
    assert re.search("interrupted with 3 files left .*; what was paid for is kept", error)
    assert processes_of(site.folder) == []


@pytest.mark.parametrize(
    "faults",
    [pytest.param({"fault": "html_503", "share": 1}, marks=pytest.mark.thorough), {"fault": "hang", "share": 1}],
)
def test_while_the_provider_fails_or_hangs_no_longer_than_one_request(faults: dict[str, object], site: Site) -> None:
    library.write_first(site.corpus, 20)
    site.overrides = (*site.overrides, "embedding.timeout_s=2")
    site.simulator.change({"faults": [faults]})
    with started(site) as process:
        until(lambda: site.simulator.books.requests >= 3, "nothing is sent")
        interrupt(process, signal.SIGTERM)
        ends(process, 2 + AT_ONCE_S)
    assert_goes_on(site)


def test_a_second_interrupt_ends_at_once_whatever_is_waited_for(site: Site) -> None:
    library.write_first(site.corpus, 20)
    site.simulator.change({"faults": [{"fault": "hang", "share": 1}]})
    with started(site) as process:
        until(lambda: site.simulator.books.requests > 0, "nothing is sent")
        interrupt(process)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)  # the requests under way have 10 s
        interrupt(process)
        out, _ = ends(process, AT_ONCE_S)
        assert out == ""  # who waits for them has something to tell at the end
        until(lambda: processes_of(site.folder) == [], "processes are left behind", patience_s=AT_ONCE_S)
    assert_goes_on(site)


@pytest.mark.parametrize(
    ("step", "occurrence"),
    [
        ("collection: upserted", 2),
        ("load: gone rows deleted", 1),
        pytest.param("jobs: claimed", 1, marks=pytest.mark.thorough),
        pytest.param("manifest: delta deleted", 1, marks=pytest.mark.thorough),
    ],
)
def test_in_the_middle_of_a_load_or_of_the_end_what_was_begun_is_finished(
    step: str, occurrence: int, states: States, runs: Runs
) -> None:
    site = states.back_to("edited")
    ended = runs.ingest(site, step, occurrence, signal.SIGTERM)
    assert ended.exit_code == 130
    assert "load: marked as leaving" not in ended.steps or "load: removed" in ended.steps
    states.assert_converges(states.rows["edited"], kills=0)


def test_before_anything_is_open_it_is_said_in_a_word(site: Site) -> None:
    """A signal that comes while modules are imported, which takes longest."""
    script = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # it is ignored where the tests run in the background
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'millrace.flows.commands.ingest.run':\n"
        "            os.kill(os.getpid(), {number})\n"
        "            for _ in range(1000): pass\n"  # where the handler runs; in a callback of the import it would be lost
        "sys.meta_path.insert(0, Finder())\n"
        "from millrace.flows.cli.main import main\n"
        "main()\n"
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        command = [
            sys.executable,
            "-c",
            script.format(number=int(number)),
            *site.arguments("ingest", str(site.corpus)),
            "--json",
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, cwd=ROOT, env=site.process_environment(), check=False
        )
        assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (130, 130)
        assert done.stderr.endswith("millrace: interrupted\n")
        assert "Traceback" not in done.stderr
