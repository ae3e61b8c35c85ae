"""The headers of a mail, read leniently: what cannot be understood is left out, or decoded as well as it can be.

Python's own header objects raise errors on headers that real mails have; so headers are parsed here from their raw
form. Source: RFC 5322 and RFC 2047.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.policy import Compat32
from email.utils import getaddresses, parsedate_to_datetime

from millrace.tasks.documents.encoding import decode, known_codec
from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS
from millrace.tasks.errors import Rejected
from millrace.tasks.records import JsonValue

MAX_LIST_BYTES = 4_096
"""What the addresses of one header take in the metadata of each row, at most: a mail may go to thousands of people."""

_MAX_DECODED = 20_000  # characters: no header that is shown is longer, and Python's decoder takes their square
_FOLD = re.compile(r"[\r\n]+[ \t]?")
_MESSAGE_ID = re.compile(r"<([^<>\s]{1,500})>")


class RawHeaders(Compat32):
    """The policy by which a message gives its headers as they are in the file, undecoded."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        """The value as it was written; bytes beyond ASCII as lone surrogates."""
        del name
        return value


RAW_HEADERS = RawHeaders()


def decoded(value: str, charset: str | None = None) -> str:
    """A header's words, in one line; `charset` is a guess for bytes that are not encoded as RFC 2047 asks.

    >>> decoded("=?gb2312?B?1tC5+g==?= =?utf-8?q?caf=C3=A9?=")
    '中国café'
    """
    value = _FOLD.sub(" ", value[:_MAX_DECODED])
    try:
        pieces = decode_header(value) if "=?" in value else [(value, None)]
    except (HeaderParseError, ValueError):  # base64 that is none
        pieces = [(value, None)]
    return " ".join("".join(_piece(piece, named or charset) for piece, named in pieces).split())


def _piece(piece: bytes | str, charset: str | None) -> str:
    data = piece.encode("utf-8", "surrogateescape") if isinstance(piece, str) else piece
    if data.isascii() and known_codec(charset or "") not in {"hz", "utf-7", "iso2022_jp"}:
        return data.decode()
    try:
        return decode(data, declared=charset)
    except Rejected:  # half a character: a subject that was cut is still worth reading
        return data.decode(known_codec(charset or "") or "utf-8", "replace")


def metadata_of(headers: Message) -> dict[str, JsonValue]:
    """What the headers say, by the names that metadata has for it; only what is there.

    `from` is a text, `to` and `cc` are lists of them, `date` is in ISO 8601, ids come without their brackets.
    """
    charset = _charset(headers)
    found: dict[str, JsonValue] = {}
    if senders := addresses(headers.get_all("From", []), charset):
        found["from"] = ", ".join(senders)[:MAX_TITLE_CHARACTERS]
    for name in ("to", "cc"):
        found |= address_list(name, addresses(headers.get_all(name, []), charset))
    for name, value in (
        ("date", iso_date(str(headers.get("Date", "")))),
        ("message_id", message_id(str(headers.get("Message-ID", "")))),
        ("in_reply_to", message_id(str(headers.get("In-Reply-To", "")))),
    ):
        if value:
            found[name] = value
    return found


def subject_of(headers: Message) -> str:
    """The subject in one line; "" if there is none."""
    return decoded(str(headers.get("Subject", "")), _charset(headers))[:MAX_TITLE_CHARACTERS]


def _charset(headers: Message) -> str | None:
    """The charset of the text, which is mostly also that of headers that are not encoded."""
    for part in headers.walk():
        if charset := parameter(part, "charset"):
            return charset
    return None


def parameter(part: Message, name: str, header: str = "content-type") -> str:
    """A parameter of a header, decoded whichever way it was encoded; "" if it is not there or is broken."""
    try:
        value = part.get_param(name, "", header)
        if isinstance(value, tuple):
            charset, _, text = value
            return " ".join(_piece(text.encode("latin-1", "replace"), charset or None).split())
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""
    return decoded(value or "")


def addresses(values: Iterable[object], charset: str | None = None) -> list[str]:
    """The addresses in headers, each as `Name <address>`, decoded after they were told apart."""
    text = ", ".join(_FOLD.sub(" ", str(value)) for value in values)
    try:
        parsed = getaddresses([text])
    except (ValueError, IndexError, AttributeError, RecursionError):
        parsed = []
    found = [_address(decoded(name, charset), address) for name, address in parsed]
    return [address for address in found if address] or [each for each in [decoded(text, charset)] if each]


def _address(name: str, address: str) -> str:
    address = address.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip()
    said = f"{name} <{address}>" if name and address and name != address else name or address
    return said[:MAX_TITLE_CHARACTERS]


def address_list(name: str, found: list[str]) -> Mapping[str, JsonValue]:
    """The metadata for a list of addresses: as many as fit its bound, and how many were left out, if any."""
    size, fitting = 0, 0
    for address in found:
        size += len(address.encode()) + 3
        if size > MAX_LIST_BYTES:
            break
        fitting += 1
    listed: dict[str, JsonValue] = {name: list(found[:fitting])} if fitting else {}
    return listed | ({f"{name}_left_out": len(found) - fitting} if fitting < len(found) else {})


def iso_date(value: str) -> str:
    """The date in ISO 8601; "" where it is none. A zone that the sender did not know (-0000) is UTC."""
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
    except (ValueError, TypeError, OverflowError, IndexError, AttributeError, RecursionError):
        return ""


def iso_moment(moment: datetime) -> str:
    """A moment in UTC, in ISO 8601."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def message_id(value: str) -> str:
    """The first id of the header, without its brackets; "" if there is none."""
    found = _MESSAGE_ID.search(value)
    return found[1].encode("utf-8", "surrogateescape").decode("utf-8", "replace") if found else ""
