"""Another collection behind the name that searches use, while somebody searches: no error and no empty answer."""

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator

import pytest

from millrace.configs.settings import Settings
from millrace.flows.commands.rebuild import rebuild
from millrace.flows.commands.search.alias import with_alias_resolved
from millrace.flows.commands.search.search import search
from millrace.flows.commands.switch import SwitchResult, drop_old, switch, switch_back
from millrace.flows.commands.verify.verify import verify
from millrace.flows.wiring import milvus
from millrace.tasks.errors import CollectionMissing, ConfigurationError, LeaseHeld, MillraceError
from millrace.tasks.lake import Lake
from millrace.tasks.milvus import Aliases, Collection, MilvusAddress
from tests.flows.commands.verify.test_verify import assert_same
from tests.flows.site import ROOT, Site
from tests.system.servers.fixtures import LITE_AND_SERVER

SAMPLE = ROOT / "data" / "sample"
SEARCHES_PER_S = 20
OTHER_SHAPE = ("milvus.metric=IP", "milvus.content_max_bytes=4096")
QUESTION = "水斗板和木齿的含水率"

pytestmark = pytest.mark.timeout(400)

KILLED_AT = """
import os, signal, sys
from millrace.configs.settings import load_settings
from millrace.flows.commands.switch import switch

def kill(step):
    if step == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)

switch(load_settings(overrides=sys.argv[2:], environment={}), source="", sample=20, move=True, quiet=True, checkpoint=kill)
"""


@pytest.fixture(params=LITE_AND_SERVER)
def site(request: pytest.FixtureRequest, site: Site) -> Iterator[Site]:
    """A site whose old and new collection, and their alias, bear names of their own."""
    mark = uuid.uuid4().hex[:12]
    site.overrides = (
        "embedding.provider=local", "embedding.base_url=",
        f"milvus.collection=old_{mark}", f"milvus.alias=live_{mark}",
    )  # fmt: skip
    if request.param == "server":
        site.overrides += (f"milvus.uri={request.getfixturevalue('server_uri')}",)
    yield site
    for name in (f"old_{mark}", f"new_{mark}"):
        milvus.drop_collection(site.settings(f"milvus.collection={name}"))


def new(site: Site) -> str:
    """The setting that names the new collection."""
    return f"milvus.collection={site.settings().milvus.collection.replace('old_', 'new_')}"


def switched(settings: Settings, **more: object) -> SwitchResult:
    return switch(settings, **({"source": "", "sample": 20, "move": True, "quiet": True} | more))  # type: ignore[arg-type]


class Reader:
    """Asks twenty times a second, in a thread of its own: how many rows each time, or what went wrong."""

    def __init__(self, ask: Callable[[], int]) -> None:
        self._ask = ask
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self.answers: list[int] = []
        self.errors: list[str] = []

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._stop.wait(1 / SEARCHES_PER_S):
            try:
                self.answers.append(self._ask())
            except Exception as error:  # noqa: BLE001 - the claim is that there is none
                self.errors.append(repr(error) + str(error))


def asking(settings: Settings, aliases: Aliases) -> Callable[[], int]:
    """What anybody's program does: search by the alias through the client library, knowing nothing of millrace."""
    client = aliases._connection.client
    client.load_collection(settings.milvus.alias)  # which Milvus Lite wants after each opening

    def ask() -> int:
        return len(client.search(settings.milvus.alias, data=[[1.0] * 1024], limit=5, anns_field="embedding")[0])

    return ask


def test_a_reader_of_the_alias_notices_neither_the_switch_nor_the_way_back(site: Site) -> None:
    site.ingest(sources=[SAMPLE])
    before = site.rows()
    old, changed = site.settings(), site.settings(new(site), *OTHER_SHAPE)
    first = switched(old)
    assert (first.before, first.now, first.problems) == ("", old.milvus.collection, [])
    with milvus.open_aliases(old) as aliases, Reader(asking(old, aliases)) as reader:
        there = switched(changed)
        assert (there.problems, there.built, there.moved) == ([], len(before), True)
        assert aliases.target(old.milvus.alias) == changed.milvus.collection
        again = switch_back(changed)
        assert aliases.target(old.milvus.alias) == old.milvus.collection
        forth = switch_back(changed)
        assert aliases.target(old.milvus.alias) == changed.milvus.collection
    assert reader.errors == []
    assert len(reader.answers) >= 5
    assert set(reader.answers) == {5}
    assert there.trial is not None
    assert (there.trial.missing, there.trial.found, there.trial.sampled) == (0, there.trial.sampled, 20)
    assert there.trial.alike is not None
    assert there.trial.alike > 0.9
    assert [again.now, forth.now] == [old.milvus.collection, changed.milvus.collection]
    assert_same(site.rows(new(site), *OTHER_SHAPE), before)


