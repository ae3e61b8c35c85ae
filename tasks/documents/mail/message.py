"""A mail in Internet format (.eml): headers, text, and each attachment as a file within it.

A mail without text is its subject. Source: RFC 5322, RFC 2045 to 2049.
"""

import mimetypes
import tempfile
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from email.errors import MessageError
from email.generator import BytesGenerator
from email.message import Message
from email.parser import BytesParser
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO

from millrace.tasks.documents.formats import FORMATS, Extraction, Format, Member, abandoned_unit
from millrace.tasks.documents.mail.headers import RAW_HEADERS, metadata_of, subject_of
from millrace.tasks.documents.mail.parts import MAILS, Parts, decoded_bytes, file_name_of, too_deep
from millrace.tasks.documents.member_names import DistinctNames, file_name
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Reject

_TEXT_UNIT = "text"
_TEXTS: Mapping[str, Format] = {"text/plain": "text", "text/html": "html", "text/markdown": "markdown"}
_SUFFIXES = mimetypes.MimeTypes(filenames=())  # not those of the machine: names have to be the same everywhere
_BEFORE_HEADERS = b"\xef\xbb\xbf \t\r\n"
_MAX_BEFORE_HEADERS = 100


def read_mail(
    opened: BinaryIO, name: str, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Extraction | Member | Reject]:
    """The text of a mail with its headers as metadata, then its attachments.

    Raises:
        Rejected: it is no mail, or is nested too deeply to be one.
    """
    head = opened.read(_MAX_BEFORE_HEADERS)
    opened.seek(len(head) - len(head.lstrip(_BEFORE_HEADERS)))
    try:
        message = BytesParser(policy=RAW_HEADERS).parse(opened)
    except RecursionError as error:
        raise too_deep() from error
    if not message.keys():
        raise Rejected(
            "The file does not begin with the headers of a mail.", reason="damaged",
            remedy="Save the mail again in its own program, or give the file the suffix of what it is.",
        )  # fmt: skip
    yield from mail_contents(message, name, skip=skip, at=at)


def mail_contents(
    message: Message, name: str, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Extraction | Member | Reject]:
    """What `read_mail` gives, of a mail with `RAW_HEADERS`.

    Raises:
        Rejected: it is nested too deeply.
    """
    parts = Parts.of(message)
    if _TEXT_UNIT in skip:
        yield abandoned_unit(name, _TEXT_UNIT, skip[_TEXT_UNIT], "Save the mail again without what is odd in its text.")
    else:
        at(_TEXT_UNIT)
        yield from _text(message, parts, name)
    yield from _attachments(parts.attachments)


def _text(message: Message, parts: Parts, name: str) -> Iterator[Extraction | Reject]:
    rejected: list[Rejected] = []
    found, subject = parts.text(rejected), subject_of(message)
    if parts.is_sealed and not found.text:
        rejected.append(_sealed())
    yield from (Reject("read", name, _TEXT_UNIT, each.reason, str(each), each.remedy) for each in rejected)
    text = found.text or ("" if rejected else subject)
    if text:
        yield replace(found, text=text, title=subject, extra=metadata_of(message))


def _attachments(attachments: list[Message]) -> Iterator[Member]:
    names = DistinctNames()
    for number, part in enumerate(attachments, start=1):
        kind = part.get_content_type()
        if kind in MAILS and part.is_multipart():
            inner = _inner_mail(part)
            title = file_name(file_name_of(part) or subject_of(inner)) or f"message-{number}"
            called = names.take(title if title.lower().endswith(".eml") else f"{title}.eml")
            form: Format | None = "eml"
        else:
            called = names.take(_attachment_name(part, kind, number))
            form = None if _suffix(called) in FORMATS else _TEXTS.get(kind)
        yield Member(called, partial(_content, part, is_mail=form == "eml"), form)


def _content(part: Message, *, is_mail: bool) -> BinaryIO:
    """The decoded attachment, as a file. Raises `Rejected` when it cannot be decoded."""
    try:
        data = _mail_bytes(part) if is_mail else decoded_bytes(part)
    except (MessageError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise Rejected(
            f"The attachment cannot be decoded ({type(error).__name__}).", reason="damaged",
            remedy="Save it from the mail in a mail program, as a file of its own.",
        ) from error  # fmt: skip
    content = tempfile.TemporaryFile()  # noqa: SIM115 - whoever takes the member closes it
    content.write(data)
    return content


def _attachment_name(part: Message, kind: str, number: int) -> str:
    """The name of an attachment, which has a suffix that is read if its type or its name has one."""
    called = file_name(file_name_of(part))
    suffix = _SUFFIXES.guess_extension(kind) or ""
    if not called:
        return f"attachment-{number}{suffix}"
    return called if _suffix(called) in FORMATS or suffix not in FORMATS or kind in _TEXTS else called + suffix


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _inner_mail(part: Message) -> Message:
    inner = part.get_payload(0)
    assert isinstance(inner, Message)
    return inner


def _mail_bytes(part: Message) -> bytes:
    """The mail in a part of type message/rfc822, as it was sent; some programs encode it, though they must not."""
    inner = _inner_mail(part)
    if str(part.get("Content-Transfer-Encoding", "")).strip().lower() == "base64" and not inner.keys():
        return b64decode(str(inner.get_payload()))
    with tempfile.SpooledTemporaryFile(max_size=1 << 20) as written:
        BytesGenerator(written, mangle_from_=False, maxheaderlen=0).flatten(inner)
        written.seek(0)
        return written.read()


def _sealed() -> Rejected:
    return Rejected(
        "The text of the mail is encrypted, or sealed in a signature (S/MIME, PGP).",
        reason="encrypted",
        remedy="Save it decrypted, from the mail program that has the key.",
    )
