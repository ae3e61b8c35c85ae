"""What the refusals of OpenAI, and of servers that speak its API, mean: vLLM, TEI, Ollama, llama.cpp, Infinity.

Sources, read 2026-11: OpenAI's error-code and rate-limit guides and bodies quoted in langchain-ai/langchain#31227 and
#7343; vllm-project/vllm#19798 (too long), #16331 and #15465 (dimensions); the validation and the statuses of
huggingface/text-embeddings-inference (`core/src/tokenization.rs`, `router/src/http/server.rs`); ggml-org/llama.cpp#7389
and ollama's `normalizeEmbeddingError` (too long); michaelfeil/infinity#307 (too many).
"""

from tasks.embedding.translate import COMMON, Rule

_SLOW = "millrace slows down and tries again"

SERVER_RULES: tuple[Rule, ...] = (
    Rule(
        "stop",
        "pay the bill or raise the limit of the account and run again; what was bought is kept",
        # Unlike on DashScope, `insufficient_quota` is an empty wallet here.
        codes=frozenset(["insufficient_quota", "billing_not_active", "billing_hard_limit_reached"]),
    ),
    Rule("slow", _SLOW, "tokens", phrases=("tokens per min", "tokens per day")),
    Rule("slow", _SLOW, "requests", phrases=("requests per min", "requests per day")),
    Rule(
        "stop",
        "check embedding.model: the server does not have it under this name",
        # vLLM and OpenAI; Ollama; Xinference.
        phrases=("` does not exist", "not found, try pulling", "model not found"),
    ),
    Rule(
        "stop",
        "the server makes no embeddings with this model; start it as an embedding server, or check embedding.model",
        # vLLM; llama.cpp; Ollama.
        phrases=("does not support embeddings",),
    ),
    Rule(
        "configure",
        "lower limits.texts_per_request",
        # TEI (also as 413 and 422); OpenAI; Infinity and others that check with pydantic.
        phrases=("maximum allowed batch size", "array too long", "list should have at most"),
    ),
    Rule(
        "configure",
        'set embedding.ask_dimensions = "never" and embedding.dimensions to the length that the model itself has; vLLM '
        "shortens vectors only when it is started with --hf-overrides '{\"is_matryoshka\": true}'",
        phrases=("matryoshka", "not support specifying dimensions", "dimensions is currently not supported"),
    ),
    Rule(
        "refuse",
        "lower limits.tokens_per_request",
        "request_too_large",
        codes=frozenset(["max_tokens_per_request"]),
        phrases=("tokens per request",),
    ),
    Rule(
        "refuse",
        "make chunking.max_tokens smaller, or name the model's own tokenizer in embedding.tokenizer",
        "text_too_long",
        codes=frozenset(["context_length_exceeded"]),
        phrases=(
            *("maximum context length", "maximum input length", "max context", "maximum model length"),  # OpenAI, vLLM
            "`inputs` must have less than",  # TEI, as 413 or 422
            *("exceeds the context length", "exceeds maximum context length"),  # Ollama
            # llama.cpp, as 500: waiting would not heal it.
            *("too large to process", "exceeds the available context size", "context size has been exceeded"),
        ),
    ),
    Rule(
        "refuse",
        "the chunk is left out; look at it in its document",
        "text_empty",
        phrases=("`inputs` cannot be empty", "input cannot be an empty string"),
    ),
    # TEI's name for a failure of its backend.
    Rule("wait", "millrace waits and tries again", statuses=frozenset([424])),
    *COMMON,
)
