"""Rows to test with: Chinese and English, emoji and control characters, metadata of every kind."""

import hashlib

import numpy as np
import pyarrow as pa

from millrace.tasks.milvus import CollectionShape
from millrace.tasks.milvus.rows import Vectors
from millrace.tasks.records import JsonValue, metadata_json

SHAPE = CollectionShape(dimensions=8)
TEXT = "汉字，标点。\tand words \U0001f600 é\n"

Rows = tuple[pa.Table, Vectors]


def row_id(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def content_of(number: int, text: str = TEXT) -> str:
    return f"{text}{number}"


def metadata_of(number: int) -> dict[str, JsonValue]:
    return {
        "source": f"/文档/{number % 3}.{'pdf' if number % 2 else 'md'}",
        "page_start": number % 5 if number % 2 else None,
        "heading_path": ["第一章", "Getting started"],
        "chunk_number": number,
    }


def vector_of(number: int, *, seed: int = 0, dimensions: int = SHAPE.dimensions) -> Vectors:
    vector = np.random.default_rng([seed, number]).standard_normal(dimensions).astype(np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def make_rows(numbers: range, *, text: str = TEXT, seed: int = 0, dimensions: int = SHAPE.dimensions) -> Rows:
    """The rows of the given numbers, with unit vectors that depend on number and `seed`."""
    table = pa.table(
        {
            "id": [row_id(n) for n in numbers],
            "content": [content_of(n, text) for n in numbers],
            "metadata": [metadata_json(metadata_of(n)) for n in numbers],
        }
    )
    return table, np.stack([vector_of(n, seed=seed, dimensions=dimensions) for n in numbers])
