"""The parts of a mail: those that are shown as its text, with their alternatives, and the attachments.

A part is shown when it is text and neither named nor marked as an attachment. Every other part is an attachment, but
for the pictures that the text shows (with a Content-ID, or marked as inline).
"""

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.errors import InvalidBase64LengthDefect
from email.message import Message

from millrace.tasks.documents.formats import Extraction
from millrace.tasks.documents.mail.body import BodyText, better, joined, read_body
from millrace.tasks.documents.mail.headers import parameter
from millrace.tasks.errors import Rejected

_SEALED = frozenset(["multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"])
_ELSEWHERE = "message/external-body"  # only says where a file is
_SHOWN = frozenset(["text/plain", "text/html", "text/enriched", "text/rfc822-headers"])
MAILS = frozenset(["message/rfc822", "message/global", "message/news"])
"""The types of parts that are mails; others of the kind are reports (of delivery, of reading), which are shown."""
_MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class _Alternatives:
    """Several ways to show the same."""

    ways: "list[list[BodyText | _Alternatives]]"

    def has_html(self) -> bool:
        return any(_has_html(way) for way in self.ways)


_Shown = BodyText | _Alternatives


@dataclass(slots=True)
class Parts:
    """The parts of one mail; `is_sealed` says that some are encrypted, or inside an S/MIME signature."""

    shown: list[_Shown]
    attachments: list[Message] = field(default_factory=list)
    is_sealed: bool = False

    @classmethod
    def of(cls, message: Message) -> "Parts":
        """The parts of the mail.

        Raises:
            Rejected: they are nested too deeply.
        """
        parts = cls([])
        parts.shown = parts._collect(message, 0)
        return parts

    def _collect(self, part: Message, depth: int, around: str = "") -> list[_Shown]:
        """What of `part`, which lies in one of type `around`, is shown, in order; attachments in it are noted."""
        if depth > _MAX_DEPTH:
            raise too_deep()
        kind = part.get_content_type()
        if kind in _SEALED or kind == _ELSEWHERE:
            self.is_sealed |= kind in _SEALED
            return []
        if part.is_multipart() and kind.startswith("multipart/"):
            found = [self._collect(inner, depth + 1, kind) for inner in _inner(part)]
            if kind == "multipart/alternative" and len(found) > 1:
                return [_Alternatives([way for way in found if way])]
            return [shown for way in found for shown in way]
        if kind.startswith("message/") and kind not in MAILS and part.is_multipart():
            return [
                BodyText(str(inner).encode("utf-8", "surrogateescape"), "", is_html=False)
                for inner in _inner(part)
                if kind != "message/external-body"  # which only says where a file is
            ]
        if kind in MAILS and part.is_multipart():
            self.attachments.append(part)
        elif (kind in _SHOWN or kind.startswith("multipart/")) and not _is_attached(part, depth):
            return [BodyText(decoded_bytes(part), parameter(part, "charset"), is_html=kind == "text/html")]
        elif not (kind.startswith("image/") and _is_in_text(part, around)):
            self.attachments.append(part)
        return []

    def text(self, rejected: list[Rejected]) -> Extraction:
        """All that is shown, as one text; what cannot be decoded is added to `rejected`."""
        return _read(self.shown, rejected)


def _inner(part: Message) -> Iterator[Message]:
    payload = part.get_payload()
    assert isinstance(payload, list)
    yield from (inner for inner in payload if isinstance(inner, Message))


def _has_html(shown: list[_Shown]) -> bool:
    return any(each.is_html if isinstance(each, BodyText) else each.has_html() for each in shown)


def _read(shown: list[_Shown], rejected: list[Rejected]) -> Extraction:
    return joined(_read_one(each, rejected) for each in shown)


def _read_one(shown: _Shown, rejected: list[Rejected]) -> Extraction:
    if isinstance(shown, BodyText):
        try:
            return read_body(shown)
        except Rejected as refused:
            rejected.append(refused)
            return Extraction("")
    refusals: list[Rejected] = []
    plain, html = Extraction(""), Extraction("")
    for way in shown.ways:  # the last of a kind is the best, RFC 2046
        found = _read(way, refusals)
        if _has_html(way):
            html = found if found.text else html
        else:
            plain = found if found.text else plain
    if not (plain.text or html.text):
        rejected += refusals
    return better(plain, html)


def file_name_of(part: Message) -> str:
    """The name that a part has as a file, as it is written there; "" if it has none."""
    return parameter(part, "filename", "content-disposition") or parameter(part, "name")


def _is_attached(part: Message, depth: int) -> bool:
    """Whether a part of text is a file; a name alone does not make the only part of a mail one."""
    return part.get_content_disposition() == "attachment" or (depth > 0 and bool(file_name_of(part)))


def _is_in_text(part: Message, around: str) -> bool:
    """Whether the text shows this picture. Attachments have a Content-ID in some programs, too."""
    has_id, disposition = part.get("Content-ID") is not None, part.get_content_disposition()
    return disposition == "inline" or (has_id and (around == "multipart/related" or disposition is None))


def decoded_bytes(part: Message) -> bytes:
    """The bytes of a part that holds no others, without their transfer encoding; of cut base64 what is whole."""
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return b""
    if any(isinstance(defect, InvalidBase64LengthDefect) for defect in part.defects):
        digits = b"".join(data.split())
        return b64decode(digits[: len(digits) // 4 * 4])
    return data


def too_deep() -> Rejected:
    """The fault of a mail whose parts lie in parts without end."""
    return Rejected(
        f"The parts of the mail are nested more than {_MAX_DEPTH} deep.",
        reason="too_deep",
        remedy="Save what is wanted of it as files of their own.",
    )
