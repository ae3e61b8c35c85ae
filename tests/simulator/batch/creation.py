"""What a new job is asked to be, and the damage that its output will have."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

from tests.simulator.batch.job import Job, LineDamage
from tests.simulator.batch.refusal import ApiRefusal
from tests.simulator.batch.settings import BatchSettings

_WINDOW = re.compile(r"(\d{1,5})([hd])")
_WINDOW_HOURS = range(24, 336 + 1)
_METADATA_CHARS = {"ds_name": 100, "ds_description": 200}


def window_s(window: str) -> float:
    """The seconds of a completion window. Raises ApiRefusal."""
    found = _WINDOW.fullmatch(window)
    hours = int(found[1]) * (24 if found[2] == "d" else 1) if found else 0
    if hours not in _WINDOW_HOURS:
        raise ApiRefusal(400, "The completion_window must be from 24h to 336h, or from 1d to 14d.", "completion_window")
    return hours * 3600.0


def check_metadata(metadata: Mapping[str, Any] | None) -> None:
    """Nothing, or ApiRefusal for a name or a description that is too long."""
    for name, most in _METADATA_CHARS.items():
        value = (metadata or {}).get(name, "")
        if not isinstance(value, str) or len(value) > most:
            raise ApiRefusal(400, f"The length of {name} must not exceed {most}.", f"metadata.{name}")


def drawn_damage(job: Job, settings: BatchSettings, seed: int) -> dict[int, LineDamage]:
    """Line from 0 -> what becomes of it, no line twice."""
    wanted: dict[LineDamage, int] = {
        "missing": settings.missing_lines,
        "duplicated": settings.duplicated_lines,
        "malformed": settings.malformed_lines,
        "unknown_id": settings.unknown_ids,
        "wrong_dimension": settings.wrong_dimension,
    }
    kinds = [kind for kind, many in wanted.items() for _ in range(many)]
    drawn = random.Random(f"{seed}:{job.number}:damage").sample(range(job.lines), min(job.lines, len(kinds)))
    return dict(zip(drawn, kinds, strict=False))
