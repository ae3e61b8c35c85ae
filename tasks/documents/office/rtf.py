"""RTF documents to text, by striprtf."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO

from millrace.tasks.documents.file_kinds import kind_of
from millrace.tasks.documents.formats import Extraction, Member
from millrace.tasks.documents.office.package import SAVE_AGAIN
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Reject

_CODE_PAGE = re.compile(rb"\\ansicpg(\d{1,5})")
_NEWLINES = re.compile(r"\n{3,}")


def read_rtf(
    opened: BinaryIO, name: str, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Extraction | Member | Reject]:
    """The text.

    Raises:
        Rejected: "unsupported_format": it is no RTF; "damaged".
    """
    from striprtf.striprtf import rtf_to_text

    data = opened.read()
    if not data.lstrip().startswith(b"{\\rtf"):
        kind = kind_of(data[:8192]) or f"no RTF; it begins with {data[:16]!r}"
        raise Rejected(
            f"The file is {kind}.", reason="unsupported_format", remedy="Give it the suffix of its format, then retry."
        )
    page = _CODE_PAGE.search(data[:4096])
    encoding = f"cp{page[1].decode()}" if page else "cp1252"
    try:
        text = rtf_to_text(data.decode("latin-1"), encoding=encoding, errors="replace")
    except (ValueError, LookupError, IndexError, RecursionError) as error:
        raise Rejected(f"The file is damaged: {error}.", reason="damaged", remedy=SAVE_AGAIN) from error
    text = _NEWLINES.sub("\n\n", text.replace("\r\n", "\n").replace("\x00", "")).strip()
    yield Extraction(text.encode("utf-8", "replace").decode())
