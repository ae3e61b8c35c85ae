from collections.abc import Callable
from pathlib import Path

import pytest

from millrace.tasks.documents import DocumentOptions, LeftOutMember, read_documents
from millrace.tasks.records import Document, Reject, SourceFile

Read = Callable[..., list[Document | LeftOutMember | Reject]]


def source_file(path: Path) -> SourceFile:
    status = path.stat()
    return SourceFile(str(path), path.name, status.st_size, status.st_mtime_ns)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes a file and reads it: `read("a.md", "# Title")`, with options as keywords."""

    def read_content(name: str, content: str | bytes, **options: object) -> list[Document | LeftOutMember | Reject]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return list(read_documents(source_file(path), DocumentOptions(**options)))  # type: ignore[arg-type]

    return read_content


@pytest.fixture
def document(read: Read) -> Callable[..., Document]:
    """Writes a file, reads it and gives its one document."""

    def read_one(name: str, content: str | bytes, **options: object) -> Document:
        [found] = read(name, content, **options)
        assert isinstance(found, Document), found
        return found

    return read_one


@pytest.fixture
def reject(read: Read) -> Callable[..., Reject]:
    """Writes a file, reads it and gives its one reject."""

    def read_one(name: str, content: str | bytes, **options: object) -> Reject:
        [found] = read(name, content, **options)
        assert isinstance(found, Reject), found
        return found

    return read_one
