"""Outlook's files (.msg): made into a mail in Internet format, which is then read as any other.

A mail in an attachment becomes an attached mail, a text that is there in RTF alone an attachment. An attachment that is
an object of another program, or only a link to a file, has no bytes of its own: it is left out by its suffix, or empty.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from email.encoders import encode_base64
from email.message import Message
from email.mime.base import MIMEBase
from email.mime.multipart import MIMEMultipart
from email.parser import HeaderParser
from email.utils import format_datetime, formataddr
from typing import BinaryIO

from millrace.tasks.documents.formats import Extraction, Member
from millrace.tasks.documents.mail.compressed_rtf import decompressed_rtf
from millrace.tasks.documents.mail.headers import RAW_HEADERS
from millrace.tasks.documents.mail.mapi import Property, Storage, codec_of
from millrace.tasks.documents.mail.message import mail_contents
from millrace.tasks.documents.mail.parts import too_deep
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Reject

_MAX_DEPTH = 10  # mails in mails; fewer of them are read
_TO, _CC = 1, 2
_SHOWN_IN_TEXT = 4  # PidTagAttachFlags: the HTML shows it
_TYPE = re.compile(r"(?!multipart/|message/)[\w.+-]+/[\w.+-]+")
_FAULTS = (OSError, ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, struct.error)


def read_outlook(
    opened: BinaryIO, name: str, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Extraction | Member | Reject]:
    """The text of a mail with its headers as metadata, then its attachments.

    Raises:
        Rejected: it is no file of Outlook's, or is damaged.
    """
    from olefile import OleFileIO

    try:
        with OleFileIO(opened) as ole:
            if not ole.exists("__properties_version1.0"):
                raise _damaged("it holds no message")
            message = _mail_of(Storage(ole, (), is_message=True), 0)
    except _FAULTS as error:
        raise _damaged(f"{type(error).__name__}: {error}") from error
    yield from mail_contents(message, name, skip=skip, at=at)


def _damaged(why: str) -> Rejected:
    return Rejected(
        f"The Outlook file cannot be read: {why}.",
        reason="damaged",
        remedy="Open it in Outlook and save it again, as .msg or as .eml.",
    )


def _mail_of(storage: Storage, depth: int) -> Message:
    if depth > _MAX_DEPTH:
        raise too_deep()
    mail = MIMEMultipart("mixed", policy=RAW_HEADERS)
    for name, value in _headers(storage):
        if value:
            mail[name] = value
    mail.attach(body := _body(storage))
    if not body.get_payload() and (packed := storage.binary(Property.BODY_RTF)):
        mail.attach(_named(_part("application/rtf", decompressed_rtf(packed)), "text.rtf"))
    for part in storage.parts("__attach_version1.0_"):
        mail.attach(_attachment(part, depth))
    return mail


def _headers(storage: Storage) -> Iterator[tuple[str, str]]:
    """The headers by their names; where the mail came over the internet, its own say the most."""
    sent = HeaderParser(policy=RAW_HEADERS).parsestr(storage.text(Property.TRANSPORT_HEADERS).lstrip())
    yield "Subject", storage.line(Property.SUBJECT)
    yield "From", _sender(storage)
    recipients = list(storage.parts("__recip_version1.0_"))
    for name, kind, displayed in (("To", _TO, Property.DISPLAYED_TO), ("Cc", _CC, Property.DISPLAYED_CC)):
        listed = [_address(each) for each in recipients if each.integer(Property.RECIPIENT_TYPE) == kind]
        yield name, ", ".join(listed) or storage.line(displayed).replace(";", ",")
    moment = storage.moment(Property.SUBMITTED) or storage.moment(Property.DELIVERED)
    yield "Date", str(sent.get("Date", "")) or (format_datetime(moment) if moment else "")
    yield "Message-ID", storage.line(Property.MESSAGE_ID) or str(sent.get("Message-ID", ""))
    yield "In-Reply-To", storage.line(Property.IN_REPLY_TO) or str(sent.get("In-Reply-To", ""))


def _sender(storage: Storage) -> str:
    name = storage.line(Property.SENT_FOR_NAME) or storage.line(Property.SENDER_NAME)
    return _formatted(
        name,
        storage.line(Property.SENT_FOR_SMTP_ADDRESS),
        storage.line(Property.SENT_FOR_ADDRESS),
        storage.line(Property.SENDER_SMTP_ADDRESS),
        storage.line(Property.SENDER_ADDRESS),
    )


def _address(recipient: Storage) -> str:
    name = recipient.line(Property.DISPLAY_NAME)
    return _formatted(name, recipient.line(Property.SMTP_ADDRESS), recipient.line(Property.ADDRESS))


def _formatted(name: str, *addresses: str) -> str:
    """`Name <address>` with the first that is an address of the internet; those of Exchange say nothing to anybody."""
    address = next((each for each in addresses if "@" in each and each.isascii()), "")
    return formataddr(("" if name == address else name, address)) if address else formataddr((name, "")).strip(" <>")


def _body(storage: Storage) -> Message:
    both = MIMEMultipart("alternative", policy=RAW_HEADERS)
    if plain := storage.text(Property.BODY):
        both.attach(_part("text/plain", plain.encode("utf-8", "replace"), charset="utf-8"))
    if (html := storage.binary(Property.BODY_HTML)) is not None:
        both.attach(_part("text/html", html, charset=codec_of(storage.integer(Property.INTERNET_CODEPAGE)) or ""))
    elif page := storage.text(Property.BODY_HTML):
        both.attach(_part("text/html", page.encode("utf-8", "replace"), charset="utf-8"))
    return both


def _attachment(storage: Storage, depth: int) -> Message:
    name = storage.line(Property.ATTACHED_LONG_NAME) or storage.line(Property.ATTACHED_NAME)
    if (message := storage.message()) is not None:
        part = Message(policy=RAW_HEADERS)
        part["Content-Type"] = "message/rfc822"
        part.attach(_mail_of(message, depth + 1))
        name = name or storage.line(Property.DISPLAY_NAME)
    else:
        kind = storage.line(Property.ATTACHED_TYPE).lower()
        data = storage.binary(Property.ATTACHED_DATA) or b""
        part = _part(kind if _TYPE.fullmatch(kind) else "application/octet-stream", data)
    content_id = storage.line(Property.ATTACHED_CONTENT_ID)
    flags, is_hidden = storage.integer(Property.ATTACHED_FLAGS), storage.integer(Property.ATTACHED_HIDDEN)
    is_inline = content_id and (flags & _SHOWN_IN_TEXT or is_hidden)
    return _named(part, name, "inline" if is_inline else "attachment")


def _named(part: Message, name: str, disposition: str = "attachment") -> Message:
    part.add_header("Content-Disposition", disposition, filename=("utf-8", "", name))
    return part


def _part(kind: str, data: bytes, *, charset: str = "") -> Message:
    main, _, sub = kind.partition("/")
    part = MIMEBase(main, sub, policy=RAW_HEADERS, **({"charset": charset} if charset else {}))
    part.set_payload(data)
    encode_base64(part)
    return part
