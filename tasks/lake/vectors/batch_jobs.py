"""Batch jobs and the texts they carry: one small record a job, written before each step, and one Parquet file.

A job's record says how far it is; whoever goes on after a kill reads it. Its texts are kept until their vectors are in
the store. Records stay: how long jobs took, and what they cost, is asked later.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

import pyarrow as pa

from millrace.tasks.errors import LakeError, LakeUnreachable
from millrace.tasks.lake.storage.atomic import (
    Checkpoint,
    Damage,
    make_folder,
    no_checkpoint,
    read_table,
    remove_files,
    write_table_atomically,
)
from millrace.tasks.lake.storage.json_file import read_json, write_json
from millrace.tasks.lake.storage.location import LakePath, names_in
from millrace.tasks.records import TEXT_KEY_BYTES

BatchState: TypeAlias = Literal[
    "written", "uploading", "uploaded", "creating", "open", "over", "journalled", "settled", "dropped"
]
"""How far a job is. Before "uploaded" and "open" stand the states in which an answer may be lost; "over" is a job that
the provider has ended and whose results are to be taken; "journalled" one whose files are still to be deleted there;
"dropped" one that was never started, or was given up by the user."""

OPEN_STATES = frozenset(get_args(BatchState)) - {"settled", "dropped"}

TEXTS_SCHEMA = pa.schema(
    [
        pa.field("line", pa.int32(), nullable=False),
        pa.field("text_key", pa.binary(TEXT_KEY_BYTES), nullable=False),
        pa.field("content", pa.string(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)
"""The texts of a job, in the order of its lines; `tokens` with the end mark."""


@dataclass(frozen=True, slots=True)
class BatchJob:
    """One job. Times are UTC, ISO 8601, "" while they have not come.

    `account` tells keys apart without being one. `remote` is the provider's last word on the job, since `changed`.
    `answered`, `refused` and `not_run` count texts, `tokens_billed` is by the provider's answers. `reserved_cny` is the
    price of its tokens as they are counted here.
    """

    name: str
    run: str
    collection: str
    state: BatchState
    endpoint: str
    account: str
    texts: int
    lines: int
    tokens: int
    created: str
    file_name: str = ""
    file_bytes: int = 0
    input_file: str = ""
    id: str = ""
    remote: str = ""
    changed: str = ""
    submitted: str = ""
    ended: str = ""
    output_file: str = ""
    error_file: str = ""
    lines_done: int = 0
    cancelling: bool = False
    deadline: str = ""
    answered: int = 0
    refused: int = 0
    not_run: int = 0
    tokens_billed: int = 0
    cost_cny: float = 0.0
    reserved_cny: float = 0.0
    problem: str = ""

    @property
    def open(self) -> bool:
        """Whether it is not at its end yet."""
        return self.state in OPEN_STATES


class BatchJobs:
    """The jobs of one embedding space, in `folder`; written by the holder of the lake's lease."""

    def __init__(self, folder: LakePath, *, checkpoint: Checkpoint = no_checkpoint) -> None:
        self._folder = folder
        self._checkpoint = checkpoint

    def all(self) -> list[BatchJob]:
        """Every job, the oldest first; a damaged record of one whose texts are gone is passed over.

        Raises LakeError for a damaged record of a job that may be open: what it bought would be bought again.
        """
        return [job for name in self._names() if (job := self._read(name)) is not None]

    def open(self) -> list[BatchJob]:
        """The jobs that are not at their end, the oldest first."""
        return [job for job in self.all() if job.open]

    def read(self, name: str) -> BatchJob:
        """The job of that name. Raises LakeError when it is not there, or damaged."""
        job = self._read(f"{name}.json")
        if job is None:
            raise LakeError(f"{self._folder / name}.json, the record of a Batch job, is gone or damaged.")
        return job

    def add(self, job: BatchJob, texts: pa.Table) -> None:
        """Keep a new job and its texts, durably. Raises LakeError."""
        make_folder(self._folder)
        write_table_atomically(texts.cast(TEXTS_SCHEMA), self._texts_path(job))
        self.save(job)

    def save(self, job: BatchJob) -> None:
        """Replace the record of the job, durably. Raises LakeError."""
        write_json(self._folder / f"{job.name}.json", asdict(job))
        self._checkpoint(job.state)

    def passed(self, step: str) -> None:
        """Something happened elsewhere of which nothing is written down yet."""
        self._checkpoint(step)

    def texts(self, job: BatchJob, columns: Sequence[str] = tuple(TEXTS_SCHEMA.names)) -> pa.Table:
        """The texts of an open job. Raises LakeError."""
        remedy = "`millrace jobs cancel --forget` gives the job up; its texts are then embedded again."
        return read_table(self._texts_path(job), columns=list(columns), remedy=remedy)

    def end(self, job: BatchJob) -> None:
        """Keep the record of a job that is at its end, and let its texts go. Raises LakeError."""
        self.save(job)
        remove_files([self._texts_path(job)])

    def discard(self, job: BatchJob) -> None:
        """Forget a job that was never started. Raises LakeError."""
        remove_files([self._folder / f"{job.name}.json", self._texts_path(job)])

    def damaged(self) -> list[Damage]:
        """The records that cannot be read."""
        found = []
        for name in self._names():
            try:
                _parsed(read_json(self._folder / name))
            except FileNotFoundError:
                continue
            except LakeError as error:
                consequence = "What that job bought is not taken in; its texts would be bought again. Restore the file."
                found.append(Damage(self._folder / name, f"{error} {consequence}"))
        return found

    def _names(self) -> list[str]:
        return sorted(name for name in names_in(self._folder) if name.endswith(".json"))

    def _read(self, name: str) -> BatchJob | None:
        try:
            return _parsed(read_json(self._folder / name))
        except LakeUnreachable:
            raise
        except FileNotFoundError:
            return None
        except LakeError as error:
            texts = self._folder / f"{name.removesuffix('.json')}.parquet"
            if not texts.exists():
                return None
            remedy = f"Restore it; or, if its texts may be bought again, delete it and {texts.name}."
            raise LakeError(f"{error} It is the record of a Batch job that may have been paid for. {remedy}") from error

    def _texts_path(self, job: BatchJob) -> LakePath:
        return self._folder / f"{job.name}.parquet"


def _parsed(content: dict[str, Any]) -> BatchJob:
    try:
        return BatchJob(**{name: value for name, value in content.items() if name in BatchJob.__slots__})
    except TypeError as error:
        raise LakeError(f"the record of a Batch job is damaged ({error}).") from error
