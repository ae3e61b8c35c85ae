"""The vectors of one answer, rendered and, where the plan says so, damaged: the same for every dialect.

The damaged item is the middle one, where a check of the first and the last misses it.
"""

from __future__ import annotations

from tests.simulator.faults import Damage
from tests.simulator.provider import Order, Provider
from tests.simulator.vectors import expected_vector, rendered, rendered_base64

Item = tuple[int, bytes]
"""An index and the JSON of a vector."""


def answer_items(provider: Provider, order: Order, damage: Damage | None, *, as_base64: bool = False) -> list[Item]:
    """One item a text, in the order of the texts unless they are to be shuffled."""
    model, dimensions = order.model.name, order.dimensions
    if as_base64:
        vectors = [rendered_base64(expected_vector(model, dimensions, text)) for text in order.texts]
    else:
        vectors = [provider.renderings.json_array(model, dimensions, text) for text in order.texts]
    items = list(enumerate(vectors))
    middle = len(items) // 2
    match damage:
        case Damage.EMPTY_DATA:
            items = []
        case Damage.MISSING_ITEM:
            del items[middle]
        case Damage.EXTRA_ITEM:
            items.append((len(items), items[middle][1]))
        case Damage.DOUBLED_INDEX if len(items) > 1:
            items[middle] = items[middle - 1][0], items[middle][1]
        case Damage.DOUBLED_INDEX:
            items *= 2
        case Damage.WRONG_DIMENSION | Damage.NAN_VECTOR | Damage.ZERO_VECTOR | Damage.NULL_EMBEDDING:
            items[middle] = middle, _damaged_vector(order, order.texts[middle], damage)
    if damage is Damage.SHUFFLED or provider.settings.shuffled:
        provider.draws.shuffle(items)
    return items


def _damaged_vector(order: Order, text: str, damage: Damage) -> bytes:
    match damage:
        case Damage.WRONG_DIMENSION:
            return rendered(expected_vector(order.model.name, order.dimensions // 2, text))
        case Damage.NAN_VECTOR:
            # Not JSON, but what Python's own encoder writes and its decoder reads.
            return b"[" + b",".join([b"NaN"] * order.dimensions) + b"]"
        case Damage.ZERO_VECTOR:
            return b"[" + b",".join([b"0.0"] * order.dimensions) + b"]"
        case _:
            return b"null"
