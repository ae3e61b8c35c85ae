"""Files: `POST` and `GET {prefix}/files`, `GET` and `DELETE {prefix}/files/{id}`, `GET {prefix}/files/{id}/content`.

Content comes in chunks, without length or type, and is rendered while it is sent: a result of 450 MB is never whole
in memory. What can go wrong is in `settings.files`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from urllib.parse import parse_qs

from tests.simulator.batch.refusal import ApiRefusal
from tests.simulator.batch.shelf import StoredFile
from tests.simulator.dialects.file_api import FileApi, Handler, json_response, page_limit
from tests.simulator.limits import Limits
from tests.simulator.multipart import parts_of
from tests.simulator.wire import CutOff, Request, Response

_PAGE = 10_000


class Files(FileApi):
    """Uploads, downloads and what lies there."""

    paths = ("/files", "/files/{id}", "/files/{id}/content")

    def operations(self) -> Mapping[tuple[str, str], tuple[str, Handler]]:
        return {
            ("POST", "/files"): ("upload", self._upload),
            ("GET", "/files"): ("list", self._list),
            ("GET", "/files/{id}"): ("retrieve", self._retrieve),
            ("DELETE", "/files/{id}"): ("delete", self._delete),
            ("GET", "/files/{id}/content"): ("download", self._download),
        }

    def limits(self, operation: str) -> tuple[str, Limits]:
        return "files", Limits(requests_per_second=self.store.provider.settings.files.qps, second_window="sliding")

    def failures(self) -> Mapping[str, int]:
        return {str(name): times for name, times in self.store.provider.settings.files.fails.items()}

    def _upload(self, account: str, request: Request) -> Response:
        settings = self.store.provider.settings.files
        try:
            parts = parts_of(request.headers.get("content-type", ""), request.body)
        except ValueError as error:
            raise ApiRefusal(400, f"Invalid multipart body: {error}") from error
        fields = {part.name: part for part in parts}
        purpose, upload = fields.get("purpose"), fields.get("file")
        if purpose is None or purpose.content != b"batch":
            raise ApiRefusal(400, "'purpose' must be 'file-extract'", "purpose")  # recorded, for a wrong purpose
        if upload is None or upload.filename is None:
            raise ApiRefusal(400, "'file' is a required property", "file")
        file = self.store.upload(account, upload.filename, upload.content)
        answer = json_response(self._object(file))
        return self.lost("files.answer_lost", settings.answer_lost, settings.answer_lost_times, answer)

    def _list(self, account: str, request: Request) -> Response:
        query = {name: values[-1] for name, values in parse_qs(request.query).items()}
        limit = page_limit(query.get("limit", ""), _PAGE, _PAGE)
        purpose, after = query.get("purpose"), query.get("after")
        files = [file for file in self.store.files_of(account) if purpose in {None, file.purpose}]
        if after is not None:
            ids = [file.id for file in files]
            files = files[ids.index(after) + 1 :] if after in ids else []
        data = [self._object(file) for file in files[:limit]]
        return json_response({"object": "list", "data": data, "has_more": len(files) > limit})

    def _retrieve(self, account: str, request: Request) -> Response:
        return json_response(self._object(self.store.file(account, request.parameters["id"])))

    def _delete(self, account: str, request: Request) -> Response:
        file_id = request.parameters["id"]
        self.store.delete(account, file_id)
        return json_response({"id": file_id, "object": "file", "deleted": True})

    def _download(self, account: str, request: Request) -> Response:
        return Response(200, b"", chunks=self._chunks(self.store.file(account, request.parameters["id"])))

    async def _chunks(self, file: StoredFile) -> AsyncIterator[bytes]:
        provider = self.store.provider
        settings = provider.settings.files
        lines = self.store.lines(file)
        cut_at = settings.download_cut_at
        if cut_at is not None and self.store.played.plays("files.download_cut_at", settings.download_cut_times):
            lines = _cut(lines, cut_at, self.store.line_count(file), settings.download_cut_form)
        for line in lines:
            if settings.download_bytes_per_s:
                await provider.clock.sleep(len(line) / settings.download_bytes_per_s)
            yield line
        await asyncio.to_thread(self.store.downloaded, file)

    def _object(self, file: StoredFile) -> dict[str, object]:
        is_input = file.part == "input"
        status = self.store.provider.settings.files.status_after_upload if is_input else "processed"
        return {
            "id": file.id,
            "bytes": self.store.size_of(file),
            "created_at": int(file.created_at),
            "filename": file.filename,
            "object": "file",
            "purpose": file.purpose,
            "status": status,
            "status_details": None,
        }


def _cut(lines: Iterator[bytes], at: float, line_count: int, form: str) -> Iterator[bytes]:
    """The beginning of `lines`; raises CutOff at its end for the form "cut"."""
    left = at if at >= 1 else at * line_count
    for line in lines:
        weight = len(line) if at >= 1 else 1
        if weight > left:
            if form != "missing_lines" and (part := line[: int(left) if at >= 1 else len(line) // 2]):
                yield part
            if form == "cut":
                raise CutOff
            return
        left -= weight
        yield line
