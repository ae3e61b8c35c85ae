"""Outlook's files are read as mails."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from millrace.tasks.documents import LeftOutMember
from millrace.tasks.documents.mail.compressed_rtf import decompressed_rtf
from millrace.tasks.records import Document, LeftOut, Reject
from tests.tasks.documents.conftest import Read
from tests.tasks.documents.mail.outlook_files import attachment, compound_file, message, recipient

SUBJECT, SENDER_NAME, SENDER_SMTP, BODY, RTF, HTML = 0x0037, 0x0C1A, 0x5D01, 0x1000, 0x1009, 0x1013
NAME, ADDRESS, SMTP, TYPE = 0x3001, 0x3003, 0x39FE, 0x0C15
DATA, LONG_NAME, MIME_TYPE, CONTENT_ID, FLAGS = 0x3701, 0x3707, 0x370E, 0x3712, 0x3714


def test_properties_become_title_text_and_metadata(document: Callable[..., Document]) -> None:
    tree = message(
        {
            SUBJECT: "关于水位",
            SENDER_NAME: "Ann, of the Mill",
            SENDER_SMTP: "ann@example.com",
            0x0C1F: "/O=EXCHANGE/CN=ANN",
            BODY: "The weir holds.\r\n\r\nFrom: Bob\r\nSent: Monday\r\n\r\nDoes it?",
            0x0039: datetime(2025, 3, 3, 2, 0, tzinfo=UTC),
            0x1035: "<1@example.com>",
            0x1042: "<0@example.com>",
        },
        recipient(0, {NAME: "李四", SMTP: "li@example.cn", TYPE: 1}),
        recipient(1, {NAME: "bob@example.com", ADDRESS: "bob@example.com", TYPE: 1}),
        recipient(2, {NAME: "Cy", ADDRESS: "/O=EXCHANGE/CN=CY", TYPE: 2}),
        recipient(3, {NAME: "Hidden", ADDRESS: "bcc@example.com", TYPE: 3}),
    )
    found = document("a.msg", compound_file(tree))
    assert (found.title, found.text) == ("关于水位", "The weir holds.\n\nFrom: Bob\nSent: Monday\n\nDoes it?")
    assert [heading.title for heading in found.headings] == ["From: Bob"]
    assert found.extra == {
        "from": "Ann, of the Mill <ann@example.com>",
        "to": ["李四 <li@example.cn>", "bob@example.com"],
        "cc": ["Cy"],
        "date": "2025-03-03T02:00:00+00:00",
        "message_id": "1@example.com",
        "in_reply_to": "0@example.com",
    }


def test_attachments_are_documents_and_mails_in_them_too(read: Read) -> None:
    inner = message({SUBJECT: "Inner", BODY: "The inner text."}, attachment(0, {LONG_NAME: "c.txt", DATA: b"Innermost."}),
                    is_embedded=True)  # fmt: skip
    tree = message(
        {SUBJECT: "Outer", BODY: "The outer text."},
        attachment(0, {LONG_NAME: "笔记.md", DATA: b"# Notes\n\n" + b"long " * 2_000}),
        attachment(1, {0x3704: "SHORT~1.TXT", DATA: b"short", MIME_TYPE: "text/plain"}),
        attachment(2, {LONG_NAME: "logo.png", DATA: b"\x89PNG", MIME_TYPE: "image/png", CONTENT_ID: "x", FLAGS: 4}),
        attachment(3, {LONG_NAME: "photo.gif", DATA: b"GIF8", MIME_TYPE: "image/gif"}),
        attachment(4, {NAME: "Inner"}, embedded=inner),
    )
    found = read("a.msg", compound_file(tree))
    assert [(d.source, d.text[:20]) for d in found if isinstance(d, Document)] == [
        ("a.msg", "The outer text."),
        ("a.msg#笔记.md", "# Notes\n\nlong long l"),
        ("a.msg#SHORT~1.TXT", "short"),
        ("a.msg#Inner.eml", "The inner text."),
        ("a.msg#Inner.eml#c.txt", "Innermost."),
    ]
    assert [d for d in found if not isinstance(d, Document)] == [LeftOutMember("a.msg#photo.gif", LeftOut({".gif": 1}))]


def test_texts_in_a_code_page_and_a_page_in_another_are_read(document: Callable[..., Document]) -> None:
    tree = message({SUBJECT: "水位", BODY: "水位很高。", 0x3FFD: 936}, codepage="gbk")
    found = document("a.msg", compound_file(tree))
    assert (found.title, found.text) == ("水位", "水位很高。")
    tree = message({SUBJECT: "x", HTML: "<p>Größe</p>".encode("cp1252"), 0x3FDE: 1252})
    assert document("b.msg", compound_file(tree)).text == "Größe"


def test_a_text_in_rtf_alone_is_an_attachment(read: Read) -> None:
    rtf = b"{\\rtf1 The weir holds.}"
    packed = len(rtf).to_bytes(4, "little") * 2 + b"MELA" + bytes(4) + rtf
    subject, text = read("a.msg", compound_file(message({SUBJECT: "x", RTF: packed})))
    assert isinstance(subject, Document)
    assert (subject.text, text.source) == ("x", "a.msg#text.rtf")


def test_compressed_rtf_is_decompressed() -> None:
    # The example of [MS-OXRTFCP] 4.1.1: its text, and the compressed bytes.
    packed = bytes.fromhex(
        "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
    )
    assert decompressed_rtf(packed) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    for broken in (b"", packed[:-4], packed[:8] + b"nope" + packed[12:]):
        with pytest.raises(ValueError, match="compressed RTF"):
            decompressed_rtf(broken)


def test_what_is_no_mail_of_outlook_is_a_reject(reject: Callable[..., Reject]) -> None:
    whole = compound_file(message({SUBJECT: "x", BODY: "text" * 5_000}))
    assert reject("a.msg", b"no compound file").reason == "damaged"
    assert reject("b.msg", compound_file({"WordDocument": b"x" * 5_000})).reason == "damaged"
    assert reject("c.msg", whole[:5_000]).reason == "damaged"
    assert reject("d.msg", b"").reason == "empty"
