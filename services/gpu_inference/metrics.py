"""What does Prometheus scrape? One registry an application, so that two in one process don't mix."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

LATENCY_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120, 600)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
TOKENS = (16, 64, 256, 1024, 2048, 4096, 8192, 16384, 32768, 65536)


class Metrics:
    """The metrics of one instance."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("inference_requests", "Requests answered", ["route", "status"], registry=registry)
        self.latency = Histogram(
            "inference_request_seconds", "From request to answer", ["route"], buckets=LATENCY_S, registry=registry
        )
        self.records = Counter("inference_records", "Texts predicted", ["kind"], registry=registry)
        self.tokens = Counter("inference_tokens", "Tokens predicted", ["kind"], registry=registry)
        self.truncated = Counter("inference_truncated", "Texts longer than their model reads", registry=registry)
        self.batch_size = Histogram(
            "inference_batch_texts", "Texts in a batch", ["kind"], buckets=SIZES, registry=registry
        )
        self.batch_tokens = Histogram(
            "inference_batch_tokens", "Tokens in a batch", ["kind"], buckets=TOKENS, registry=registry
        )
        self.batch_seconds = Histogram(
            "inference_batch_seconds", "A batch on the device", ["kind"], buckets=LATENCY_S, registry=registry
        )
        self.queue_depth = Gauge("inference_queue_depth", "Work that waits for the device", ["kind"], registry=registry)
        self.model_loads = Counter("inference_model_loads", "Models loaded", ["result"], registry=registry)
        self.model_evictions = Counter("inference_model_evictions", "Models evicted for memory", registry=registry)
        self.models = Gauge("inference_models", "Models loaded now", registry=registry)
        self.memory = Gauge("inference_model_memory_bytes", "Device memory of the models' weights", registry=registry)

    def observe_batch(self, kind: str, texts: int, tokens: int, seconds: float) -> None:
        """One batch was predicted."""
        self.records.labels(kind).inc(texts)
        self.tokens.labels(kind).inc(tokens)
        self.batch_size.labels(kind).observe(texts)
        self.batch_tokens.labels(kind).observe(tokens)
        self.batch_seconds.labels(kind).observe(seconds)

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """One request was answered."""
        self.requests.labels(route, str(status)).inc()
        self.latency.labels(route).observe(seconds)

    def page(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
