"""What reading a document is set to: engines, bounds, columns."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

from millrace.tasks.documents.external import ExternalCommand
from millrace.tasks.documents.recognition import require_recognition
from millrace.tasks.errors import ConfigurationError

PdfEngine = Literal["pypdf", "pdfium"]
Ocr = Literal["off", "pages", "all"]
Sheets = Literal["tables", "records"]
Columns = str | tuple[str, ...]
"""One column of a record file, or several whose texts are joined in this order."""

DEFAULT_TEXT_COLUMN = "text"


@dataclass(frozen=True, slots=True)
class DocumentOptions:
    """How files are read.

    `encoding` forces the encoding of text formats (None: detect). The columns are those of record files: `text_column`
    is the same for all of them, or differs by glob, of which the first that fits a file counts (see `text_columns`);
    only the `metadata_columns` named go into the metadata. A page that is one image counts as a scan when it has fewer
    than `min_page_characters` characters, white space aside. `pdf_engine` is the library that reads PDF files.
    `sheets` says whether the sheets of a file are one text with tables, or each row is a document as in a record file.
    `external` are the user's own parsers, each of which may take `external_timeout_s` for a file. `ocr` says where text
    is recognized: nowhere, on pages of PDF without a text layer, or in picture files too; without `may_recognize` only
    what was recognized before is taken, and what would be comes as a Reject "page_not_recognized".

    Raises:
        ConfigurationError: the library of the engine, or of text recognition, is not installed.
    """

    encoding: str | None = None
    text_column: Columns | Mapping[str, Columns] = DEFAULT_TEXT_COLUMN
    id_column: str = "id"
    title_column: str = "title"
    metadata_columns: tuple[str, ...] = ()
    min_page_characters: int = 20
    pdf_engine: PdfEngine = "pypdf"
    sheets: Sheets = "tables"
    external: tuple[ExternalCommand, ...] = ()
    ocr: Ocr = "off"
    external_timeout_s: float = field(default=600.0, repr=False)  # it changes no document
    may_recognize: bool = field(default=True, repr=False)

    def __post_init__(self) -> None:
        require_engine(self.pdf_engine)
        if self.ocr != "off":
            require_recognition()

    def external_for(self, file_name: str) -> ExternalCommand | None:
        """The user's command for files of this name, if there is one."""
        suffix = PurePosixPath(file_name).suffix.lower()
        return next((each for each in self.external if each.suffix == suffix), None)

    def text_columns(self, file_name: str) -> tuple[str, ...]:
        """The columns that make the text of the record file `file_name`, which may be a path with `/`; at least one.

        A glob without `/` is compared with the last part of the name, one with `/` with the end of the path. Of a file
        that no glob fits it is the column "text".

        >>> options = DocumentOptions(text_column={"faq*.csv": ("question", "answer"), "*": "body"})
        >>> options.text_columns("docs/faq-2026.csv"), options.text_columns("docs/notes.jsonl")
        (('question', 'answer'), ('body',))
        """
        columns = self.text_column
        if isinstance(columns, Mapping):
            path = PurePosixPath(file_name)
            columns = next((named for glob, named in columns.items() if path.match(glob)), DEFAULT_TEXT_COLUMN)
        return (columns,) if isinstance(columns, str) else tuple(columns)


def require_engine(name: PdfEngine) -> None:
    """Raises `ConfigurationError` when the library of the engine is not installed."""
    if name == "pdfium" and importlib.util.find_spec("pypdfium2") is None:
        raise ConfigurationError(
            'documents.pdf_engine = "pdfium" needs the package pypdfium2: pip install "millrace[pdfium]" '
            '(or leave the setting at "pypdf")'
        )
