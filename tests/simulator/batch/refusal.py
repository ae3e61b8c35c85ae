"""Why a request to files or batches is refused, beside the reasons that all endpoints share."""

from __future__ import annotations


class ApiRefusal(Exception):
    """A request to files or batches is refused for a reason of theirs, in OpenAI's shape."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
