"""Calls under way at once: how many, and what is left when one fails. Barriers say who waits for whom; nobody sleeps."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from millrace.tasks.errors import CollectionError
from millrace.tasks.milvus import Collection
from millrace.tasks.milvus.collection import MAX_IN_FLIGHT, run_concurrently
from tests.tasks.milvus.samples import make_rows

WAIT_S = 30


def test_as_many_calls_as_allowed_are_under_way_at_once() -> None:
    meeting = threading.Barrier(3)
    with ThreadPoolExecutor(8) as threads:
        calls: list[Callable[[], object]] = [lambda: meeting.wait(WAIT_S)] * 9
        assert len(list(run_concurrently(calls, threads, at_once=3))) == 9


def test_no_more_calls_than_allowed_are_under_way_at_once() -> None:
    under_way, most = 0, 0
    lock = threading.Lock()

    def call() -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        with lock:
            under_way -= 1

    with ThreadPoolExecutor(8) as threads:
        list(run_concurrently([call] * 200, threads, at_once=2))
    assert most <= 2


def test_a_failure_is_told_when_its_neighbours_have_ended_and_nothing_more_is_begun() -> None:
    failing, ended, begun = threading.Event(), threading.Event(), []

    def fail() -> None:
        failing.set()
        raise CollectionError("the second call failed")

    def outlast() -> None:
        assert failing.wait(WAIT_S)
        ended.set()

    calls: list[Callable[[], object]] = [fail, outlast, *[lambda: begun.append(1)] * 5]
    with ThreadPoolExecutor(8) as threads, pytest.raises(CollectionError, match="the second call"):
        for _ in run_concurrently(calls, threads, at_once=2):
            pass
    assert (ended.is_set(), begun) == (True, [])


def test_a_server_is_sent_several_calls_at_once_and_all_are_acknowledged_in_the_end(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from millrace.tasks.milvus import writer

    monkeypatch.setattr(writer, "MAX_CALL_ROWS", 10)
    upsert_call = writer.upsert_call
    meeting = threading.Barrier(1 if collection.is_lite else MAX_IN_FLIGHT)

    def watched(*arguments: object) -> int:
        meeting.wait(WAIT_S)
        return upsert_call(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "upsert_call", watched)
    acknowledged_calls: list[str] = []
    collection._checkpoint = acknowledged_calls.append
    assert collection.upsert(*make_rows(range(80))) == 80
    assert acknowledged_calls == ["upserted"] * 8
    assert collection.count() == 80
