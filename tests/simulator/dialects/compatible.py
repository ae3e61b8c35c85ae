"""The OpenAI-compatible dialect of text embeddings: `POST {prefix}/embeddings`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tests.simulator.dialects.compatible_errors import CompatibleVoice
from tests.simulator.dialects.dialect import Dialect, json_object, listed_texts
from tests.simulator.dialects.items import answer_items
from tests.simulator.faults import Damage
from tests.simulator.model.models import Model
from tests.simulator.provider import Form, Order, Provider
from tests.simulator.refusals import Reason, Refused
from tests.simulator.wire import Request

PREFIXES = ("/v1", "/compatible-mode/v1")


class CompatibleEmbeddings(Dialect[Order]):
    """Answers embeddings requests as the compatible endpoint does."""

    routes = tuple(f"{prefix}/embeddings" for prefix in PREFIXES)

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider, CompatibleVoice())

    def read(self, request: Request) -> Order:
        """The order of `request`. Raises Refused."""
        body = json_object(request)
        account = self.provider.account_of(request.headers.get("authorization"))
        return asked_for(self.provider, body).order(self.provider, account)

    def body(self, job: Order, damage: Damage | None, request_id: str) -> bytes:
        """Items, model, usage and id."""
        return embeddings_body(self.provider, job, damage, request_id)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the body of an embeddings request asks for; its texts have not been looked at."""

    model: Model
    dimensions: int | None
    texts: list[str]
    form: Form

    def order(self, provider: Provider, account: str) -> Order:
        """The order, its texts checked, counted and entered in the books as sent. Raises Refused."""
        return provider.order(account, self.model, self.dimensions, self.texts, self.form)


def asked_for(provider: Provider, body: Mapping[str, Any]) -> Asked:
    """What `body` asks for. Raises Refused."""
    name, dimensions = body.get("model"), body.get("dimensions")
    if not isinstance(name, str) or not name:
        raise Refused(Reason.BAD_BODY)
    model = provider.model_named(name)
    texts = listed_texts(body.get("input"))
    if dimensions is not None and type(dimensions) is not int:
        raise Refused(Reason.DIMENSION, model=model.short_name, allowed=sorted(model.dimensions))
    as_base64 = body.get("encoding_format") == "base64"
    if as_base64 and provider.settings.encoding_format == "refuse":
        raise Refused(Reason.ENCODING_FORMAT)
    return Asked(model, dimensions, texts, Form(as_base64=as_base64 and provider.settings.encoding_format == "honour"))


def embeddings_body(provider: Provider, order: Order, damage: Damage | None, request_id: str) -> bytes:
    """The body of an answer to `order`: items, model, usage and id."""
    tail = {
        "model": order.model.name,
        "object": "list",
        "usage": {"prompt_tokens": order.tokens, "total_tokens": order.tokens},
        "id": request_id,
    }
    return data_body(provider, order, damage, tail)


def data_body(provider: Provider, order: Order, damage: Damage | None, tail: Mapping[str, object]) -> bytes:
    """`{"data": [...]}` with OpenAI's items, and what else `tail` says."""
    items = [
        b'{"embedding":%b,"index":%d,"object":"embedding"}' % (item.dense, item.index)
        for item in answer_items(provider, order, damage)
    ]
    return b'{"data":[' + b",".join(items) + b"]," + orjson.dumps(tail)[1:]
