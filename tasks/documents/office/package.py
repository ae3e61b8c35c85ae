"""The ZIP of XML parts that an Office file is, opened under bounds: sizes as stated, no entities, no network.

Sources: ECMA-376 part 2 (packages and relationships), ISO/IEC 26300 (OpenDocument packages), read 2026-12.
"""

import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from millrace.tasks.documents.file_kinds import HEAD_BYTES, kind_of
from millrace.tasks.errors import Rejected

Element = Any
"""An lxml element; lxml has no types of its own."""

MAX_PART_BYTES = 300_000_000
"""Of one part as it is unpacked; its tree takes some six times as much. A novel has 3 MB."""

_MAX_ENTRIES = 100_000
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_RELATIONSHIPS = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
_TITLE = "{http://purl.org/dc/elements/1.1/}title"
SAVE_AGAIN = "Open it in its own program and save it again, then retry."


class Package:
    """The parts of an Office file, by name."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._names = {info.filename.lower(): info for info in archive.infolist()}

    def __contains__(self, name: str) -> bool:
        """Whether there is such a part, whatever its case."""
        return name.lower() in self._names

    def names(self) -> list[str]:
        """The names of all parts, as they are written."""
        return [info.filename for info in self._names.values()]

    def read(self, name: str) -> bytes:
        """A part, unpacked.

        Raises:
            Rejected: "damaged", "encrypted", "too_large".
        """
        info = self._names.get(name.lower())
        if info is None:
            raise _damaged(f"its part {name} is missing")
        _check_size(info)
        if info.flag_bits & 1:
            raise _encrypted()
        try:
            return self._archive.read(info)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError) as error:
            raise _damaged(f"its part {name} cannot be unpacked ({error})") from error

    def check_sizes(self) -> None:
        """Raise Rejected "too_large" where a part unpacks to more than is read."""
        for info in self._archive.filelist:
            _check_size(info)

    def xml(self, name: str) -> Element:
        """The root element of a part. Raises as `read`."""
        from lxml import etree

        parser = etree.XMLParser(
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=True,
            remove_comments=True,
            remove_pis=True,
        )
        try:
            root = etree.fromstring(self.read(name), parser)
            etree.strip_elements(root, etree.Entity, with_tail=False)
            return root
        except etree.XMLSyntaxError as error:
            raise _damaged(f"its part {name} is no XML ({error})") from error

    def related(self, name: str, kind: str) -> list[str]:
        """The parts that part `name` is related to by a type that ends in `kind`, in order; those that are there."""
        return [target for _, type_, target in self.relationships(name) if type_.rsplit("/", 1)[-1] == kind]

    def relationships(self, name: str) -> list[tuple[str, str, str]]:
        """Id, type and part of each relationship of part `name` within the package."""
        folder, base = posixpath.split(name)
        relations = posixpath.join(folder, "_rels", f"{base}.rels")
        if relations not in self:
            return []
        return [
            (str(each.get("Id")), str(each.get("Type")), target)
            for each in self.xml(relations).iter(_RELATIONSHIPS)
            if each.get("TargetMode") != "External" and (target := _resolved(folder, str(each.get("Target")))) in self
        ]


def properties_title(package: Package) -> str:
    """The title among an Office file's core properties; "" without one."""
    core = next(iter(package.related("", "core-properties")), None)
    found = package.xml(core).find(_TITLE) if core else None
    return " ".join((found.text or "").split()) if found is not None else ""


def _check_size(info: zipfile.ZipInfo) -> None:
    if info.file_size > MAX_PART_BYTES:
        raise Rejected(
            f"Its part {info.filename} has {info.file_size:,} bytes; {MAX_PART_BYTES:,} are read.",
            reason="too_large",
            remedy="Split the file, or export it as text or CSV.",
        )


def _resolved(folder: str, target: str) -> str:
    return target[1:] if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))


@contextmanager
def open_package(opened: BinaryIO, needed: str) -> Iterator[Package]:
    """The package in a file that must have the part `needed`, "" for any.

    Raises:
        Rejected: "encrypted"; "damaged"; "too_large"; "unsupported_format": it is something else by its content.
    """
    head = opened.read(HEAD_BYTES)
    opened.seek(0)
    if head.startswith(_OLE):
        raise _encrypted() if b"E\0n\0c\0r\0y\0p\0t\0e\0d\0P\0a\0c\0k" in head else _other(kind_of(head))
    if not head.startswith(b"PK"):
        kind = kind_of(head)
        raise _other(kind) if kind else _damaged("it does not begin as such a file does")
    try:
        archive = zipfile.ZipFile(opened)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError) as error:
        raise _damaged(f"it cannot be unpacked ({error})") from error
    with archive:
        if len(archive.filelist) > _MAX_ENTRIES:
            raise Rejected(
                f"It has {len(archive.filelist):,} parts; {_MAX_ENTRIES:,} are read.",
                reason="too_large",
                remedy=SAVE_AGAIN,
            )
        package = Package(archive)
        if needed and needed not in package:
            raise _other(kind_of(head) or "a ZIP archive of another kind")
        yield package


def _encrypted() -> Rejected:
    return Rejected("The file is encrypted.", reason="encrypted", remedy="Save it without a password, then retry.")


def _damaged(why: str) -> Rejected:
    return Rejected(f"The file is damaged: {why}.", reason="damaged", remedy=SAVE_AGAIN)


def _other(kind: str) -> Rejected:
    return Rejected(
        f"The file is {kind} by its content.",
        reason="unsupported_format",
        remedy="Give it the suffix of its format, or save it in a present format, then retry.",
    )
