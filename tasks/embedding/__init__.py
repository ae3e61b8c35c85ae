"""Texts to vectors: the models and their limits, one client a provider, packing, pacing, retries and the bill.

Knows HTTP, limits and prices. Does not know documents, files, Milvus, settings or the terminal. What it relies on of
the provider is in `configs/models.toml` (figures) and `translate` (error codes), each with its source.
"""

from tasks.embedding.addresses import embedding_space, endpoint_url, native_url, official_endpoint, provider_url
from tasks.embedding.bill import Budget, Tally, cost_cny
from tasks.embedding.catalogue import ModelSpec, choose_dimensions, find_model, known_models
from tasks.embedding.client import EmbeddingClient, EmbeddingResponse, Vectors, make_client, probe
from tasks.embedding.clock import Clock, LoopClock
from tasks.embedding.dispatcher import Dispatcher
from tasks.embedding.estimate import Estimate, Estimator
from tasks.embedding.latency import BOUNDS_S, Latencies
from tasks.embedding.learned import LearnedLimits
from tasks.embedding.offers import check_offer
from tasks.embedding.pacing import Pacer
from tasks.embedding.packing import pack_requests
from tasks.embedding.patience import Patience
from tasks.embedding.purchases import Activity, Event, TextItem, VectorSink
from tasks.embedding.rerank import Ranked, Reranker, Reranking, make_reranker
from tasks.embedding.rerank_catalogue import RerankSpec, find_reranker, rerank_url

__all__ = [
    "BOUNDS_S",
    "Activity",
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
    "LoopClock",
    "ModelSpec",
    "Pacer",
    "Patience",
    "Ranked",
    "RerankSpec",
    "Reranker",
    "Reranking",
    "Tally",
    "TextItem",
    "VectorSink",
    "Vectors",
    "check_offer",
    "choose_dimensions",
    "cost_cny",
    "embedding_space",
    "endpoint_url",
    "find_model",
    "find_reranker",
    "known_models",
    "make_client",
    "make_reranker",
    "native_url",
    "official_endpoint",
    "pack_requests",
    "probe",
    "provider_url",
    "rerank_url",
]
