"""EPUB books to text: the chapters in the order of the spine, each as the HTML reader reads it.

Source: EPUB 3.3 (W3C), sections 4 (container), 5 (package document), read 2026-12.
"""

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import BinaryIO
from urllib.parse import unquote

from millrace.tasks.documents.encoding import decode
from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS, Extraction, Member, abandoned_unit
from millrace.tasks.documents.html import declared_charset, read_html
from millrace.tasks.documents.office.package import SAVE_AGAIN, Package, open_package
from millrace.tasks.errors import Rejected
from millrace.tasks.records import Reject

_CONTAINER = "META-INF/container.xml"
_OCF = "{urn:oasis:names:tc:opendocument:xmlns:container}"
_OPF = "{http://www.idpf.org/2007/opf}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_CHAPTERS = frozenset(["application/xhtml+xml", "text/html", "application/xml", "text/x-oeb1-document"])
_FONTS_ONLY = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def read_epub(
    opened: BinaryIO, name: str, *, skip: Mapping[str, str], at: Callable[[str], None]
) -> Iterator[Extraction | Member | Reject]:
    """The chapters, one after the other, and a Reject for each that could not be read.

    Raises:
        Rejected: "encrypted": it is protected; "damaged", "too_large", "unsupported_format".
    """
    rejects: list[Reject] = []
    read: list[Extraction] = []
    with open_package(opened, _CONTAINER) as package:
        _check_protection(package)
        root = next(package.xml(_CONTAINER).iter(f"{_OCF}rootfile"), None)
        main = str(root.get("full-path", "")) if root is not None else ""
        book = package.xml(main)
        title = " ".join(next((each.text or "" for each in book.iter(f"{_DC}title")), "").split())
        items = {each.get("id"): each for each in book.iter(f"{_OPF}item")}
        chapters = [items[each.get("idref")] for each in book.iter(f"{_OPF}itemref") if each.get("idref") in items]
        for number, chapter in enumerate(chapters, start=1):
            item = f"chapter {number}"
            if item in skip:
                rejects.append(abandoned_unit(name, item, skip[item], SAVE_AGAIN))
                continue
            if "nav" in (chapter.get("properties") or "").split() or chapter.get("media-type") not in _CHAPTERS:
                continue  # the table of contents, or a picture
            at(item)
            part = posixpath.normpath(posixpath.join(posixpath.dirname(main), unquote(chapter.get("href", ""))))
            try:
                data = package.read(part)
                read.append(read_html(decode(data, forced=None, declared=declared_charset(data))))
            except Rejected as refused:
                rejects.append(Reject("read", name, item, refused.reason, str(refused), SAVE_AGAIN))
    whole = _joined(read)
    if whole.text or not rejects:
        title = title[:MAX_TITLE_CHARACTERS] or next((each.title for each in read if each.title), "")
        yield replace(whole, title=title)
    yield from rejects


def _check_protection(package: Package) -> None:
    name = "META-INF/encryption.xml"
    if name not in package:
        return
    methods = (each for each in package.xml(name).iter() if str(each.tag).endswith("EncryptionMethod"))
    if any(method.get("Algorithm", "") not in _FONTS_ONLY for method in methods):
        raise Rejected(
            "The book is protected (DRM): its chapters are encrypted.",
            reason="encrypted",
            remedy="Get a copy without protection.",
        )


def _joined(chapters: list[Extraction]) -> Extraction:
    """The chapters as one text, with the headings and tables where they then are."""
    texts, headings, tables, offset = [], [], [], 0
    for chapter in chapters:
        if not chapter.text.strip():
            continue
        texts.append(chapter.text)
        headings += [replace(each, start=each.start + offset) for each in chapter.headings]
        tables += [
            replace(each, start=each.start + offset, body=each.body + offset, end=each.end + offset)
            for each in chapter.tables
        ]
        offset += len(chapter.text) + 2
    return Extraction("\n\n".join(texts), headings=tuple(headings), tables=tuple(tables))
