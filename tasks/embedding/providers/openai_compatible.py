"""OpenAI's embeddings API, as spoken by DashScope, iFlytek MaaS and self-hosted servers.

The model's name in an answer is ignored: iFlytek returns the name of the model behind a service, many servers a path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from millrace.tasks.embedding.models import ModelSpec
from millrace.tasks.embedding.providers.client import READ_TIMEOUT_S, EmbeddingResponse
from millrace.tasks.embedding.providers.error_rules import DASHSCOPE_RULES, SERVER_RULES, STATUS_RULES, Rule, is_refusal
from millrace.tasks.embedding.providers.http import Endpoint, max_answer_bytes
from millrace.tasks.embedding.providers.validation import UnexpectedDimensions, decode, validate_response
from millrace.tasks.errors import ConfigurationError, ProviderStopped, ProviderUnavailable, TextsRefused


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the providers of the API.

    With `always_sends_dimensions`, requests name the dimensions whenever the model takes them; otherwise only when they
    are not the model's default, because some servers refuse the parameter (vllm-project/vllm#23435). With `asks_base64`
    vectors are asked for as base64 of float32, which costs two fifths of numbers to read, until a server refuses that.
    """

    rules: Sequence[Rule]
    key_needed: bool
    usage_needed: bool
    always_sends_dimensions: bool
    asks_base64: bool = False  # DashScope takes "float" only


DIALECTS: Mapping[str, Dialect] = {
    "dashscope": Dialect(DASHSCOPE_RULES, key_needed=True, usage_needed=True, always_sends_dimensions=True),
    "iflytek": Dialect(STATUS_RULES, key_needed=True, usage_needed=True, always_sends_dimensions=False),
    "openai": Dialect(
        SERVER_RULES, key_needed=False, usage_needed=False, always_sends_dimensions=False, asks_base64=True
    ),
}


class CompatibleClient:
    """Embeddings of one model with one key; implements `EmbeddingClient`.

    `instruct` is put before each text in the form that Qwen3-Embedding was trained with.
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
        target = f"{spec.name} at {base_url}"
        require_key(target, api_key if dialect.key_needed else "none")
        self._dialect = dialect
        self._dimensions = dimensions
        self._instruct = instruct
        self._sends_dimensions = sends_dimensions(
            spec, dimensions, ask_dimensions, always=dialect.always_sends_dimensions
        )
        self._length_is_right = False
        self._format = "base64" if dialect.asks_base64 else "float"
        self._format_is_taken = not dialect.asks_base64
        self._constant: dict[str, object] = {"model": spec.name}
        if self._sends_dimensions:
            self._constant["dimensions"] = dimensions
        self._endpoint = Endpoint(
            f"{base_url}/embeddings",
            api_key=api_key,
            target=target,
            rules=dialect.rules,
            timeout_s=timeout_s,
            max_connections=max_connections,
        )

    async def embed(self, texts: Sequence[str]) -> EmbeddingResponse:
        """The vectors of `texts`, from one request that is tried once. Raises as `EmbeddingClient.embed`.

        Vectors of another length, before any of the right length, are a ConfigurationError: a retry would not help.
        """
        sent = [with_instruction(text, self._instruct) for text in texts] if self._instruct else list(texts)
        if self._format_is_taken:
            return await self._ask(sent, self._format)
        try:
            response = await self._ask(sent, self._format)
        except (TextsRefused, ProviderStopped, ConfigurationError, ProviderUnavailable) as error:
            # Of a server that has not answered yet nobody knows what it refused; refusals are not billed.
            if isinstance(error, ProviderUnavailable) and not _is_about_format(str(error)):
                raise
            response = await self._ask(sent, "float")
            self._format = "float"
        self._format_is_taken = True
        return response

    async def _ask(self, sent: list[str], encoding_format: str) -> EmbeddingResponse:
        answer = await self._endpoint.post(
            {**self._constant, "encoding_format": encoding_format, "input": sent},
            max_bytes=max_answer_bytes(len(sent), self._dimensions),
        )
        body = decode(answer.body)
        if is_refusal(body):
            raise self._endpoint.refusal(answer, body)
        try:
            response = validate_response(
                body,
                texts=len(sent),
                dimensions=self._dimensions,
                request_id=answer.request_id,
                usage_needed=self._dialect.usage_needed,
            )
        except UnexpectedDimensions as wrong:
            # DashScope gives the length requested or refuses; another length there is a temporary fault.
            if self._length_is_right or (self._dialect.always_sends_dimensions and self._sends_dimensions):
                raise
            raise ConfigurationError(self._other_length(wrong.found)) from None
        self._length_is_right = True
        return response

    async def close(self) -> None:
        """Close every connection; requests in flight fail."""
        await self._endpoint.close()

    def _other_length(self, found: int) -> str:
        message = f"{self._endpoint.target} answers with vectors of {found} dimensions, not {self._dimensions}"
        if self._sends_dimensions:
            return f"{message}, though {self._dimensions} were requested; set embedding.dimensions = {found}"
        return (
            f'{message}; set embedding.dimensions = {found}, or embedding.ask_dimensions = "always" if the server can '
            "shorten them"
        )

    def __repr__(self) -> str:
        return f"CompatibleClient({self._endpoint.target}, dimensions={self._dimensions}, api_key=***)"


def _is_about_format(message: str) -> bool:
    return "encoding_format" in message or "base64" in message


def with_instruction(text: str, instruct: str) -> str:
    r"""A query with its instruction, in the form that Qwen3-Embedding expects; documents have none.

    Source: the models' cards, `get_detailed_instruct`: there is no space after "Query:".

    >>> with_instruction("how long are logs kept", "Given a question, retrieve passages that answer it")
    'Instruct: Given a question, retrieve passages that answer it\nQuery:how long are logs kept'
    """
    return f"Instruct: {instruct}\nQuery:{text}"


def sends_dimensions(spec: ModelSpec, dimensions: int, ask_dimensions: str, *, always: bool) -> bool:
    """Whether requests name the dimensions, by the setting `ask_dimensions` ("auto", "always", "never").

    "auto" names them if the model is known to take them or is unknown, and they are not its default; with `always` also
    if a model that takes them has that default.
    """
    if ask_dimensions != "auto":
        return ask_dimensions == "always"
    not_default = dimensions != spec.default_dimensions
    return (spec.takes_dimensions and (always or not_default)) or (not spec.dimensions and not_default)


def require_key(target: str, api_key: str) -> None:
    """Raise ConfigurationError for a blank key."""
    if not api_key.strip():
        message = f"{target} needs an API key in the variable that embedding.api_key_env names"
        raise ConfigurationError(message)
