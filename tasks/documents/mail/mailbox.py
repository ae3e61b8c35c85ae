"""A mailbox file (.mbox): each mail in it is a file within it, called after its message id.

It is read line by line and never held as a whole. A mail begins with a line "From ", after a blank line, that ends in a
time and a year; where the first such line of the file has no time, any line "From " after a blank one begins a mail.
Lines of the text that begin so carry a ">" more than they had, which is taken away. Source: RFC 4155, qmail's mbox(5).
"""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from email.parser import BytesHeaderParser
from typing import BinaryIO

from millrace.tasks.documents.formats import Member
from millrace.tasks.documents.mail.headers import RAW_HEADERS, message_id
from millrace.tasks.documents.member_names import DistinctNames, shown_name
from millrace.tasks.errors import Rejected

_SEPARATOR = re.compile(rb"From .*\d\d?:\d\d.*\d{4}")
_ANY_SEPARATOR = re.compile(rb"From ")
_ESCAPED = re.compile(rb">+From ")
_LINE_BYTES = 1 << 20
_HEADER_BYTES = 1 << 18  # a header without an end is none


def read_mailbox(
    opened: BinaryIO, name: str, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Member]:
    """The mails, in order.

    Raises:
        Rejected: the file is no mailbox.
    """
    del name, skip, at  # each mail is a unit of its own
    names = DistinctNames()
    for number, content in enumerate(_mails(opened), start=1):
        content.seek(0)
        headers = BytesHeaderParser(policy=RAW_HEADERS).parsebytes(content.read(_HEADER_BYTES))
        called = shown_name(message_id(str(headers.get("Message-ID", ""))))
        if not called or not names.take_as_it_is(called):
            called = names.take(str(number))
        yield Member(called, content, "eml")


def _mails(opened: BinaryIO) -> Iterator[BinaryIO]:
    first = opened.readline(_LINE_BYTES)
    while first and not first.strip():
        first = opened.readline(_LINE_BYTES)
    if not first.startswith(b"From "):
        raise Rejected(
            'The file does not begin with "From ", as a mailbox does.',
            reason="damaged",
            remedy="Export the mailbox again in mbox format, or give the file the suffix of what it is (.eml).",
        )
    separator = _SEPARATOR if _SEPARATOR.match(first) else _ANY_SEPARATOR
    is_last = False
    while not is_last:
        content = tempfile.TemporaryFile()  # noqa: SIM115 - whoever takes the member closes it
        is_last = _copy_mail(opened, content, separator)
        yield content


def _copy_mail(opened: BinaryIO, content: BinaryIO, separator: re.Pattern[bytes]) -> bool:
    """Copy the lines up to the next mail; whether there is none."""
    blank, begins_line = b"", True
    while line := opened.readline(_LINE_BYTES):
        if blank and separator.match(line):
            return False
        content.write(blank)
        blank = b""
        if begins_line and not line.strip(b"\r\n"):
            blank = line
        elif begins_line and _ESCAPED.match(line):
            content.write(line[1:])
        else:
            content.write(line)
        begins_line = line.endswith(b"\n")
    return True
