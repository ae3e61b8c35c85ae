"""The parts of a multipart/form-data body."""

from __future__ import annotations

from dataclasses import dataclass
from email import message_from_string
from email.message import Message


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form; a file if it has a file name."""

    name: str
    filename: str | None
    content: bytes


def parts_of(content_type: str, body: bytes) -> list[Part]:
    """The parts of `body`. Raises ValueError if it is no such form.

    >>> parts_of('multipart/form-data; boundary=x', b'--x\\r\\nContent-Disposition: form-data; name="a"\\r\\n\\r\\n1\\r\\n--x--')
    [Part(name='a', filename=None, content=b'1')]
    """
    head = Message()
    head["content-type"] = content_type
    boundary = head.get_param("boundary")
    if head.get_content_type() != "multipart/form-data" or not isinstance(boundary, str) or not boundary:
        message = f"not a form: {content_type!r}"
        raise ValueError(message)
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        message = "the form does not end with its boundary"
        raise ValueError(message)
    parts = []
    for piece in pieces[1:-1]:
        lines, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        fields = message_from_string(lines.decode())
        name, filename = (fields.get_param(key, header="content-disposition") for key in ("name", "filename"))
        if not isinstance(name, str):
            message = "a part of the form has no name"
            raise ValueError(message)
        parts.append(Part(name, fields.get_filename() if filename is not None else None, content))
    return parts
