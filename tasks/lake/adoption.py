"""The ledger of one collection for another one as well: the same documents in the same parts, from now on its own."""

import os
import shutil
from pathlib import Path

from tasks.errors import LakeError
from tasks.lake.places import Place
from tasks.lake.writing import disk_errors, fsync_folder

_LEDGER = ("manifest.parquet", "manifest.d", "rejects", "chunks", "jobs.json")
"""All of a collection's folder but the records of its runs."""


def adopt(source: Place, target: Place) -> None:
    """Make `target` the folder of a collection with the ledger of that in `source`, at one stroke.

    No file of a ledger is ever changed in its place, so the two share their files as hard links, where the disk has
    such.

    Raises:
        LakeError: `target` is there already, the two are in a bucket, or the disk refuses.
    """
    if not isinstance(source, Path) or not isinstance(target, Path):
        raise LakeError(f"{target} is in a bucket, where nothing can be made at one stroke; ingest into it instead")
    if target.exists():
        raise LakeError(f"{target} is there already; remove it if nothing in it is wanted, or name another collection")
    making = target.with_name(f".{target.name}.tmp")
    with disk_errors(making, "Writing"):
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir()
        for name in _LEDGER:
            if (source / name).is_dir():
                shutil.copytree(source / name, making / name, copy_function=_link)
            elif (source / name).exists():
                _link(source / name, making / name)
    for folder in (making, *(path for path in making.rglob("*") if path.is_dir())):
        fsync_folder(folder)
    with disk_errors(target, "Writing"):
        making.rename(target)
    fsync_folder(target.parent)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
        descriptor = os.open(target, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