def test_the_new_collection_is_the_lakes_own_from_then_on(site: Site) -> None:
    site.ingest(sources=[SAMPLE])
    switched(site.settings())
    switched(site.settings(new(site)))
    later = site.ingest(new(site), sources=[SAMPLE])
    assert (later.documents.unchanged, later.chunks.upserted) == (later.documents.seen, 0)
    assert verify(site.settings(new(site)), [SAMPLE], as_json=True).exit_code == 0
    with pytest.raises(ConfigurationError, match="Nothing was dropped"):
        drop_old(site.settings())
    assert drop_old(site.settings(new(site))).dropped == [site.settings().milvus.collection]
    with pytest.raises(ConfigurationError, match="knows of no collection"):
        switch_back(site.settings(new(site)))
    assert search("水斗板", settings=site.settings(), top_n=1).hits
    with pytest.raises(ConfigurationError, match="millrace switch"):
        rebuild(site.settings(new(site)), into="", drop=True, quiet=True)
    assert search("水斗板", settings=site.settings(), top_n=1).hits


def test_searches_follow_the_alias_to_another_model_and_shape_without_new_settings(site: Site) -> None:
    site.ingest(sources=[SAMPLE])
    old = site.settings()
    switched(old)
    provider = ("embedding.provider=dashscope", f"embedding.base_url={site.simulator.base_url}")
    changed = (new(site), *provider, "embedding.dimensions=256", "milvus.metric=IP")
    with pytest.raises(ConfigurationError, match="run `millrace ingest` with these settings first"):
        switched(site.settings(*changed))
    assert site.ingest(*changed, sources=[SAMPLE]).exit_code == 0

    def ask(settings: Settings) -> int:
        return len(search(QUESTION, settings=settings, top_n=3, rerank=False).hits)

    with Reader(lambda: ask(old)) as outdated, Reader(lambda: ask(site.settings(*changed))) as ahead:
        report = switched(site.settings(*changed))
        assert (report.problems, report.built, report.moved) == ([], 0, True)
        assert report.trial is not None
        assert report.trial.asked_both == 20
        assert ask(old) == 3
        switch_back(site.settings(*changed))
        assert ask(site.settings(*changed)) == 3
    assert outdated.errors + ahead.errors == []
    assert set(outdated.answers + ahead.answers) == {3}


def test_a_search_whose_collection_goes_under_it_asks_what_the_alias_stands_for_now(site: Site) -> None:
    site.write("a.txt", "The sluice is opened at dawn.")
    site.ingest()
    switched(site.settings())
    switched(site.settings(new(site)))
    asked = []

    def ask(chosen: Settings, _notes: list[str]) -> str:
        asked.append(chosen.milvus.collection[:4])
        if len(asked) == 1:
            switch_back(site.settings())
            raise CollectionMissing("dropped meanwhile")
        return "answer"

    assert with_alias_resolved(site.settings(), ask) == "answer"
    assert asked == ["new_", "old_"]
    with pytest.raises(CollectionMissing, match="for good"):
        with_alias_resolved(site.settings(), lambda _chosen, _notes: missing("for good"))


def missing(why: str) -> None:
    raise CollectionMissing(why)


def test_a_switch_that_is_killed_between_any_two_steps_goes_on_where_it_was(site: Site) -> None:
    for number in range(5):
        site.write(f"{number}.txt", f"Lock number {number} is repaired in the year {1900 + number}.")
    site.ingest()
    switched(site.settings())
    steps = ["rebuild: begun", "collection: upserted", "lake: adopted", "switch: tried", "switch: noted"]
    for step in [*steps, "switch: moved"]:
        done = subprocess.run(
            [sys.executable, "-c", KILLED_AT, step, *site.assignments(new(site))],
            capture_output=True, text=True, timeout=100, env=site.process_environment(), check=False,
        )  # fmt: skip
        assert done.returncode == -9, (step, done.stderr)
        assert len(search("Lock", settings=site.settings(), top_n=5).hits) == 5
        with milvus.open_aliases(site.settings()) as aliases:
            went = aliases.target(site.settings().milvus.alias)
        assert went.startswith("new_" if step == "switch: moved" else "old_"), step
        if step == "collection: upserted":  # which leaves rows of what is not any more in what was half made
            site.write("0.txt", "Lock number 0 was filled up.")
            site.ingest()
    report = switched(site.settings(new(site)))
    assert (report.problems, report.moved, report.earlier) == ([], False, [site.settings().milvus.collection])
    assert_same(site.rows(new(site)), site.rows())
    assert site.ingest(new(site)).chunks.upserted == 0
    assert switch_back(site.settings(new(site))).now == site.settings().milvus.collection


