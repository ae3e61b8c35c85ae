"""Checks of the lake: whether it can be read and written, who writes to it, and the room on the disks."""

import errno
import os
import shlex
import shutil
import socket
import tempfile
from pathlib import Path

from millrace.flows.commands.doctor.finding import Case, Finding, Skip, check
from millrace.flows.wiring.lake_location import lake_path
from millrace.flows.wiring.milvus import collection_lease_path
from millrace.tasks.errors import LakeError
from millrace.tasks.lake import Holder, Lake, ObjectPath, holder_at, local_folder
from millrace.tasks.milvus import is_lite, one_spelling

_LEAST_BYTES = 200_000_000
"""What a run writes before it can take anything back: journal, parts, and one file of the collection."""

_COMFORTABLE_BYTES = 2_000_000_000


@check
def lake(case: Case) -> Finding:
    """Whether the lake can be read, and this user may write to it."""
    path, settings = lake_path(case.settings), case.settings
    if isinstance(path, ObjectPath):
        case.need_network()
        return _contents(path, settings.milvus.collection)
    folder = _nearest(path.absolute())
    if not folder.is_dir():
        return Finding("fails", f"{folder} is a file, not a folder", case.correct("lake.path", "/another/folder"))
    if refusal := _why_not_written(folder):
        quoted = shlex.quote(str(folder))
        mend = f"sudo chown -R $(id -u) {quoted}  # or set lake.path to a folder of yours"
        if refusal == os.strerror(errno.EROFS):
            mend = f"sudo mount -o remount,rw {quoted}  # or set lake.path to another disk"
        return Finding("fails", f"nothing can be written in {folder}: {refusal}", mend)
    return _contents(path, settings.milvus.collection)


@check
def object_storage(case: Case) -> Finding:
    """Whether the bucket of a lake among objects answers, and is there; what may be written is not tried."""
    path = lake_path(case.settings)
    if not isinstance(path, ObjectPath):
        return Finding("ok", "not used: the lake is a folder")
    case.need_network()
    bucket = ObjectPath(path.key.partition("/")[0], path.store)
    where = path.store.endpoint or "AWS"
    try:
        found = bucket.exists()
    except LakeError as error:
        return Finding(
            "fails", str(error), "export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=...  # or correct lake.endpoint"
        )
    if not found:
        endpoint = f" --endpoint-url {path.store.endpoint}" if path.store.endpoint else ""
        return Finding("fails", f"there is no bucket {bucket} at {where}", f"aws s3 mb {bucket}{endpoint}")
    return Finding("ok", f"{bucket} at {where}; whether it may be written was not tried")


@check
def lease(case: Case) -> Finding:
    """Whether anybody writes to the lake or to the collection, and who."""
    path = lake_path(case.settings)
    if isinstance(path, ObjectPath):
        case.need_network()
    try:
        held = _held(case, path)
    except LakeError as error:
        raise Skip("the lake cannot be read") from error
    if not held:
        return Finding("ok", "free: nobody writes to the lake or to the collection")
    said = "; ".join(f"the {what} is being written by {holder}" for what, holder in held)
    return Finding("fails", said, _stop(held[0][1]))


@check
def disk(case: Case) -> Finding:
    """Whether there is room for a run where it writes."""
    path, uri = lake_path(case.settings), case.settings.milvus.uri
    places = {"lake": local_folder(path), "temporary files": Path(tempfile.gettempdir())}
    if is_lite(uri):
        places["Milvus Lite"] = Path(one_spelling(uri))
    usage = {what: shutil.disk_usage(_nearest(place.absolute())) for what, place in places.items()}
    free = {what: usage_of.free for what, usage_of in usage.items() if usage_of.total}  # some say nothing
    said = ", ".join(f"{_size(size_bytes)} for {what}" for what, size_bytes in free.items())
    least = min(free, key=lambda what: free[what])
    if free[least] >= _COMFORTABLE_BYTES:
        return Finding("ok", f"free: {said}")
    folder = shlex.quote(str(_nearest(places[least].absolute())))
    said = f"free: {said}; {least} needs more, and a million chunks of 1,024 numbers take some 5 GB"
    if free[least] >= _LEAST_BYTES:
        return Finding("note", said)
    mend = f"du -xh {folder} | sort -h | tail  # delete what is not needed, or use a larger disk"
    return Finding("fails", said, f"millrace prune --yes  # then {mend}" if least == "lake" else mend)


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:,.0f} MB"


def _held(case: Case, lake: Path | ObjectPath) -> list[tuple[str, Holder]]:
    places = {"lake": lake / "lease", "collection": collection_lease_path(case.settings)}
    return [(what, holder) for what, place in places.items() if (holder := holder_at(place)) is not None]


def _contents(path: Path | ObjectPath, collection: str) -> Finding:
    opened = Lake.open(path, collection, read_only=True)
    try:
        documents = opened.manifest.read(["chunks"]).num_rows
        opened.rejects.outstanding()
    except LakeError as error:
        return Finding("fails", str(error), "millrace verify --repair")
    damaged = tuple(damage.message for damage in opened.damaged_records())
    if not opened.collection_dir.is_dir():
        return Finding("ok", f"{path}: nothing of collection {collection} yet")
    return Finding("note" if damaged else "ok", f"{path}: {documents:,} documents of {collection}", details=damaged)


def _nearest(path: Path) -> Path:
    """The path itself, or the nearest of its parents that is there."""
    return next(one for one in (path, *path.parents) if one.exists())


def _why_not_written(folder: Path) -> str:
    """Why this user cannot write a file in `folder`, "" if it can: tried with a file that never has a name."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if error.errno in {errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL}:  # no such files here
            return "" if os.access(folder, os.R_OK | os.W_OK | os.X_OK) else os.strerror(errno.EACCES)
        return os.strerror(error.errno or errno.EIO)
    return ""


def _stop(holder: Holder) -> str:
    here = holder.host == socket.gethostname()
    return (
        f"kill -TERM {holder.pid}"
        + ("" if here else f"  # on {holder.host}")
        + ("  # or wait until it is done" if here else "")
    )
