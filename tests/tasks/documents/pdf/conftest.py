from functools import partial

import pytest

from millrace.tasks.documents import PdfEngine
from tests.tasks.documents.conftest import Read


@pytest.fixture(params=["pypdf", "pdfium"])
def engine(request: pytest.FixtureRequest) -> PdfEngine:
    """Every test here that reads holds for both engines, unless it says why not."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def read(read: Read, engine: PdfEngine) -> Read:
    return partial(read, pdf_engine=engine)
