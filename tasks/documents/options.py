"""What reading a document is set to: engines, bounds, columns."""

import importlib.util
from dataclasses import dataclass
from typing import Literal

from millrace.tasks.errors import ConfigurationError

PdfEngine = Literal["pypdf", "pdfium"]


@dataclass(frozen=True, slots=True)
class DocumentOptions:
    """How files are read.

    `encoding` forces the encoding of text formats (None: detect). The columns are those of record files; only the
    `metadata_columns` named go into the metadata. A page that is one image counts as a scan when it has fewer than
    `min_page_characters` characters, white space aside. `pdf_engine` is the library that reads PDF files.

    Raises:
        ConfigurationError: the engine's library is not installed.
    """

    encoding: str | None = None
    text_column: str = "text"
    id_column: str = "id"
    title_column: str = "title"
    metadata_columns: tuple[str, ...] = ()
    min_page_characters: int = 20
    pdf_engine: PdfEngine = "pypdf"

    def __post_init__(self) -> None:
        require_engine(self.pdf_engine)


def require_engine(name: PdfEngine) -> None:
    """Raises `ConfigurationError` when the library of the engine is not installed."""
    if name == "pdfium" and importlib.util.find_spec("pypdfium2") is None:
        raise ConfigurationError(
            'documents.pdf_engine = "pdfium" needs the package pypdfium2: pip install "millrace[pdfium]" '
            '(or leave the setting at "pypdf")'
        )
