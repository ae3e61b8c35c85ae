"""The moment by which a run is to be done, as people write it."""

import re
from datetime import datetime, time, timedelta

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def deadline_of(text: str, now: datetime) -> datetime:
    """The moment that `text` names: a time of day (the next such), a date with a time, or a duration from `now` on.

    Times without an offset are those of `now`'s zone. Raises ValueError for anything else, and for what has passed.

    >>> now = datetime.fromisoformat("2026-11-30T22:00+08:00")
    >>> [deadline_of(text, now).isoformat() for text in ("08:00", "6h", "2026-12-02T08:00Z")]
    ['2026-12-01T08:00:00+08:00', '2026-12-01T04:00:00+08:00', '2026-12-02T08:00:00+00:00']
    """
    if match := _DURATION.fullmatch(text.strip().lower()):
        return now + float(match[1]) * _UNITS[match[2]]
    try:
        moment = now.combine(now.date(), time.fromisoformat(text), now.tzinfo)
        return moment if moment > now else moment + timedelta(days=1)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        expected = "a time (08:00), a date with a time (2026-12-01T08:00+08:00) or a duration (90m, 6h, 2d)"
        raise ValueError(f"expected {expected}") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)
    if moment <= now:
        raise ValueError(f"{moment.isoformat(timespec='minutes')} has passed")
    return moment
