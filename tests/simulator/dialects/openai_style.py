"""A server that speaks OpenAI's embeddings API: `POST /openai/v1/embeddings` and `GET /openai/v1/models`.

What kind of server it is, and how it was started, is in `settings.openai`.
"""

from __future__ import annotations

import time
import uuid
from http import HTTPStatus
from typing import Any

import orjson

from tests.simulator.dialects.compatible import data_body
from tests.simulator.dialects.dialect import Dialect, json_object, listed_texts
from tests.simulator.dialects.openai_errors import OpenAiVoice
from tests.simulator.dialects.openai_settings import ServedModel
from tests.simulator.faults import Damage
from tests.simulator.model.models import LEAST_DIMENSIONS, UNLIMITED, Model
from tests.simulator.provider import Form, Order, Provider
from tests.simulator.refusals import Reason, Refused
from tests.simulator.wire import Request, Response

_FORMATS = ("float", "base64")


def account_of(provider: Provider, request: Request) -> str:
    """The account of a request to a server where the key, or the wallet, may not matter. Raises Refused."""
    settings = provider.settings.openai
    account = provider.account_of(request.headers.get("authorization")) if settings.key_needed else "main"
    if settings.wallet_empty:
        raise Refused(Reason.ARREARAGE)
    return account


class OpenAiEmbeddings(Dialect[Order]):
    """Answers `POST /openai/v1/embeddings`."""

    routes = ("/openai/v1/embeddings",)

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider, OpenAiVoice(provider))

    def read(self, request: Request) -> Order:
        """The order of `request`. Raises Refused."""
        settings = self.provider.settings.openai
        body = json_object(request)
        account = account_of(self.provider, request)
        served = self._served(body.get("model"))
        texts = listed_texts(body.get("input"))
        asked_format = body.get("encoding_format") or "float"
        if asked_format not in _FORMATS:
            raise Refused(Reason.ENCODING_FORMAT)
        model = Model.of_one_length(
            served.name,
            self._dimensions(served, body.get("dimensions")),
            texts_per_request=settings.texts_per_request or UNLIMITED,
            tokens_per_text=settings.tokens_per_text or served.tokens_per_text,
            quota="openai",
        )
        as_base64 = (asked_format if settings.embeddings_as == "asked" else settings.embeddings_as) == "base64"
        return self.provider.order(account, model, None, texts, Form(as_base64=as_base64))

    def body(self, job: Order, damage: Damage | None, request_id: str) -> bytes:
        """Items, model and usage."""
        tail: dict[str, Any] = {"object": "list", "model": job.model.name, "created": int(time.time())}
        usage = self.provider.settings.openai.usage
        if usage != "absent":
            tokens = job.tokens if usage == "counted" else 0
            tail["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return data_body(self.provider, job, damage, tail)

    def _served(self, name: object) -> ServedModel:
        settings = self.provider.settings.openai
        if settings.flavour == "tei":
            return settings.models[0]
        found = next((model for model in settings.models if model.name == name), None)
        if found is None:
            raise Refused(Reason.UNSUPPORTED_MODEL if name in settings.rerankers else Reason.UNKNOWN_MODEL, model=name)
        return found

    def _dimensions(self, served: ServedModel, asked: object) -> int:
        """The length of the vectors. Raises Refused."""
        knob = self.provider.settings.openai.dimensions
        if asked is None or knob == "ignore":
            return served.dimensions
        if knob == "refuse" or (knob == "by_model" and not served.shortens):
            raise Refused(Reason.FIXED_DIMENSIONS, model=served.name)
        least = min(LEAST_DIMENSIONS, served.dimensions)
        if not isinstance(asked, int) or not least <= asked <= served.dimensions:
            allowed = f"[{least}..{served.dimensions}]"
            raise Refused(Reason.DIMENSION, model=served.name, limit=served.dimensions, allowed=allowed)
        return asked


class OpenAiModels:
    """Answers `GET /openai/v1/models`: no faults, no latency, no limits, nothing in the books but the request."""

    routes = ("/openai/v1/models",)

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._voice = OpenAiVoice(provider)

    async def answer(self, request: Request) -> Response:
        """The list of what is served, rerankers too."""
        settings = self._provider.settings.openai
        try:
            if request.method != "GET":
                raise Refused(Reason.BAD_METHOD, method=request.method)
            if settings.key_needed:
                self._provider.account_of(request.headers.get("authorization"))
        except Refused as refused:
            return self.refusal(refused)
        names = [*(model.name for model in settings.models), *settings.rerankers]
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "simulator"} for name in names]
        return Response(HTTPStatus.OK, orjson.dumps({"object": "list", "data": models}))

    def refusal(self, refused: Refused) -> Response:
        """The error answer for `refused`."""
        return self._voice.refusal(refused, str(uuid.uuid4()))
