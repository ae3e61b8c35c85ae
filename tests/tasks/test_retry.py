"""What is asked again, after which pauses, and when it is given up; nobody sleeps."""

import asyncio
from collections.abc import Callable

import pytest

from millrace.tasks.retry import growing_pauses, retry_transient, retry_transient_async


class Busy(Exception):
    pass


def failing(times: int) -> tuple[list[int], Callable[[], str]]:
    asked: list[int] = []

    def ask() -> str:
        asked.append(1)
        if len(asked) <= times:
            raise Busy(f"failure {len(asked)}")
        return "answer"

    return asked, ask


def test_it_is_asked_again_after_each_pause_until_it_answers() -> None:
    asked, ask = failing(3)
    slept: list[float] = []
    answer = retry_transient(ask, Busy, pauses_s=growing_pauses(1, 3), sleep=slept.append)
    assert (answer, len(asked), slept) == ("answer", 4, [1, 2, 3])


def test_after_the_last_pause_the_last_error_is_raised() -> None:
    asked, ask = failing(9)
    with pytest.raises(Busy, match="failure 3"):
        retry_transient(ask, Busy, pauses_s=(0, 0), sleep=lambda _: None)
    assert len(asked) == 3


def test_other_errors_are_not_retried_and_the_caller_may_give_up() -> None:
    with pytest.raises(ZeroDivisionError):
        retry_transient(lambda: 1 // 0, Busy, pauses_s=(0, 0))
    asked, ask = failing(9)
    with pytest.raises(Busy, match="failure 1"):
        retry_transient(ask, Busy, pauses_s=(0, 0), pause_after=lambda _error, _planned_s: None)
    assert len(asked) == 1


def test_asynchronously_the_caller_chooses_the_pause() -> None:
    asked = []

    async def ask() -> str:
        asked.append(1)
        if len(asked) < 3:
            raise Busy(str(len(asked)))
        return "answer"

    heard: list[tuple[str, float]] = []

    def pause_after(error: Busy, planned_s: float) -> float:
        heard.append((str(error), planned_s))
        return 0.0

    answer = asyncio.run(retry_transient_async(ask, Busy, pauses_s=(5, 6, 7), pause_after=pause_after))
    assert (answer, heard) == ("answer", [("1", 5), ("2", 6)])
