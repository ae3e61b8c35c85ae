"""Numbered texts whose vectors, dense and sparse, can be told from their numbers, and how child processes that write them end."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from millrace.tasks.lake import VectorStore
from millrace.tasks.records import EmbeddingSpace, sparse_bytes

OpenStore: TypeAlias = Callable[..., VectorStore]
RunChild: TypeAlias = "Callable[..., Ended]"


@dataclass(frozen=True)
class Texts:
    """Numbered texts whose vectors can be told from their numbers."""

    space: EmbeddingSpace

    def key(self, number: int) -> bytes:
        return hashlib.sha256(f"text {number}".encode()).digest()

    def keys(self, numbers: Iterable[int]) -> list[bytes]:
        return [self.key(n) for n in numbers]

    def vectors(self, numbers: Sequence[int]) -> npt.NDArray[np.float32]:
        column = np.asarray(numbers, np.float32)[:, None]
        return (column + np.arange(self.space.dimensions, dtype=np.float32) / 1024).astype(np.float32)

    def sparse(self, numbers: Iterable[int]) -> list[bytes]:
        """Sparse vectors of 1 to 7 entries."""
        return [sparse_bytes(range(n, n + n % 7 + 1), [n + 1.0] * (n % 7 + 1)) for n in numbers]

    async def append(self, store: VectorStore, numbers: Sequence[int]) -> None:
        """Append them at once, with sparse vectors where the space has them."""
        sparse = self.sparse(numbers) if self.space.sparse else None
        await store.append(self.keys(numbers), self.vectors(numbers), [1] * len(numbers), sparse)

    async def append_all(self, store: VectorStore, numbers: Sequence[int], batch: int = 10) -> None:
        await asyncio.gather(*(self.append(store, numbers[i : i + batch]) for i in range(0, len(numbers), batch)))

    def fill(self, store: VectorStore, numbers: Sequence[int], batch: int = 10) -> None:
        asyncio.run(self.append_all(store, numbers, batch))

    def assert_holds(self, store: VectorStore, numbers: Sequence[int]) -> None:
        assert store.missing(self.keys(numbers)) == []
        np.testing.assert_array_equal(store.read(self.keys(numbers)), self.vectors(numbers))
        if self.space.sparse:
            assert store.read_sparse(self.keys(numbers)) == self.sparse(numbers)


@dataclass(frozen=True)
class Ended:
    """How a child process ended, and the numbers that it said were on disk."""

    killed: bool
    acknowledged: list[int]
    error: str
