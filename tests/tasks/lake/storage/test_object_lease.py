"""Who may write to a lake of objects, from whichever machine."""

import json
import threading
from dataclasses import asdict

import pyarrow as pa
import pytest

from millrace.tasks.errors import LakeError, LeaseHeld
from millrace.tasks.lake import Lake, ObjectPath, PartName
from millrace.tasks.lake.storage import object_lease
from millrace.tasks.lake.storage.atomic import write_bytes_atomically
from millrace.tasks.lake.storage.lease import Holder, myself, process_namespace
from millrace.tasks.lake.storage.object_lease import ObjectLease, claim
from millrace.tasks.records import MANIFEST_SCHEMA
from tests.system.servers.object_fixtures import Bucket


def claimed_by(holder: Holder, lease: ObjectPath, *, processes: str = "") -> ObjectPath:
    """The claim of another process, as it would have written it."""
    path = lease / "1234567890abcdef.json"
    found = {"holder": asdict(holder), "processes": processes or process_namespace(), "settled": True}
    write_bytes_atomically(json.dumps(found).encode(), path)
    return path


def elsewhere() -> Holder:
    return Holder(4711, "mill-2", "2026-11-21T07:00:00+00:00", "other", "1")


def test_a_second_writer_is_told_who_holds_it_and_gets_it_afterwards(bucket: Bucket) -> None:
    with Lake.open(bucket.lake, "documents"), pytest.raises(LeaseHeld, match=r"process \d+ on .* since"):
        Lake.open(bucket.seen_from("two"), "documents")
    with Lake.open(bucket.seen_from("two"), "documents"):
        pass
    assert not any(key.startswith("lease/") for key in bucket.objects())


def test_one_of_another_machine_holds_it_while_it_is_renewed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = claimed_by(elsewhere(), bucket.lake / "lease")
    with pytest.raises(LeaseHeld, match="process 4711 on mill-2 since 2026-11-21T07:00:00"):
        claim(bucket.lake / "lease", "The lake")
    monkeypatch.setattr(object_lease, "LAPSES_S", -1.0)  # by the clock of the store all of it is long ago
    claim(bucket.lake / "lease", "The lake").release()
    assert not theirs.exists()


def test_a_process_of_this_machine_that_is_gone_holds_nothing(bucket: Bucket) -> None:
    me = myself()
    dead = Holder(me.pid, me.host, me.since, me.boot, process_start="1")
    claimed_by(dead, bucket.lake / "lease")
    claim(bucket.lake / "lease", "The lake").release()


def test_a_namesake_in_another_container_may_well_live(bucket: Bucket) -> None:
    me = myself()
    claimed_by(Holder(me.pid, me.host, me.since, me.boot, "1"), bucket.lake / "lease", processes="pid:[1]")
    with pytest.raises(LeaseHeld):
        claim(bucket.lake / "lease", "The lake")


def test_of_those_who_come_together_never_two_hold_it_and_one_does(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_lease, "_PAUSE_S", (0.0, 0.3))
    holding: list[ObjectLease] = []
    refused: list[LeaseHeld] = []
    together = threading.Barrier(4)

    def come(machine: str) -> None:
        folder = bucket.seen_from(machine) / "lease"
        together.wait()
        try:
            holding.append(claim(folder, "The lake"))
        except LeaseHeld as held:
            refused.append(held)

    threads = [threading.Thread(target=come, args=(str(number),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(holding) <= 1
    assert len(holding) + len(refused) == 4
    for lease in holding:
        lease.release()


def test_a_holder_that_could_not_renew_writes_and_deletes_nothing_more(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.open(bucket.lake, "documents")
    before = bucket.objects()
    clock = object_lease._now_s() + object_lease.STOPS_S + 1
    monkeypatch.setattr(object_lease, "_now_s", lambda: clock)
    for write in (
        lambda: lake.manifest.commit(pa.Table.from_pylist([row()], schema=MANIFEST_SCHEMA), "job"),
        lake.next_job,
        lambda: lake.chunks.remove([PartName(1, 0)]),
        lake.require_lease,
    ):
        with pytest.raises(LakeError, match=r"was lost: it could not be renewed for more than 45 s"):
            write()
    lake.close()
    assert bucket.objects() == before


def test_a_holder_that_was_taken_for_dead_finds_out_and_stays_out(bucket: Bucket) -> None:
    lease = claim(bucket.lake / "lease", "The lake")
    ObjectPath(lease.path.key, bucket.seen_from("two").store).unlink()
    lease.renew()
    with pytest.raises(LakeError, match="taken over"):
        lease.require()
    lease.release()
    assert bucket.objects() == []


def row() -> dict[str, object]:
    return {field.name: "x" if pa.types.is_string(field.type) else 1 for field in MANIFEST_SCHEMA if not field.nullable}
