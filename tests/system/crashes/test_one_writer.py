"""One writer at a time: a lake, and a collection, are held by one living process."""

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from millrace.configs.settings import Settings
from millrace.flows.wiring.milvus import lease_collection
from millrace.tasks.errors import CollectionError, LakeError, LeaseHeld
from tests.flows.site import Site
from tests.system.crashes.library import write_first
from tests.system.crashes.processes import started, until


def test_a_second_run_says_who_holds_the_lake_or_the_collection_and_ends_at_once(site: Site) -> None:
    write_first(site.corpus, 5)
    site.simulator.change({"faults": [{"fault": "hang", "share": 1}]})
    with started(site) as holder:
        until(lambda: site.simulator.books.requests > 0, "the holder sends nothing")
        same_lake = site.run("ingest", str(site.corpus), "--json")
        elsewhere = Site(site.folder, site.simulator, (*site.overrides, f"lake.path={site.folder / 'other'}"))
        same_collection = elsewhere.run("ingest", str(site.corpus))
        for refused, what in ((same_lake, f"The lake {site.lake}"), (same_collection, "The collection documents")):
            assert refused.returncode == 1
            assert f"{what}" in refused.stderr
            assert f"process {holder.pid} on {socket.gethostname()} since 20" in refused.stderr
            assert "Traceback" not in refused.stderr
        assert json.loads(same_lake.stdout)["exit_code"] == 1
        assert holder.poll() is None
        holder.kill()
        holder.wait()
        site.simulator.change({"faults": []})
        assert site.run("ingest", str(site.corpus)).returncode == 0
    site.check(dimensions=64)


def settings_of(site: Site, uri: str, collection: str = "documents") -> Settings:
    return site.settings(f"milvus.uri={uri}", f"milvus.collection={collection}")


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("http://Milvus.example:19530", "http://milvus.example:19530/"),
        ("https://milvus.example/books", "https://milvus.example/books"),
        ("{folder}/x.db", "{folder}/deep/../x.db"),
    ],
)
def test_a_collection_is_one_under_every_spelling_of_its_address(site: Site, mine: str, theirs: str) -> None:
    (site.folder / "deep").mkdir()
    mine, theirs = (uri.format(folder=site.folder) for uri in (mine, theirs))
    environment = {"XDG_STATE_HOME": str(site.folder / "state")}
    with lease_collection(settings_of(site, mine), environment):
        with pytest.raises(LeaseHeld, match=f"process {os.getpid()} on "):
            lease_collection(settings_of(site, theirs), environment)
        lease_collection(settings_of(site, theirs, "another"), environment).release()
    lease_collection(settings_of(site, theirs), environment).release()


def test_leases_on_servers_lie_in_the_users_state_folder(site: Site, tmp_path: Path) -> None:
    settings = settings_of(site, "http://milvus.example:19530")
    with lease_collection(settings, {"XDG_STATE_HOME": str(tmp_path / "state")}) as lease:
        assert lease.path.parent == tmp_path / "state" / "millrace" / "leases"
    with lease_collection(settings, {"HOME": str(tmp_path / "home")}) as lease:
        assert lease.path.parent == tmp_path / "home" / ".local" / "state" / "millrace" / "leases"
    (tmp_path / "file").write_text("")
    with pytest.raises(LakeError, match="file"):
        lease_collection(settings, {"XDG_STATE_HOME": str(tmp_path / "file")})


def test_a_milvus_lite_path_without_its_folder_is_told_as_such(site: Site) -> None:
    with pytest.raises(CollectionError, match="there is no folder"):
        lease_collection(settings_of(site, f"{site.folder}/nowhere/x.db"))


def test_a_stopped_holder_still_holds(site: Site) -> None:
    """A process that is merely suspended would go on writing when it wakes."""
    write_first(site.corpus, 5)
    site.simulator.change({"faults": [{"fault": "hang", "share": 1}]})
    with started(site) as holder:
        until(lambda: site.simulator.books.requests > 0, "the holder sends nothing")
        holder.send_signal(signal.SIGSTOP)
        assert site.run("ingest", str(site.corpus)).returncode == 1
