"""What kind of file the first bytes show, in words for a message. Source of the signatures: file(1), read 2026-11.

It names files that no reader takes, so that the message can say what to do, and tells `formats` where a suffix lies.
Letters alone are no signature: a text may begin with "ID3" or "BZh", so a control byte has to be among the first bytes.
"""

import re

HEAD_BYTES = 8192
"""How many bytes from the start of a file `kind_of` looks at."""

_SIGNATURES = (
    (b"%PDF-", "a PDF document"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ\x00", "xz data"),
    (b"(\xb5/\xfd", "Zstandard data"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office document of the old binary format (.doc, .xls, .ppt)"),
    (b"{\\rtf", "an RTF document"),
    (b"PAR1", "a Parquet table"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"AT&TFORM", "a DjVu document"),
    (b"ID3", "an MP3 recording"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90", "a Windows program"),
)
_SPELLED = frozenset([b"%PDF-", b"{\\rtf"])
"""Signatures that no text begins with by chance, though all their bytes are printable."""

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_ZIP = b"PK\x03\x04"
_ZIP_HEADER_BYTES, _ZIP_NAME_LENGTH = 30, slice(26, 28)
_ZIP_TYPES = (
    (b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "an OpenDocument spreadsheet"),
    (b"mimetypeapplication/vnd.oasis.opendocument", "an OpenDocument file"),
    (b"mimetypeapplication/epub+zip", "an EPUB book"),
)
_ZIP_FOLDERS = (
    (b"word/", "a Word document"),
    (b"xl/", "an Excel workbook"),
    (b"ppt/", "a PowerPoint presentation"),
)
_ZIP_SUFFIXES = {
    ".docx": "a Word document",
    ".xlsx": "an Excel workbook",
    ".pptx": "a PowerPoint presentation",
    ".odt": "an OpenDocument file",
    ".epub": "an EPUB book",
}


def kind_of(head: bytes, suffix: str = "") -> str:
    r"""What a file is that begins with `head` and is not text; "" where its first bytes do not tell.

    `suffix` (".docx") tells apart archives whose first bytes do not.

    >>> kind_of(b"PK\x03\x04\x14\x00\x00\x00"), kind_of(b"# A heading")
    ('a ZIP archive', '')
    """
    if head.startswith(_ZIP):
        return _kind_of_archive(head) or _ZIP_SUFFIXES.get(suffix.lower(), "a ZIP archive")
    if head[4:8] == b"ftyp" and _CONTROL.search(head):
        return "a video or picture of the MPEG-4 family"
    if head.startswith(b"RIFF") and _CONTROL.search(head) and head[8:12] in {b"WAVE", b"AVI ", b"WEBP"}:
        return {b"WAVE": "a WAVE recording", b"AVI ": "an AVI video", b"WEBP": "a WebP image"}[head[8:12]]
    for signature, kind in _SIGNATURES:
        if head.startswith(signature) and (signature in _SPELLED or _CONTROL.search(head)):
            return kind
    return ""


def _kind_of_archive(head: bytes) -> str:
    """What a ZIP archive is by the names of its first members, "" where they do not tell."""
    for beginning in re.finditer(re.escape(_ZIP), head):
        header = head[beginning.start() :][:_ZIP_HEADER_BYTES]
        name_begins = beginning.start() + _ZIP_HEADER_BYTES
        name = head[name_begins : name_begins + int.from_bytes(header[_ZIP_NAME_LENGTH], "little")]
        typed = (kind for mark, kind in _ZIP_TYPES if name == b"mimetype" and head.startswith(mark, name_begins))
        placed = (kind for folder, kind in _ZIP_FOLDERS if name.startswith(folder))
        if found := next(typed, "") or next(placed, ""):
            return found
    return ""
