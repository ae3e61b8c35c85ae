"""The native dialect of text embeddings: `POST /api/v1/services/embeddings/text-embedding/text-embedding`.

Not known of the real server, and so simulated on the strict side: whether `text_type` "document" gives the vector of
the compatible endpoint (here it does not, so that a mix-up shows); what becomes of an `instruct` without
`text_type` "query" (`native.misplaced_instruct`); whether a sparse-only answer leaves `embedding` out
(`native.sparse_only_embedding`); whether one sparse vector may name an index twice
(`native.duplicate_sparse_indices`).
"""

from __future__ import annotations

import orjson

from tests.simulator.dialects.dialect import Dialect, json_object, listed_texts
from tests.simulator.dialects.items import Item, answer_items
from tests.simulator.dialects.native_errors import NativeVoice
from tests.simulator.faults import Damage
from tests.simulator.model.models import Model
from tests.simulator.provider import Form, Order, Output, Provider
from tests.simulator.refusals import Reason, Refused
from tests.simulator.wire import Request

_TEXT_TYPES = ("document", "query")
_OUTPUT_TYPES: tuple[Output, ...] = ("dense", "sparse", "dense&sparse")


class NativeEmbeddings(Dialect[Order]):
    """Answers embeddings requests as the native endpoint does."""

    routes = ("/api/v1/services/embeddings/text-embedding/text-embedding",)

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider, NativeVoice())

    def read(self, request: Request) -> Order:
        """The order of `request`. Raises Refused."""
        body = json_object(request)
        account = self.provider.account_of(request.headers.get("authorization"))
        name, given, parameters = body.get("model"), body.get("input"), body.get("parameters")
        if not isinstance(name, str) or not name or not isinstance(given, dict):
            raise Refused(Reason.BAD_BODY)
        if parameters is None:
            parameters = {}
        if not isinstance(parameters, dict):
            raise Refused(Reason.BAD_BODY)
        model = self.provider.model_named(name)
        texts = listed_texts(given.get("texts"))
        dimension = parameters.get("dimension")
        if dimension is not None and type(dimension) is not int:
            raise Refused(Reason.DIMENSION, model=model.short_name, allowed=sorted(model.dimensions))
        return self.provider.order(account, model, dimension, texts, self._form(model, parameters))

    def body(self, job: Order, damage: Damage | None, request_id: str) -> bytes:
        """`output.embeddings`, usage and request id."""
        items = [self._rendered(item, job) for item in answer_items(self.provider, job, damage)]
        tail = {"usage": {"total_tokens": job.tokens}, "request_id": request_id}
        return b'{"output":{"embeddings":[' + b",".join(items) + b"]}," + orjson.dumps(tail)[1:]

    def _form(self, model: Model, parameters: dict[str, object]) -> Form:
        text_type = parameters.get("text_type", "document")
        if text_type not in _TEXT_TYPES:
            raise Refused(Reason.PARAMETER, what=f"text_type is invalid, it should be in {list(_TEXT_TYPES)}.")
        asked = parameters.get("output_type", "dense")
        output = next((known for known in _OUTPUT_TYPES if known == asked), None)
        if output is None:
            raise Refused(Reason.PARAMETER, what=f"output_type is invalid, it should be in {list(_OUTPUT_TYPES)}.")
        if output != "dense" and not model.gives_sparse:
            raise Refused(Reason.PARAMETER, what=f"output_type {output} is not supported by {model.name}.")
        instruct = parameters.get("instruct") or ""
        if not isinstance(instruct, str):
            raise Refused(Reason.PARAMETER, what="instruct is invalid, it should be a string.")
        if instruct and not (model.takes_instruct and text_type == "query"):
            if self.provider.settings.native.misplaced_instruct == "refuse":
                what = "instruct is only supported by text-embedding-v4 with text_type query."
                raise Refused(Reason.PARAMETER, what=what)
            instruct = ""
        return Form(text_type=str(text_type), instruct=instruct, output=output)

    def _rendered(self, item: Item, order: Order) -> bytes:
        parts = []
        if item.sparse is not None:
            parts.append(b'"sparse_embedding":%b' % item.sparse)
        if order.form.wants_dense:
            parts.append(b'"embedding":%b' % item.dense)
        elif self.provider.settings.native.sparse_only_embedding == "null":
            parts.append(b'"embedding":null')
        parts.append(b'"text_index":%d' % item.index)
        return b"{" + b",".join(parts) + b"}"
