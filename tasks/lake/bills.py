"""What was billed, by run and model: one small JSON file a run, for all collections of the lake.

A run writes its bill while it goes on, so that one that is killed leaves its bill too, up to the last writing.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from tasks.lake.places import Place
from tasks.lake.writing import make_folder, write_bytes_atomically


@dataclass(frozen=True, slots=True)
class Bill:
    """What one run was billed for one model.

    `tokens_counted` of the texts that were bought, by our tokenizer; `tokens_billed` by the provider's answers;
    `tokens_in_doubt` of requests whose answer was lost, and that may have been billed; `updated` UTC, ISO 8601.
    """

    run: str
    collection: str
    model: str
    requests: int = 0
    tokens_counted: int = 0
    tokens_billed: int = 0
    tokens_in_doubt: int = 0
    cost_cny: float = 0.0
    updated: str = ""


class Bills:
    """The bills in `folder`."""

    def __init__(self, folder: Place) -> None:
        self._folder = folder

    def save(self, bill: Bill) -> None:
        """Write the run's bill for its model in place of its earlier version, durably. Raises LakeError."""
        make_folder(self._folder)
        data = json.dumps(asdict(bill), ensure_ascii=False, indent=1).encode()
        write_bytes_atomically(data, self._folder / f"{bill.run}.{_file_name(bill.model)}.json")

    def all(self) -> list[Bill]:
        """Every bill, oldest run first; one that cannot be read is left out (see `unreadable`)."""
        return [bill for path in self._paths() if (bill := _parsed(path)) is not None]

    def unreadable(self) -> list[Place]:
        """Bills that are damaged. No run depends on them."""
        return [path for path in self._paths() if _parsed(path) is None]

    def _paths(self) -> list[Place]:
        return sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []


def totals(bills: Iterable[Bill]) -> list[Bill]:
    """One bill a model, the sums over all its runs and collections, in the order of the models' names."""
    by_model: dict[str, Bill] = {}
    for bill in bills:
        so_far = by_model.get(bill.model, Bill(run="", collection="", model=bill.model))
        by_model[bill.model] = replace(
            so_far,
            requests=so_far.requests + bill.requests,
            tokens_counted=so_far.tokens_counted + bill.tokens_counted,
            tokens_billed=so_far.tokens_billed + bill.tokens_billed,
            tokens_in_doubt=so_far.tokens_in_doubt + bill.tokens_in_doubt,
            cost_cny=so_far.cost_cny + bill.cost_cny,
            updated=max(so_far.updated, bill.updated),
        )
    return [by_model[model] for model in sorted(by_model)]


def _file_name(model: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in model)


def _parsed(path: Place) -> Bill | None:
    try:
        return Bill(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