def test_a_collection_that_lacks_rows_is_not_switched_to(site: Site) -> None:
    site.ingest(sources=[SAMPLE])
    switched(site.settings())
    site.ingest(new(site), sources=[SAMPLE])
    settings = site.settings(new(site))
    lost = list(site.rows(new(site)))[:2]
    with Collection.open(MilvusAddress(settings.milvus.uri), settings.milvus.collection) as collection:
        collection.delete(lost)
    report = switched(settings)
    assert (report.exit_code, report.moved) == (1, False)
    assert "2 of" in report.problems[0]
    with milvus.open_aliases(settings) as aliases:
        assert aliases.target(settings.milvus.alias) == site.settings().milvus.collection


def test_a_collection_that_lacks_documents_is_not_switched_to_unasked(site: Site) -> None:
    for number in range(4):
        site.write(f"{number}.txt", f"Lock number {number} is repaired in the year {1900 + number}.")
    site.ingest()
    switched(site.settings())
    site.ingest(new(site), sources=[site.corpus / "1.txt", site.corpus / "2.txt", site.corpus / "3.txt"])
    refused = switched(site.settings(new(site)))
    assert (refused.exit_code, refused.moved, refused.lacking_documents) == (1, False, 1)
    assert "1 of 4 documents" in refused.problems[0]
    assert switched(site.settings(new(site), "sources.max_removed_share=0.5")).moved


def test_the_way_back_waits_for_no_run_and_only_one_process_moves_aliases(site: Site) -> None:
    site.write("a.txt", "The sluice is opened at dawn.")
    site.ingest()
    switched(site.settings())
    switched(site.settings(new(site)))
    with Lake.open(site.lake, "another") as lake:  # as a run does
        with pytest.raises(LeaseHeld, match="The lake"):
            switched(site.settings(new(site)))
        with lake.switches.acquire_lease(), pytest.raises(LeaseHeld, match="aliases"):
            switch_back(site.settings(new(site)))
        assert switch_back(site.settings(new(site))).moved
    milvus.drop_collection(site.settings(new(site)))
    with pytest.raises(CollectionMissing, match="millrace rebuild"):
        switch_back(site.settings(new(site)))
    assert search("sluice", settings=site.settings(), top_n=1).hits


def test_without_an_alias_or_anything_to_make_it_from_the_user_is_told(site: Site) -> None:
    with pytest.raises(ConfigurationError, match=r"milvus\.alias is not set"):
        switched(site.settings("milvus.alias="))
    with pytest.raises(ConfigurationError, match="knows nothing of the collection"):
        switched(site.settings())
    same = site.settings().milvus.collection
    with pytest.raises(ConfigurationError, match="an alias needs another name"):
        switched(site.settings(f"milvus.alias={same}"))
    site.write("a.txt", "The sluice is opened at dawn.")
    site.ingest()
    with Lake.open(site.lake, site.settings(new(site)).milvus.collection):
        pass  # a run that came to nothing
    with pytest.raises(ConfigurationError, match="no row of it"):
        switched(site.settings(new(site)), source=same)
    found = search("sluice", settings=site.settings())
    assert found.hits
    assert "stands for nothing yet" in found.notes[0]
    with pytest.raises(MillraceError, match="name of a collection"):
        switched(site.settings(f"milvus.alias={same}", "milvus.collection=third"), source=same)
    milvus.drop_collection(site.settings("milvus.collection=third"))


def test_the_command_tries_moves_and_goes_back(site: Site) -> None:
    site.ingest(sources=[SAMPLE])
    tried = site.run("switch", "--try", "--json")
    assert (tried.returncode, json.loads(tried.stdout)["now"]) == (0, ""), tried.stderr
    moved = site.run("switch")
    assert moved.returncode == 0, moved.stderr
    assert "moved" in moved.stdout
    assert "goes back" not in moved.stdout
    wrong = site.run("switch", "--back", "--drop-old")
    assert (wrong.returncode, "each go alone" in wrong.stderr) == (2, True)
    back = site.run("switch", "--back")
    assert (back.returncode, "knows of no collection" in back.stderr) == (2, True)
    asked = site.run("eval", "--sample", "10", "--json")
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["collection"] == site.settings().milvus.collection
    runs = Lake.open(site.lake, site.settings().milvus.collection, read_only=True).runs.newest()
    assert {run.command for run in runs} == {"ingest", "switch"}
