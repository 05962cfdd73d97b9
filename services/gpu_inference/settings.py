"""What can be set?

MODEL_BUCKET       bucket of the models                                                       required
DEFAULT_MODEL      `name` or `name@version` loaded at start                                   sentiment-minilm
MODEL_CACHE        directory of downloaded models; without it a temporary one                 (temporary)
MEMORY_LIMIT_MB    memory for models on the device, MiB; 0: half of what there is             0
DEVICE             auto, cpu, cuda                                                            auto
DTYPE              auto, float32, bfloat16, float16                                           auto
CPU_LIMIT          cores to use; 0: what the container and the scheduler allow                0
TOKEN_BUDGET       tokens in one batch; 0: by device                                          0
MAX_WAIT_MS        how long an online request waits for others to share its batch             2
QUEUE_LIMIT        online texts that may wait; more are refused with 429                      1024
MAX_INSTANCES      texts in one online request                                                256
MAX_TEXT_CHARS     characters in one online text                                              100000
ONLINE_DEADLINE_S  an online request that takes longer gets 504                               30
SHARD_DEADLINE_S   a shard that takes longer gets 504; Cloud Run's own limit is 3600          3300
AIP_PREDICT_ROUTE, AIP_HEALTH_ROUTE, AIP_HTTP_PORT, AIP_DEPLOYED_MODEL_ID
                   set by Vertex AI: further paths of predict and health, the port to listen on, who we are
                   https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from zeroidle.errors import PermanentError, printable

DeviceChoice = Literal["auto", "cpu", "cuda"]
DtypeChoice = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one instance; the module's docstring says what each means."""

    model_bucket: str
    default_model: str
    model_cache: str = ""
    memory_limit_mb: int = 0
    device: DeviceChoice = "auto"
    dtype: DtypeChoice = "auto"
    cpu_limit: float = 0.0
    token_budget: int = 0
    max_wait_ms: float = 2.0
    queue_limit: int = 1024
    max_instances: int = 256
    max_text_chars: int = 100_000
    online_deadline_s: float = 30.0
    shard_deadline_s: float = 3300.0
    predict_route: str = ""
    health_route: str = ""
    deployed_model_id: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """The settings in an environment. Raises PermanentError naming the variable that is wrong."""
        bucket = environ.get("MODEL_BUCKET", "")
        if not bucket:
            raise PermanentError("MODEL_BUCKET is not set", hint="Set it to the bucket that holds the models.")
        return cls(
            model_bucket=bucket,
            default_model=environ.get("DEFAULT_MODEL") or "sentiment-minilm",
            model_cache=environ.get("MODEL_CACHE", ""),
            memory_limit_mb=int(_number(environ, "MEMORY_LIMIT_MB", 0)),
            device=cast(DeviceChoice, _choice(environ, "DEVICE", get_args(DeviceChoice))),
            dtype=cast(DtypeChoice, _choice(environ, "DTYPE", get_args(DtypeChoice))),
            cpu_limit=_number(environ, "CPU_LIMIT", 0),
            token_budget=int(_number(environ, "TOKEN_BUDGET", 0)),
            max_wait_ms=_number(environ, "MAX_WAIT_MS", 2),
            queue_limit=int(_number(environ, "QUEUE_LIMIT", 1024)),
            max_instances=int(_number(environ, "MAX_INSTANCES", 256)),
            max_text_chars=int(_number(environ, "MAX_TEXT_CHARS", 100_000)),
            online_deadline_s=_number(environ, "ONLINE_DEADLINE_S", 30),
            shard_deadline_s=_number(environ, "SHARD_DEADLINE_S", 3300),
            predict_route=environ.get("AIP_PREDICT_ROUTE", ""),
            health_route=environ.get("AIP_HEALTH_ROUTE", ""),
            deployed_model_id=environ.get("AIP_DEPLOYED_MODEL_ID", ""),
        )


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name, "") or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e12:
        raise PermanentError(f"{name} must be a number of at least 0 (it is {printable(text)!r})")
    return value


def _choice(environ: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = environ.get(name, "") or allowed[0]
    if value not in allowed:
        raise PermanentError(f"{name} must be one of {', '.join(allowed)} (it is {printable(value)!r})")
    return value
