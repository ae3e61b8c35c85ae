"""Which endpoint answers a path."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from tests.simulator.dialects.dialect import Endpoint


class Routes:
    """The endpoints by their routes. In a route, `{id}` stands for any one step of a path."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._endpoints = {route: endpoint for endpoint in endpoints for route in endpoint.routes}
        self._patterns = [(route, route.split("/")) for route in self._endpoints if "{" in route]

    def find(self, path: str) -> tuple[Endpoint, str, Mapping[str, str]] | None:
        """The endpoint, its route and what stood for the names in it."""
        if (endpoint := self._endpoints.get(path)) is not None:
            return endpoint, path, {}
        steps = path.split("/")
        for route, pattern in self._patterns:
            if len(pattern) == len(steps) and all(
                step and (name == step or name.startswith("{"))
                for name, step in zip(pattern[1:], steps[1:], strict=True)
            ):
                named = {name[1:-1]: step for name, step in zip(pattern, steps, strict=True) if name.startswith("{")}
                return self._endpoints[route], route, named
        return None

    def nearest(self, path: str) -> Endpoint:
        """The endpoint whose words fit a path that does not exist: the one that shares most of it."""
        return self._endpoints[max(self._endpoints, key=lambda route: len(os.path.commonpath((route, f"/{path}"))))]
