"""How is an online request answered? The Vertex AI contract: instances in, predictions out, batched with others.

    {"instances": [{"text": "..."} | "..."], "parameters": {"model": "name@version"}}
    {"predictions": [...], "deployedModelId": "...", "model": "name@version", "runtime": {...}, "truncated": 0}

https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#response_requirements
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import anyio
import anyio.to_thread
from msgspec import field

from services.gpu_inference.batching import Device, Work
from services.gpu_inference.metrics import Metrics
from services.gpu_inference.model import Model, Prediction
from services.gpu_inference.registry import Registry
from services.gpu_inference.settings import Settings
from zeroidle.contracts import codec
from zeroidle.contracts.codec import Contract
from zeroidle.contracts.services import Count, ModelRef
from zeroidle.errors import PermanentError, TemporaryError

THREADS = 32  # requests that tokenize or wait for a model at the same time; the others wait for a thread


class DeadlineExceeded(TemporaryError):
    """The answer took longer than a caller may wait; 504."""

    code = "DEADLINE_EXCEEDED"


class Instance(Contract, frozen=True, kw_only=True):
    """One text."""

    text: str


class Parameters(Contract, frozen=True, kw_only=True):
    """What holds for all instances of a request."""

    model: str = ""  # name or name@version; without it the default model


class PredictRequest(Contract, frozen=True, kw_only=True):
    """An online request."""

    instances: list[Instance | str]
    parameters: Parameters | None = None


class RuntimeInfo(Contract, frozen=True, kw_only=True):
    """Where the answer was computed, and why there."""

    device: str
    dtype: str
    reason: str


class PredictResponse(Contract, frozen=True, kw_only=True, rename={"deployed_model_id": "deployedModelId"}):
    """One prediction for each instance, in order."""

    predictions: list[Prediction]
    deployed_model_id: str
    model: str  # name@version
    runtime: RuntimeInfo
    truncated: Count = field(default=0)  # texts longer than the model reads


@dataclass(slots=True)
class Online:
    """Answers PredictRequests."""

    registry: Registry
    device: Device
    metrics: Metrics
    settings: Settings
    threads: anyio.CapacityLimiter

    async def predict(self, body: bytes) -> PredictResponse:
        """The answer. When cancelled (its caller is gone) its queued work is dropped.

        Raises PermanentError, Overloaded, DeadlineExceeded, TemporaryError.
        """
        request = codec.decode(body, PredictRequest, what="request")
        texts = self._texts(request)
        ref = ModelRef.parse((request.parameters and request.parameters.model) or self.settings.default_model)
        try:
            with anyio.fail_after(self.settings.online_deadline_s), ExitStack() as held:
                model, work = await anyio.to_thread.run_sync(self._begin, held, ref, texts, limiter=self.threads)
                outputs = [await asyncio.wrap_future(one.done) for one in work]
                encoded = [text for one in work for text in one.texts]
                predictions = model.encode(encoded, [output for group in outputs for output in group])
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"no answer within {self.settings.online_deadline_s:g} s", hint="Send fewer instances at once."
            ) from error
        truncated = sum(text.truncated for text in encoded)
        self.metrics.truncated.inc(truncated)
        return PredictResponse(
            predictions=predictions,
            deployed_model_id=self.settings.deployed_model_id or model.name,
            model=model.name,
            runtime=RuntimeInfo(device=model.runtime.device, dtype=model.runtime.dtype, reason=model.runtime.reason),
            truncated=truncated,
        )

    def _texts(self, request: PredictRequest) -> list[str]:
        """The texts within the limits."""
        limit, longest = self.settings.max_instances, self.settings.max_text_chars
        if len(request.instances) > limit:
            raise PermanentError(
                f"field instances: {len(request.instances)} are more than {limit}",
                code="TOO_MANY_INSTANCES",
                hint="Split the request.",
            )
        texts = [one if isinstance(one, str) else one.text for one in request.instances]
        for index, text in enumerate(texts):
            if len(text) > longest:
                raise PermanentError(
                    f"field instances[{index}]: {len(text)} characters are more than {longest}",
                    code="TEXT_TOO_LONG",
                    hint="Cut the text; the model reads only its beginning.",
                )
        return texts

    def _begin(self, held: ExitStack, ref: ModelRef, texts: Sequence[str]) -> tuple[Model, list[Work]]:
        """Have the model, tokenize, queue. `held` keeps the model until the answer is there."""
        model = held.enter_context(self.registry.use(ref))
        # A text a piece: so that a large request shares the device with small ones.
        work = self.device.submit("online", model, [[text] for text in model.decode(texts)])
        held.callback(self.device.withdraw, work)
        return model, work
