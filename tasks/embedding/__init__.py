"""Texts to vectors: the models and their limits, one client per provider, rate limits, retries, usage and budget.

Knows HTTP, limits and prices; knows nothing of documents, files, Milvus, settings or the terminal. Facts about the
providers are in `configs/models.toml` (figures) and `providers.error_rules` (error codes), each with its source.
"""

from millrace.tasks.embedding.addresses import (
    embedding_space,
    endpoint_url,
    native_url,
    official_endpoint,
    provider_url,
)
from millrace.tasks.embedding.batch.client import BatchClient
from millrace.tasks.embedding.batch.line import LineFormat
from millrace.tasks.embedding.dispatch.dispatcher import Dispatcher
from millrace.tasks.embedding.dispatch.estimate import Estimate, Estimator, least_seconds
from millrace.tasks.embedding.dispatch.packing import pack_requests
from millrace.tasks.embedding.dispatch.queue import Activity, Event, Text, VectorSink
from millrace.tasks.embedding.dispatch.retry_policy import RetryPolicy
from millrace.tasks.embedding.dispatch.usage import (
    LATENCY_BUCKETS_S,
    Budget,
    Latencies,
    Usage,
    cost_cny,
    split_tokens,
)
from millrace.tasks.embedding.models import ModelSpec, check_capabilities, choose_dimensions, find_model, known_models
from millrace.tasks.embedding.providers.client import EmbeddingClient, EmbeddingResponse, Unreachable, Vectors
from millrace.tasks.embedding.providers.factory import (
    LEXICAL_MODELS,
    SEMANTIC_MODEL,
    is_installed,
    make_client,
    probe,
    require_installed,
)
from millrace.tasks.embedding.rate_limit.clock import Clock, LoopClock
from millrace.tasks.embedding.rate_limit.limiter import LearnedLimits, RateLimiter
from millrace.tasks.embedding.rerank.factory import make_reranker
from millrace.tasks.embedding.rerank.models import RerankSpec, find_reranker, rerank_url
from millrace.tasks.embedding.rerank.reranker import Ranked, Reranker, Reranking

__all__ = [
    "LATENCY_BUCKETS_S",
    "LEXICAL_MODELS",
    "SEMANTIC_MODEL",
    "Activity",
    "BatchClient",
    "Budget",
    "Clock",
    "Dispatcher",
    "EmbeddingClient",
    "EmbeddingResponse",
    "Estimate",
    "Estimator",
    "Event",
    "Latencies",
    "LearnedLimits",
    "LineFormat",
    "LoopClock",
    "ModelSpec",
    "Ranked",
    "RateLimiter",
    "RerankSpec",
    "Reranker",
    "Reranking",
    "RetryPolicy",
    "Text",
    "Unreachable",
    "Usage",
    "VectorSink",
    "Vectors",
    "check_capabilities",
    "choose_dimensions",
    "cost_cny",
    "embedding_space",
    "endpoint_url",
    "find_model",
    "find_reranker",
    "is_installed",
    "known_models",
    "least_seconds",
    "make_client",
    "make_reranker",
    "native_url",
    "official_endpoint",
    "pack_requests",
    "probe",
    "provider_url",
    "require_installed",
    "rerank_url",
    "split_tokens",
]
