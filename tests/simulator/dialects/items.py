"""The items of one answer, rendered and, where the plan says so, damaged: the same for every dialect.

The damaged item is the middle one, where a check of the first and the last misses it. Damage to a vector falls on the
dense one, and on the sparse one where that is all that was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.simulator.faults import Damage
from tests.simulator.model.sparse import Entry, rendered_sparse, sparse_entries
from tests.simulator.model.vectors import expected_vector, rendered, rendered_base64
from tests.simulator.provider import Order, Provider


@dataclass(frozen=True, slots=True)
class Item:
    """The vectors of one text, in JSON."""

    index: int
    dense: bytes
    """Empty where none was asked for."""
    sparse: bytes | None


def answer_items(provider: Provider, order: Order, damage: Damage | None) -> list[Item]:
    """One item a text, in the order of the texts unless they are to be shuffled."""
    items = [
        Item(index, _dense(provider, order, text), _sparse(provider, order, text))
        for index, text in enumerate(order.texts)
    ]
    middle = len(items) // 2
    match damage:
        case Damage.EMPTY_DATA:
            items = []
        case Damage.MISSING_ITEM:
            del items[middle]
        case Damage.EXTRA_ITEM:
            items.append(replace(items[middle], index=len(items)))
        case Damage.DOUBLED_INDEX if len(items) > 1:
            items[middle] = replace(items[middle], index=items[middle - 1].index)
        case Damage.DOUBLED_INDEX:
            items *= 2
        case Damage.NO_SPARSE:
            items[middle] = replace(items[middle], sparse=None)
        case (
            Damage.WRONG_DIMENSION
            | Damage.NAN_VECTOR
            | Damage.ZERO_VECTOR
            | Damage.NULL_EMBEDDING
            | Damage.TRUE_IN_VECTOR
        ):
            if order.form.wants_dense:
                items[middle] = replace(items[middle], dense=_damaged_dense(order, order.texts[middle], damage))
            else:
                items[middle] = replace(items[middle], sparse=_damaged_sparse(order, order.texts[middle], damage))
    if damage is Damage.SHUFFLED or provider.settings.shuffled:
        provider.draws.shuffle(items)
    return items


def _dense(provider: Provider, order: Order, text: str) -> bytes:
    form = order.form
    if not form.wants_dense:
        return b""
    if form.as_base64:
        vector = expected_vector(order.model.name, order.dimensions, text, form.text_type, form.instruct)
        return rendered_base64(vector)
    return provider.renderings.json_array(order.model.name, order.dimensions, text, form.text_type, form.instruct)


def _sparse(provider: Provider, order: Order, text: str) -> bytes | None:
    if not order.form.wants_sparse:
        return None
    doubled = provider.settings.native.duplicate_sparse_indices
    return rendered_sparse(sparse_entries(order.model.name, text), doubled=doubled)


def _damaged_dense(order: Order, text: str, damage: Damage) -> bytes:
    match damage:
        case Damage.WRONG_DIMENSION:
            short = expected_vector(order.model.name, order.dimensions // 2, text)
            return rendered_base64(short) if order.form.as_base64 else rendered(short)
        case Damage.NAN_VECTOR:
            # Not JSON, but what Python's own encoder writes and its decoder reads.
            return b"[" + b",".join([b"NaN"] * order.dimensions) + b"]"
        case Damage.ZERO_VECTOR:
            return b"[" + b",".join([b"0.0"] * order.dimensions) + b"]"
        case Damage.TRUE_IN_VECTOR:
            return b"[" + b",".join([b"true"] + [b"0.5"] * (order.dimensions - 1)) + b"]"
        case _:
            return b"null"


def _damaged_sparse(order: Order, text: str, damage: Damage) -> bytes:
    match damage:
        case Damage.WRONG_DIMENSION:
            return rendered_sparse([Entry(-1, 0.5, "?"), *sparse_entries(order.model.name, text)])
        case Damage.NAN_VECTOR:
            return b'[{"index":1,"value":NaN,"token":"?"}]'
        case Damage.ZERO_VECTOR:
            return b'[{"index":1,"value":0.0,"token":"?"}]'
        case Damage.TRUE_IN_VECTOR:
            return b'[{"index":1,"value":true,"token":"?"}]'
        case _:
            return b"null"
