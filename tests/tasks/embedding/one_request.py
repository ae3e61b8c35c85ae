"""What the tests of the clients ask of each provider alike."""

import pytest

from millrace.tasks.embedding.providers.client import EmbeddingClient
from millrace.tasks.errors import MillraceError

TEXTS = ["衣服的质量杠杠的", "The sluice gate.", "été"]


async def failure_of(client: EmbeddingClient, texts: list[str] = TEXTS) -> MillraceError:
    """The error that one request ends with; the client is closed."""
    with pytest.raises(MillraceError) as caught:
        await client.embed(texts)
    await client.close()
    return caught.value
