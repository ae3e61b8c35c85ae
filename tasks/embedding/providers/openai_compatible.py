"""OpenAI's embeddings API, as DashScope, iFlytek MaaS and servers of one's own speak it.

iFlytek answers with the name of the model behind a service, and many a server with a path, so the model's name in an
answer is not looked at. What each of them says when it refuses is in `translate` and `server_rules`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from millrace.tasks.embedding.models import ModelSpec
from millrace.tasks.embedding.providers.client import READ_TIMEOUT_S, EmbeddingResponse
from millrace.tasks.embedding.providers.error_rules import RULES, SERVER_RULES, STATUS_RULES, Rule, is_refusal
from millrace.tasks.embedding.providers.http import Endpoint
from millrace.tasks.embedding.providers.validation import OtherLength, decode, validate_response
from millrace.tasks.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between those who speak the API.

    With `always_asks` requests name the dimensions of every model that takes them; else only those that are not the
    model's own length, because some servers refuse the very word (vllm-project/vllm#23435).
    """

    rules: Sequence[Rule]
    key_needed: bool
    usage_needed: bool
    always_asks: bool


DIALECTS: Mapping[str, Dialect] = {
    "dashscope": Dialect(RULES, key_needed=True, usage_needed=True, always_asks=True),
    "iflytek": Dialect(STATUS_RULES, key_needed=True, usage_needed=True, always_asks=False),
    "openai": Dialect(SERVER_RULES, key_needed=False, usage_needed=False, always_asks=False),
}


class CompatibleClient:
    """Embeddings of one model with one key; implements `EmbeddingClient`.

    `instruct` goes before each text in the form that Qwen3-Embedding was trained with.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        base_url: str,
        api_key: str,
        dimensions: int,
        instruct: str = "",
        ask_dimensions: str = "auto",
        timeout_s: float = READ_TIMEOUT_S,
        max_connections: int = 100,
    ) -> None:
        dialect = DIALECTS[spec.provider]
        asked = f"{spec.name} at {base_url}"
        require_key(asked, api_key if dialect.key_needed else "none")
        self._dialect = dialect
        self._dimensions = dimensions
        self._instruct = instruct
        self._asks = asks_dimensions(spec, dimensions, ask_dimensions, always=dialect.always_asks)
        self._length_is_right = False
        # Left out, the SDK asks for base64, which DashScope does not document and not every server has.
        self._constant: dict[str, object] = {"model": spec.name, "encoding_format": "float"}
        if self._asks:
            self._constant["dimensions"] = dimensions
        self._endpoint = Endpoint(
            f"{base_url}/embeddings",
            api_key=api_key,
            asked=asked,
            rules=dialect.rules,
            timeout_s=timeout_s,
            max_connections=max_connections,
        )

    async def embed(self, texts: Sequence[str]) -> EmbeddingResponse:
        """The vectors of `texts`, from one request that is tried once. Raises as `EmbeddingClient.embed`.

        Vectors of another length, before there were any of the right one, are a ConfigurationError: trying again would
        bring the same.
        """
        sent = [instructed(text, self._instruct) for text in texts] if self._instruct else list(texts)
        answer = await self._endpoint.post({**self._constant, "input": sent})
        body = decode(answer.body)
        if is_refusal(body):
            raise self._endpoint.refusal(answer, body)
        try:
            proven = validate_response(
                body,
                texts=len(sent),
                dimensions=self._dimensions,
                request_id=answer.request_id,
                usage_needed=self._dialect.usage_needed,
            )
        except OtherLength as wrong:
            # DashScope gives what it is asked for, or refuses; another length there is a fault that passes.
            if self._length_is_right or (self._dialect.always_asks and self._asks):
                raise
            raise ConfigurationError(self._other_length(wrong.found)) from None
        self._length_is_right = True
        return proven

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        await self._endpoint.close()

    def _other_length(self, found: int) -> str:
        told = f"{self._endpoint.asked} answers with vectors of {found} dimensions, not {self._dimensions}"
        if self._asks:
            return f"{told}, though asked to; set embedding.dimensions = {found}"
        return (
            f'{told}; set embedding.dimensions = {found}, or embedding.ask_dimensions = "always" if the server can '
            "shorten them"
        )

    def __repr__(self) -> str:
        return f"CompatibleClient({self._endpoint.asked}, dimensions={self._dimensions}, api_key=***)"


def instructed(text: str, instruct: str) -> str:
    r"""`text` as Qwen3-Embedding takes a query with an instruction; documents go without.

    Source: the models' cards, `get_detailed_instruct`: there is no space after "Query:".

    >>> instructed("how long are logs kept", "Given a question, retrieve passages that answer it")
    'Instruct: Given a question, retrieve passages that answer it\nQuery:how long are logs kept'
    """
    return f"Instruct: {instruct}\nQuery:{text}"


def asks_dimensions(spec: ModelSpec, dimensions: int, ask_dimensions: str, *, always: bool) -> bool:
    """Whether requests are to name the dimensions: as `ask_dimensions` ("auto", "always", "never") says.

    "auto" names what the model is known to take, and what a service that nobody knows was set to; with `always` also
    when it is the model's own length.
    """
    if ask_dimensions != "auto":
        return ask_dimensions == "always"
    unlike = dimensions != spec.default_dimensions
    return (spec.takes_dimensions and (always or unlike)) or (not spec.dimensions and unlike)


def require_key(asked: str, api_key: str) -> None:
    """Raise ConfigurationError for a blank key."""
    if not api_key.strip():
        message = f"{asked} needs an API key in the variable that embedding.api_key_env names"
        raise ConfigurationError(message)
