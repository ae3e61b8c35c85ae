"""Forms, as two HTTP libraries write them and broken."""

from __future__ import annotations

import httpx
import pytest

from tests.simulator.multipart import Part, parts_of


def test_a_form_gives_its_parts_byte_for_byte() -> None:
    content = b'\r\n--not the boundary\r\n{"a": "\xe4\xbd\xa0"}\r\n\r\n'
    request = httpx.Request(
        "POST", "http://127.0.0.1/", data={"purpose": "batch"}, files={"file": ('ja "1" 你.jsonl', content)}
    )
    purpose, file = parts_of(request.headers["content-type"], request.read())
    assert purpose == Part("purpose", None, b"batch")
    assert (file.name, file.content) == ("file", content)
    assert file.filename is not None
    assert file.filename.endswith("你.jsonl")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1'),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--"),
    ],
)
def test_what_is_no_form_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(ValueError, match=r"form"):
        parts_of(content_type, body)
