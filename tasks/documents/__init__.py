"""Documents: bytes to text, with the provenance of every part.

`list_files` finds the files of the sources, `list_known_files` looks at some by name; `read_documents` makes documents
of one file. All give a `Reject` with a reason and a remedy for what cannot be read, so that one bad file, page or row
never stops the others.

This component knows formats and encodings. It does not know chunks, models, the lake or the collection.
"""

from millrace.tasks.documents.external import ExternalCommand
from millrace.tasks.documents.formats import FORMATS, HOLDING, PICTURES, LeftOutMember
from millrace.tasks.documents.listing import DEFAULT_INCLUDE, LEFTOVERS, Listing, list_files, list_known_files
from millrace.tasks.documents.options import DocumentOptions, PdfEngine
from millrace.tasks.documents.parsed import NOTHING_KEPT, ParsedFiles, read_once
from millrace.tasks.documents.pdf.open_file import close_file
from millrace.tasks.documents.pdf.page_ranges import (
    PageRange,
    join_page_ranges,
    long_pdf_pages,
    may_be_long_pdf,
    page_ranges,
    read_page_range,
)
from millrace.tasks.documents.pdf.reader import check_cpu_time
from millrace.tasks.documents.reading import read_documents
from millrace.tasks.documents.recognition import ENGINE as RECOGNIZER
from millrace.tasks.documents.recognition import NOT_RECOGNIZED
from millrace.tasks.documents.source_bytes import file_hash

__all__ = [
    "DEFAULT_INCLUDE",
    "FORMATS",
    "HOLDING",
    "LEFTOVERS",
    "NOTHING_KEPT",
    "NOT_RECOGNIZED",
    "PICTURES",
    "RECOGNIZER",
    "DocumentOptions",
    "ExternalCommand",
    "LeftOutMember",
    "Listing",
    "PageRange",
    "ParsedFiles",
    "PdfEngine",
    "check_cpu_time",
    "close_file",
    "file_hash",
    "join_page_ranges",
    "list_files",
    "list_known_files",
    "long_pdf_pages",
    "may_be_long_pdf",
    "page_ranges",
    "read_documents",
    "read_once",
    "read_page_range",
]
