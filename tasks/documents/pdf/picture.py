"""Pages of a PDF file as pictures, drawn by pdfium; in a reading process, since a page may be hostile."""

import importlib.util
import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from millrace.tasks.documents.source_bytes import read_source
from millrace.tasks.errors import ConfigurationError, Rejected
from millrace.tasks.records import SourceFile

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 20_000_000
"""A page that would have more is drawn smaller; A3 at 300 dpi has 17 million."""

_POINTS_PER_INCH = 72


def require_pictures() -> None:
    """Raises `ConfigurationError` when the library that draws pages is not installed."""
    if importlib.util.find_spec("pypdfium2") is None:
        raise ConfigurationError('drawing PDF pages needs the package pypdfium2: pip install "millrace[pdfium]"')


def page_pictures(file: SourceFile, numbers: Sequence[int], *, dpi: int) -> Iterator["Image"]:
    """A picture of each of these pages, from 1, in grey or colour, of at most `MAX_PIXELS` pixels.

    Raises:
        ConfigurationError: pypdfium2 is not installed.
        Rejected, OSError: as `open_source`; "damaged": the file or a page of it cannot be drawn.
    """
    require_pictures()
    import pypdfium2

    data = read_source(file)
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise _not_drawable(str(error)) from error
    try:
        for number in numbers:
            page = document[number - 1]
            width, height = (side * dpi / _POINTS_PER_INCH for side in page.get_size())
            scale = dpi / _POINTS_PER_INCH * min(1.0, (MAX_PIXELS / max(1.0, width * height)) ** 0.5)
            picture = page.render(scale=scale).to_pil()
            page.close()
            yield picture
    except pypdfium2.PdfiumError as error:
        raise _not_drawable(str(error)) from error
    finally:
        document.close()


def _not_drawable(why: str) -> Rejected:
    return Rejected(
        f"It cannot be drawn ({why}).", reason="damaged", remedy="Save it again in its own program, then retry."
    )


def as_png(picture: "Image") -> bytes:
    """The picture as a PNG file."""
    written = io.BytesIO()
    picture.quantize(64).save(written, "PNG", optimize=False)
    return written.getvalue()
