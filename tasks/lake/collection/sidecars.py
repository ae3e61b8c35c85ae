"""Files that the reading processes of a run leave for others: sidecars of parts, and scratch files.

A sidecar describes a part that was made on another machine, so that only names cross between machines. It is read once
and deleted; those of an interrupted run belong to jobs that are never asked for again.

Scratch files lie beside the chunk parts. They have the names of temporary files, so that those of a killed run are
deleted with the others.
"""

import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake.collection.chunk_parts import PartName
from millrace.tasks.lake.storage.atomic import make_folder, remove_files, translate_os_errors
from millrace.tasks.lake.storage.json_file import read_json, write_json
from millrace.tasks.lake.storage.location import LakePath, local_folder
from millrace.tasks.records import MANIFEST_SCHEMA, REJECT_SCHEMA, LeftOut


class ScratchFiles:
    """The scratch files in `folder`. Needs no lease: a file is its maker's until its path is passed on."""

    def __init__(self, folder: LakePath) -> None:
        self._folder = local_folder(folder)

    def put(self, data: bytes) -> Path:
        """The path of a new file with `data`. Raises `LakeError` when the disk is full, read-only or failing."""
        make_folder(self._folder)
        with (
            translate_os_errors(self._folder, "Writing to"),
            tempfile.NamedTemporaryFile(prefix=".spool-", suffix=".tmp", dir=self._folder, delete=False) as sink,
        ):
            sink.write(data)
        return Path(sink.name)

    def take(self, path: Path) -> bytes:
        """What was put there. Raises `LakeError` when it cannot be read."""
        with translate_os_errors(path, "Reading"):
            return path.read_bytes()

    def discard(self, paths: Iterable[Path]) -> None:
        """Delete the files, those that are there."""
        for path in paths:
            with translate_os_errors(path, "Deleting"):
                path.unlink(missing_ok=True)


FOLDER = "slips"
_NAME = re.compile(r"(\d{6,})-(\d{3,})\.json")


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The documents that end in a part (`MANIFEST_SCHEMA`), its rejects (`REJECT_SCHEMA`), numbers by name.

    `left_out` counts what no reader takes in the files of the part.
    """

    documents: pa.Table
    rejects: pa.Table
    counts: Mapping[str, int]
    left_out: LeftOut


class Sidecars:
    """The sidecars in `folder`. Writing needs no lease: those of a job are written by the process that reads it."""

    def __init__(self, folder: LakePath) -> None:
        self._folder = folder

    def write(self, part: PartName, sidecar: Sidecar) -> None:
        """Write the sidecar of a part that is durable. Raises LakeError."""
        make_folder(self._folder)
        content = {
            "documents": sidecar.documents.to_pylist(),
            "rejects": sidecar.rejects.to_pylist(),
            "counts": dict(sidecar.counts),
            "left_out": asdict(sidecar.left_out),
        }
        write_json(self._path(part), content, indent=None)

    def consume(self, part: PartName) -> Sidecar:
        """The sidecar of a part; its file is deleted.

        Raises:
            LakeError: It is not there, or damaged.
        """
        path = self._path(part)
        try:
            content = read_json(path)
            sidecar = Sidecar(
                pa.Table.from_pylist(content["documents"], schema=MANIFEST_SCHEMA),
                pa.Table.from_pylist(content["rejects"], schema=REJECT_SCHEMA),
                {str(name): int(number) for name, number in content["counts"].items()},
                LeftOut(**content["left_out"]),
            )
        except LakeUnreachable:
            raise
        except (
            FileNotFoundError,
            LakeError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            pa.ArrowException,
        ) as error:
            raise LakeError(
                f"{path} cannot be read ({type(error).__name__}): do all reading machines reach the same lake? Run the"
                " same command again; it reads those files anew."
            ) from error
        remove_files([path])
        return sidecar

    def clear(self, *, below: int) -> None:
        """Delete the sidecars of jobs below `below`, left by runs that were killed. Raises LakeError."""
        if self._folder.is_dir():
            names = [path.name for path in self._folder.iterdir()]
            old = [name for name in names if (found := _NAME.fullmatch(name)) and int(found[1]) < below]
            remove_files([self._folder / name for name in old])

    def _path(self, part: PartName) -> LakePath:
        return self._folder / f"{part.job:06d}-{part.number:03d}.json"
