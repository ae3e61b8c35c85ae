"""What the tests of the chunking room share."""

import pytest

from millrace.tasks.chunking import Tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.load()
