"""What a PDF file shows beside the content of its pages: values of form fields, typed-in text, attached files.

pypdf returns the content alone. A reader of the page sees the annotations too, each of which is drawn from its own
data. Source: ISO 32000-1, 12.5 (annotations), 12.7 (forms), 7.11.4 (attached files).
"""

from collections.abc import Iterator
from typing import Any

import pypdf
from pypdf.generic import ArrayObject, DictionaryObject, StreamObject

from millrace.tasks.documents.pdf.pypdf_fonts import dictionary
from millrace.tasks.documents.pdf.pypdf_layers import HiddenLayers

_HIDDEN, _NO_VIEW, _PASSWORD = 1 << 1, 1 << 5, 1 << 13
_MAX_FIELD_DEPTH = 32
_MAX_NODES = 10_000
_MAX_LABEL_CHARACTERS = 300


def annotation_texts(page: pypdf.PageObject, layers: HiddenLayers) -> list[str]:
    """The text of each annotation that shows some: "label: value" of a field that has a label, else the value.

    A value that several annotations share comes once, so that a small file cannot have a page of any length.
    """
    annotations = page.get("/Annots")
    listed = annotations.get_object() if annotations is not None else None
    texts: dict[int, str] = {}
    for annotation in map(dictionary, listed if isinstance(listed, ArrayObject) else ()):
        flags = annotation.get("/F", 0)
        is_hidden = isinstance(flags, int) and flags & (_HIDDEN | _NO_VIEW)
        if is_hidden or ("/OC" in annotation and layers.is_hidden(dict.get(annotation, "/OC"))):
            continue
        value, label = annotation.get("/Contents") if annotation.get("/Subtype") == "/FreeText" else None, ""
        if annotation.get("/Subtype") == "/Widget":
            value, label = _field(annotation)
        if value is not None and id(value) not in texts:
            texts[id(value)] = _labelled(value, label)
    return [text for text in texts.values() if text]


def attachment_names(reader: pypdf.PdfReader) -> list[str]:
    """The names of the attached files."""
    tree = dictionary(dictionary(reader.root_object.get("/Names")).get("/EmbeddedFiles"))
    return list(dict.fromkeys(name for name in _names_in(tree) if name))


def is_portfolio(reader: pypdf.PdfReader) -> bool:
    """Whether the file is a portfolio: its attachments are its content, and its page is a cover."""
    return bool(dictionary(reader.root_object.get("/Collection"))) and len(reader.pages) == 1


def xfa_kind(reader: pypdf.PdfReader) -> str:
    """The kind of an XFA form: "dynamic" if only Adobe's programs draw it, "static" if it has pages; "" for no form."""
    if "/XFA" not in dictionary(reader.root_object.get("/AcroForm")):
        return ""
    needs_rendering = reader.root_object.get("/NeedsRendering")
    return "dynamic" if getattr(needs_rendering, "value", needs_rendering) else "static"


def _field(widget: DictionaryObject) -> tuple[Any, str]:
    """The value of the text or choice field that a widget shows, and its label; None for a field of another kind."""
    entries: dict[str, Any] = {}
    node = widget
    for _ in range(_MAX_FIELD_DEPTH):
        for key in ("/FT", "/V", "/TU", "/Ff"):
            if key in node:
                entries.setdefault(key, node[key])
        if "/Parent" not in node:
            break
        node = dictionary(node["/Parent"])
    flags = entries.get("/Ff", 0)
    is_secret = isinstance(flags, int) and flags & _PASSWORD
    is_text = entries.get("/FT") in {"/Tx", "/Ch"} and not is_secret
    return (entries.get("/V") if is_text else None), _string(entries.get("/TU"))[:_MAX_LABEL_CHARACTERS]


def _labelled(value: Any, label: str) -> str:
    chosen = value if isinstance(value, ArrayObject) else [value]
    text = ", ".join(filter(None, (_string(each).strip() for each in chosen)))
    name = " ".join(label.split())
    return f"{name}: {text}" if name and text else text


def _names_in(tree: DictionaryObject) -> Iterator[str]:
    """The names of the files in a name tree, each node of which is looked at once."""
    seen: set[int] = set()
    stack = [tree]
    while stack and len(seen) < _MAX_NODES:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        names = node.get("/Names")
        for key, reference in zip(*[iter(names if isinstance(names, ArrayObject) else ())] * 2, strict=False):
            file = dictionary(reference)
            yield _string(file.get("/UF")) or _string(file.get("/F")) or _string(key)
        kids = node.get("/Kids")
        stack += map(dictionary, kids if isinstance(kids, ArrayObject) else ())


def _string(value: Any) -> str:
    """A text string, or a stream of text."""
    found = value.get_object() if hasattr(value, "get_object") else value
    if isinstance(found, StreamObject):
        found = found.get_data()
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else found if isinstance(found, str) else ""
