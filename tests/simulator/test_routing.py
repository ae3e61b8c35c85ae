"""Which endpoint a path belongs to."""

from __future__ import annotations

import pytest

from tests.simulator.raw import post
from tests.simulator.server import Simulator


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/files", 200),
        ("GET", "/compatible-mode/v1/batches", 200),
        ("GET", "/v1/files/nope", 404),
        ("GET", "/v1/files/nope/content", 404),
        ("POST", "/v1/batches/nope/cancel", 404),
        ("GET", "/v1/files/", 404),
        ("GET", "/v1/files/a/b/c", 404),
        ("PUT", "/v1/files/nope", 405),
        ("DELETE", "/v1/batches/nope", 405),
    ],
)
def test_paths_with_ids_are_found(simulator: Simulator, method: str, path: str, status: int) -> None:
    assert post(simulator.root_url + path, {}, method=method).status == status


def test_the_books_count_by_route_and_not_by_id(simulator: Simulator) -> None:
    for file_id in ("one", "two"):
        post(f"{simulator.base_url}/files/{file_id}", {}, method="GET")
    assert simulator.books.routes == {"/v1/files/{id}": 2}
    assert simulator.store.counts.refused == {"404 GET /v1/files/{id}": 2}


def test_files_need_the_key(simulator: Simulator) -> None:
    assert post(f"{simulator.base_url}/files", {}, "sk-wrong", method="GET").status == 401
