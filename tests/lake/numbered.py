"""Numbered texts whose vectors can be told from their numbers, and how child processes that write them end."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tasks.lake import VectorStore
from tasks.records import EmbeddingSpace

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

    async def append_all(self, store: VectorStore, numbers: Sequence[int], batch: int = 10) -> None:
        async def one(part: Sequence[int]) -> None:
            await store.append(self.keys(part), self.vectors(part), [1] * len(part))

        await asyncio.gather(*(one(numbers[i : i + batch]) for i in range(0, len(numbers), batch)))

    def fill(self, store: VectorStore, numbers: Sequence[int], batch: int = 10) -> None:
        asyncio.run(self.append_all(store, numbers, batch))

    def assert_holds(self, store: VectorStore, numbers: Sequence[int]) -> None:
        assert store.missing(self.keys(numbers)) == []
        np.testing.assert_array_equal(store.read(self.keys(numbers)), self.vectors(numbers))


@dataclass(frozen=True)
class Ended:
    """How a child process ended, and the numbers that it said were on disk."""

    killed: bool
    acknowledged: list[int]
    error: str
