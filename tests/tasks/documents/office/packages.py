"""Office files written part by part, so that each holds exactly what its test is about."""

import io
import zipfile
from collections.abc import Mapping

_RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
MC = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'


def package(parts: Mapping[str, str | bytes]) -> bytes:
    """A ZIP archive of these parts."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return written.getvalue()


def relationships(**targets: str) -> str:
    """A part of relationships, one of each kind."""
    rows = (
        f'<Relationship Id="r{kind}" Type="{_OFFICE}/{kind}" Target="{target}"/>' for kind, target in targets.items()
    )
    return f'<Relationships xmlns="{_RELATIONSHIPS}">{"".join(rows)}</Relationships>'


def docx(body: str, *, title: str = "", **parts: str) -> bytes:
    """A Word document with this body, and further parts by kind: `styles`, `numbering`, `footnotes`, `endnotes`."""
    written: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relationships(officeDocument="word/document.xml", **{"core-properties": "docProps/core.xml"}),
        "docProps/core.xml": f'<p xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></p>',
        "word/document.xml": f"<w:document {W} {MC}><w:body>{body}</w:body></w:document>",
        "word/_rels/document.xml.rels": relationships(**{kind: f"{kind}.xml" for kind in parts}),
    }
    return package(
        written | {f"word/{kind}.xml": f"<w:{kind} {W}>{content}</w:{kind}>" for kind, content in parts.items()}
    )


def paragraph(text: str, properties: str = "") -> str:
    """A Word paragraph of one run."""
    return f"<w:p><w:pPr>{properties}</w:pPr>{run(text)}</w:p>"


def run(text: str, properties: str = "") -> str:
    """A run of text."""
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def xlsx(*sheets: tuple[str, str, str], shared: str = "") -> bytes:
    """A workbook of sheets: name, state ("visible", "hidden"), and the XML of its rows; style 1 is a date."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    listed = "".join(
        f'<sheet name="{name}" sheetId="{n}" state="{state}" r:id="r{n}"/>'
        for n, (name, state, _) in enumerate(sheets, 1)
    )
    targets = "".join(
        f'<Relationship Id="r{n}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{n}.xml"/>'
        for n in range(1, len(sheets) + 1)
    )
    styles = (
        f'<styleSheet xmlns="{main}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>'
    )
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
        "_rels/.rels": relationships(officeDocument="xl/workbook.xml"),
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{_OFFICE}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_RELATIONSHIPS}">{targets}'
        f'<Relationship Id="s" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": styles,
    }
    for number, (_, _, rows) in enumerate(sheets, 1):
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{main}"><sheetData>{rows}</sheetData></worksheet>'
        )
    return package(parts)


def row(*cells: str | float | None, style: int = 0) -> str:
    """A row of a sheet; None is an empty cell, and numbers have this style."""
    written = (
        "<c/>"
        if cell is None
        else f'<c t="inlineStr"><is><t>{cell}</t></is></c>'
        if isinstance(cell, str)
        else f'<c s="{style}"><v>{cell}</v></c>'
        for cell in cells
    )
    return f"<row>{''.join(written)}</row>"


def pptx(*slides: str, notes: str = "", **parts: str) -> bytes:
    """A presentation of slides, each the XML of its shapes; `notes` are those of the first, `parts` are related to it."""
    listed = "".join(f'<p:sldId id="{256 + n}" r:id="r{n}"/>' for n in range(len(slides)))
    targets = "".join(
        f'<Relationship Id="r{n}" Type="{_OFFICE}/slide" Target="slides/slide{n}.xml"/>' for n in range(len(slides))
    )
    spaces = (
        'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
        'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
        f'xmlns:r="{_OFFICE}" {MC}'
    )
    written: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relationships(officeDocument="ppt/presentation.xml"),
        "ppt/presentation.xml": f"<p:presentation {spaces}><p:sldIdLst>{listed}</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": f'<Relationships xmlns="{_RELATIONSHIPS}">{targets}</Relationships>',
        "ppt/slides/_rels/slide0.xml.rels": relationships(
            **({"notesSlide": "notes.xml"} if notes else {}), **{kind: f"{kind}.xml" for kind in parts}
        ),
        "ppt/slides/notes.xml": f"<p:notes {spaces}><p:cSld><p:spTree>{notes}</p:spTree></p:cSld></p:notes>",
    }
    written |= {f"ppt/slides/{kind}.xml": content for kind, content in parts.items()}
    for number, shapes in enumerate(slides):
        tree = f"<p:cSld><p:spTree>{shapes}</p:spTree></p:cSld>"
        written[f"ppt/slides/slide{number}.xml"] = f"<p:sld {spaces}>{tree}</p:sld>" if shapes != "<" else "<"
    return package(written)


def shape(*lines: str, kind: str = "", levels: tuple[int, ...] = ()) -> str:
    """A shape with these paragraphs; `kind` is what it is a placeholder of."""
    place = f'<p:nvSpPr><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr>' if kind else ""
    depths = levels or (0,) * len(lines)
    paragraphs = "".join(
        f'<a:p><a:pPr lvl="{level}"/><a:r><a:t>{line}</a:t></a:r></a:p>'
        for line, level in zip(lines, depths, strict=True)
    )
    return f"<p:sp>{place}<p:txBody>{paragraphs}</p:txBody></p:sp>"


def epub(chapters: Mapping[str, str], *, title: str = "", more: Mapping[str, str] | None = None) -> bytes:
    """A book of these XHTML bodies, in this order, after a table of contents."""
    items = "".join(f'<item id="{name}" href="{name}.xhtml" media-type="application/xhtml+xml"/>' for name in chapters)
    spine = "".join(f'<itemref idref="{name}"/>' for name in chapters)
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        f'<dc:title>{title}</dc:title></metadata><manifest><item id="nav" properties="nav" href="nav.xhtml" '
        f'media-type="application/xhtml+xml"/>{items}</manifest><spine><itemref idref="nav"/>{spine}</spine></package>'
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OPS/book.opf"/></rootfiles></container>'
    )
    parts = {"mimetype": "application/epub+zip", "META-INF/container.xml": container, "OPS/book.opf": opf}
    bodies = {
        f"OPS/{name}.xhtml": f"<html><body>{body}</body></html>"
        for name, body in {"nav": "Contents", **chapters}.items()
    }
    return package(parts | bodies | dict(more or {}))


def odf(kind: str, body: str, *, title: str = "", more: Mapping[str, str] | None = None) -> bytes:
    """An OpenDocument file; `kind` is "text" or "presentation"."""
    names = ("office", "text", "table", "drawing", "presentation")
    prefixes = {"drawing": "draw"}
    spaces = " ".join(
        f'xmlns:{prefixes.get(name, name)}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in names
    )
    content = f"<office:document-content {spaces}><office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>"
    meta = f'<office:document-meta {spaces} xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></office:document-meta>'
    return package(
        {"mimetype": f"application/vnd.oasis.opendocument.{kind}", "content.xml": content, "meta.xml": meta}
        | dict(more or {})
    )
