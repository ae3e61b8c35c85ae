"""Fields promoted from metadata: a filter on one of them reads a column, and not the JSON of every row.

A row keeps the whole metadata as well; the field is filled from it whenever the row is upserted.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson
import pyarrow as pa

from millrace.tasks.errors import ConfigurationError, Rejected
from millrace.tasks.records import JsonValue

ScalarKind = Literal["INT64", "DOUBLE", "BOOL", "VARCHAR"]
Scalar = int | float | bool | str | None

LONGEST_VARCHAR = 65_535

_SPELLING = re.compile(
    r"\s*(?P<key>.+?)\s*:\s*(?:(?P<kind>int64|double|bool)|varchar\((?P<size>\d+)\))\s*(?:\s+as\s+(?P<name>\w+)\s*)?",
    re.IGNORECASE | re.ASCII,
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAKEN = frozenset(["id", "content", "embedding", "metadata", "sparse"])
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)

ARROW_TYPES = {"INT64": pa.int64(), "DOUBLE": pa.float64(), "BOOL": pa.bool_(), "VARCHAR": pa.string()}

STAND_INS: dict[ScalarKind, Scalar] = {"INT64": -1, "DOUBLE": -1.0, "BOOL": False, "VARCHAR": ""}
"""What a field holds that cannot be null, where the metadata has nothing for it."""


@dataclass(frozen=True, slots=True)
class ScalarField:
    """The field `name`, filled with what the metadata has under `key`. `size`: UTF-8 bytes of a VARCHAR, else None."""

    name: str
    key: str
    kind: ScalarKind
    size: int | None = None

    def __str__(self) -> str:
        return self.kind.lower() if self.size is None else f"{self.kind.lower()}({self.size})"


def scalar_fields(spellings: Sequence[str], *, partition_key: str = "") -> tuple[ScalarField, ...]:
    """The fields that `milvus.scalar_fields` spells, each as `key:type`, or `key:type as name`.

    Types are int64, double, bool and varchar(n). The name is the key's where that is one that Milvus takes.

    >>> scalar_fields(["page_start:int64", "语言:varchar(16) as lang"])[1]
    ScalarField(name='lang', key='语言', kind='VARCHAR', size=16)

    Raises:
        ConfigurationError: a spelling is invalid, a name is there twice or belongs to another field, or `partition_key`
            is not one of the fields, or of a type that cannot part rows.
    """
    fields = tuple(_scalar_field(spelling) for spelling in spellings)
    names = [field.name for field in fields]
    for name in names:
        if name.lower() in _TAKEN or names.count(name) > 1:
            message = (
                f"milvus.scalar_fields: there already is a field {name}; give it another name, as in key:int64 as name"
            )
            raise ConfigurationError(message)
    if partition_key and not any(f.name == partition_key and f.kind in ("INT64", "VARCHAR") for f in fields):
        message = (
            f"milvus.partition_key = {partition_key}: it must be one of milvus.scalar_fields, int64 or varchar; "
            f"add {partition_key}:varchar(256) to them, or the like"
        )
        raise ConfigurationError(message)
    return fields


def _scalar_field(spelling: str) -> ScalarField:
    found = _SPELLING.fullmatch(spelling)
    name = "" if found is None else found["name"] or found["key"]
    size = None if found is None or found["size"] is None else int(found["size"])
    if found is None or not _NAME.fullmatch(name) or (size is not None and not 1 <= size <= LONGEST_VARCHAR):
        message = (
            f"milvus.scalar_fields: {spelling!r} is invalid; write key:type with int64, double, bool or varchar(n), n "
            f"at most {LONGEST_VARCHAR}, as page_start:int64; a key that is no ASCII name needs one, as "
            f"语言:varchar(16) as lang"
        )
        raise ConfigurationError(message)
    kind: ScalarKind = "VARCHAR"
    for known in ("INT64", "DOUBLE", "BOOL"):
        if (found["kind"] or "").upper() == known:
            kind = known
    return ScalarField(name, found["key"], kind, size)


def promoted_columns(
    metadata: pa.ChunkedArray, fields: Sequence[ScalarField], nullable: frozenset[str]
) -> Iterator[tuple[pa.Field, pa.Array]]:
    """A column for each field, in their order, with nulls in those of `nullable` and stand-ins in the others.

    `metadata`: JSON objects that `wrong_scalars` finds nothing wrong with.
    """
    rows = [orjson.loads(text) for text in metadata.to_pylist()] if fields else []
    for field in fields:
        can_be_null = field.name in nullable
        missing = None if can_be_null else STAND_INS[field.kind]
        values = [fitted(row.get(field.key), field) for row in rows]
        filled = [missing if value is None else value for value in values]
        arrow_type = ARROW_TYPES[field.kind]
        yield pa.field(field.name, arrow_type, nullable=can_be_null), pa.array(filled, arrow_type)


def wrong_scalar(metadata: dict[str, JsonValue], fields: Sequence[ScalarField]) -> Rejected | None:
    """What keeps a row with this metadata out of its fields."""
    for field in fields:
        value = metadata.get(field.key)
        try:
            fitted(value, field)
        except ValueError:
            shown = json.dumps(value, ensure_ascii=False)
            return Rejected(
                f"the metadata {field.key!r} is {shown if len(shown) <= 80 else shown[:77] + '...'}, and the field "
                f"{field.name} is {field}",
                reason="scalar_field",
                remedy="correct the record, or give the field another type or size in milvus.scalar_fields",
            )
    return None


def fitted(value: JsonValue, field: ScalarField) -> Scalar:
    """`value` in the field's type; None for null, and for empty text where the type is not text.

    Numbers and truths that come as text, as all of a CSV file does, count as what they spell.

    Raises:
        ValueError: it does not fit.
    """
    if value is None or (value == "" and field.kind != "VARCHAR"):
        return None
    if isinstance(value, list | dict):
        raise ValueError(f"{value!r} is no single value")
    if field.size is not None:
        text = value if isinstance(value, str) else json.dumps(value)
        if len(text.encode()) > field.size:
            raise ValueError(f"{text!r} is longer than {field.size} bytes")
        return text
    if field.kind == "BOOL":
        if str(value).lower() not in ("true", "false"):
            raise ValueError(f"{value!r} is neither true nor false")
        return str(value).lower() == "true"
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    return _finite(value) if field.kind == "DOUBLE" else _whole(value)


def _finite(value: str | float) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is no finite number")
    return number


def _whole(value: str | float) -> int:
    if (isinstance(value, str) and not _INTEGER.fullmatch(value)) or (isinstance(value, float) and value % 1):
        raise ValueError(f"{value!r} is no integer")
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{value!r} does not fit 64 bits")
    return number
