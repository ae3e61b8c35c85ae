"""The files that lie there: uploads, and the results of jobs, which are rendered from them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tests.simulator.batch.refusal import ApiRefusal
from tests.simulator.batch.settings import FilesSettings
from tests.simulator.batch.state import StateLog


@dataclass(slots=True)
class StoredFile:
    """One file of an account. The results of a job are rendered from its input when they are read."""

    id: str
    account: str
    filename: str
    size_bytes: int
    """Of a result -1: it has not been counted."""
    created_at: float
    blob: str
    """The id of the upload it is or is made from, which may have been deleted."""
    part: Literal["input", "output", "errors"] = "input"
    job_id: str = ""
    downloads: int = 0
    """That reached the end."""

    @property
    def purpose(self) -> str:
        return "batch" if self.part == "input" else "batch_output"

    def as_event(self) -> dict[str, Any]:
        """What the state file keeps of it."""
        return {"file": asdict(self)}


class Shelf:
    """Files of every account, by id; the bytes of uploads lie in the folder of `state`."""

    def __init__(self, state: StateLog) -> None:
        self.files: dict[str, StoredFile] = {}
        self._state = state

    def path(self, blob: str) -> Path:
        """Where the bytes of an upload are."""
        return self._state.folder / blob

    @property
    def inputs(self) -> list[StoredFile]:
        return [file for file in self.files.values() if file.part == "input"]

    @property
    def results(self) -> list[StoredFile]:
        return [file for file in self.files.values() if file.part != "input"]

    def put(self, account: str, filename: str, content: bytes, now: float, limits: FilesSettings) -> StoredFile:
        """A new upload. Raises ApiRefusal: too large, too many, no room."""
        stored = [file.size_bytes for file in self.inputs if file.account == account]
        if len(content) > limits.max_file_bytes:
            raise ApiRefusal(400, f"The file is larger than {limits.max_file_bytes} bytes.", "file")
        if len(stored) >= limits.max_files:
            raise ApiRefusal(400, "Upload file number exceed limit.")
        if sum(stored) + len(content) > limits.max_total_bytes:
            raise ApiRefusal(400, "Upload file capacity exceed limit.")
        file_id = f"file-batch-{uuid.uuid4().hex[:24]}"
        self.path(file_id).write_bytes(content)
        file = self.files[file_id] = StoredFile(file_id, account, filename, len(content), now, blob=file_id)
        return file

    def file(self, account: str, file_id: str, now: float) -> StoredFile:
        """The file of that id. Raises ApiRefusal if the account has none by `now`."""
        file = self.files.get(file_id)
        if file is None or file.account != account or file.created_at > now:
            raise ApiRefusal(404, f"No such File object: {file_id}", "id")
        return file

    def files_of(self, account: str, now: float) -> list[StoredFile]:
        """The files of an account, newest first."""
        found = [file for file in self.files.values() if file.account == account and file.created_at <= now]
        return sorted(found, key=lambda file: file.created_at)[::-1]

    def sweep(self, blob: str, needed: Iterable[str]) -> None:
        """Remove the bytes of an upload that no file is made from any more, unless they are needed."""
        if blob not in needed and all(file.blob != blob for file in self.files.values()):
            self.path(blob).unlink(missing_ok=True)
