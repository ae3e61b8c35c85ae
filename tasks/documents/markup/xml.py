"""XML of any kind: the text between its tags, without tags, attributes, comments and processing instructions.

An element is a line of its own, and one that holds others is a paragraph, unless it stands within text, as the emphasis
in a sentence does. White space collapses. Entities that the file defines itself stay as they are written (`&name;`):
none is expanded, and nothing outside the file is opened.
"""

import re
from typing import Any

from millrace.tasks.documents.formats import MAX_TITLE_CHARACTERS, Extraction
from millrace.tasks.documents.text_builder import TextBuilder
from millrace.tasks.errors import Rejected

_DECLARATION = re.compile(r"\A\s*<\?xml[^>]{0,1000}\?>")


def read_xml(text: str) -> Extraction:
    """The text of the document; its title is that of the first element called `title`.

    Raises:
        Rejected: it is not well-formed.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(_DECLARATION.sub("", text).encode(), parser)
    except etree.XMLSyntaxError as error:
        raise Rejected(
            f"The file is not well-formed XML: {error}.", reason="damaged",
            remedy="Correct it, or name the file .txt to have it read as it is.",
        ) from error  # fmt: skip
    builder = TextBuilder()
    _write(root, builder)
    written, _, _ = builder.finish()
    title = next((" ".join("".join(each.itertext()).split()) for each in root.iter("{*}title")), "")
    return Extraction(written, title=title[:MAX_TITLE_CHARACTERS])


def _write(root: Any, builder: TextBuilder) -> None:
    """The text below `root`; with a stack, because elements may lie deeper than Python may recurse."""
    builder.add_words(root.text or "")
    # Of each the line breaks around it, and whether its children stand in text.
    open_elements = [(root, iter(root), 0, _is_text(root))]
    while open_elements:
        element, children, lines, in_text = open_elements[-1]
        child = next(children, None)
        if child is None:
            open_elements.pop()
            if lines:
                builder.break_line(lines)
            builder.add_words(element.tail or "" if open_elements else "")
        elif isinstance(child.tag, str):
            lines = 0 if in_text else 2 if len(child) else 1
            if lines:
                builder.break_line(lines)
            builder.add_words(child.text or "")
            open_elements.append((child, iter(child), lines, in_text or _is_text(child)))
        else:  # an entity
            builder.add_words((child.text or "") + (child.tail or ""))


def _is_text(element: Any) -> bool:
    """Whether the element has text of its own beside its children, which then stand in it."""
    return bool(len(element)) and bool(
        (element.text or "").strip() or any((each.tail or "").strip() for each in element)
    )
