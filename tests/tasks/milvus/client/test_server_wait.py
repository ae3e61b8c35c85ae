"""How long a server that is away is waited for; the clock is set, nobody sleeps."""

import pytest

from millrace.tasks.errors import CollectionError
from millrace.tasks.milvus.client.server_wait import wait_for_server
from millrace.tasks.milvus.errors import Refused, ServerAway, from_status


class Server:
    """Answers from `back_at_s` on; its clock moves only when somebody sleeps."""

    def __init__(self, back_at_s: float) -> None:
        self.now_s = 0.0
        self.back_at_s = back_at_s
        self.asked_at_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def answer(self) -> str:
        self.asked_at_s.append(self.now_s)
        if self.now_s < self.back_at_s:
            message = "the server cannot be reached"
            raise ServerAway(message)
        return "answer"

    def ask(self, wait_s: float) -> str:
        return wait_for_server(self.answer, wait_s=wait_s, clock=lambda: self.now_s, sleep=self.sleep)


def test_a_server_that_comes_back_in_time_is_waited_for() -> None:
    server = Server(back_at_s=60)
    assert server.ask(wait_s=120) == "answer"
    assert server.now_s <= 65


def test_pauses_grow_to_five_seconds() -> None:
    server = Server(back_at_s=20)
    server.ask(wait_s=60)
    assert server.asked_at_s == [0, 0.25, 0.75, 1.75, 3.75, 7.75, 12.75, 17.75, 22.75]


def test_patience_ends_within_the_time_given_and_says_how_long_it_was() -> None:
    server = Server(back_at_s=1_000)
    with pytest.raises(CollectionError, match=r"cannot be reached \(tried \d+ times in \d+ s\)"):
        server.ask(wait_s=60)
    assert 50 < server.now_s <= 60


def test_without_patience_the_first_failure_is_the_last() -> None:
    server = Server(back_at_s=1)
    with pytest.raises(ServerAway, match=r"cannot be reached$"):
        server.ask(wait_s=0)
    assert server.asked_at_s == [0]


def test_a_refusal_is_not_repeated() -> None:
    asked = []

    def refuse() -> None:
        asked.append(1)
        message = "no"
        raise Refused(message)

    with pytest.raises(Refused):
        wait_for_server(refuse, wait_s=60)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("code", "reason", "retriable", "kind"),
    [
        (8, "rate limit exceeded", False, "ServerAway"),
        (1, "service not ready", False, "ServerAway"),
        (1, "unexpected", True, "ServerAway"),
        (1, "unexpected", False, "Refused"),
        (101, "collection not loaded", False, "CollectionNotLoaded"),
        (1100, 'cannot parse: a like "%not ready"', False, "Refused"),
        (65535, "auth check failure, please check username and password are correct", False, "CredentialsRefused"),
        (1, "Received UNIMPLEMENTED from server.", False, "CollectionError"),
    ],
)
def test_what_milvus_reports_is_waited_for_only_if_waiting_can_help(
    code: int, reason: str, retriable: bool, kind: str
) -> None:
    error = from_status(code, reason, retriable=retriable, doing="searching", where="the server")
    assert type(error).__name__ == kind
    assert "the server" in str(error)
    assert "searching" in str(error)
