"""What does this process need to know of where it runs? Read once, from an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zeroidle.errors import PermanentError

BUNDLE_FILE = "bundle.yaml"
# functions/main.py, bundle.yaml and src/zeroidle lie in one folder when deployed, functions/ beside them in a checkout.
_ROOTS = (Path(), Path(__file__).parents[2])


@dataclass(frozen=True, slots=True)
class Settings:
    """Where this process runs, and where the services it calls are."""

    project: str
    region: str
    bundle: Path
    workflows_address: str | None  # host:port of a local Workflows API; None: Google's
    pubsub_address: str | None  # the same of Pub/Sub
    compute_url: str | None  # base URL of a local Compute Engine API; None: Google's
    clock_url: str | None  # where a local cloud tells the time, which may be moved; None: the machine's clock
    log_level: str

    @classmethod
    def from_env(cls, env: Mapping[str, str], roots: tuple[Path, ...] = _ROOTS) -> Settings:
        """Settings from environment variables. Raises PermanentError naming a variable that is missing.

        GOOGLE_CLOUD_PROJECT, ZEROIDLE_REGION   required
        ZEROIDLE_BUNDLE                         bundle.yaml in the working folder, else in the checkout
        WORKFLOWS_EMULATOR_HOST                 host:port; STORAGE_EMULATOR_HOST is read by the storage client itself
        PUBSUB_EMULATOR_HOST                    host:port
        COMPUTE_EMULATOR_HOST                   base URL
        CLOCK_EMULATOR_URL                      URL that answers {"time": "<RFC 3339>"}
        LOG_LEVEL                               INFO
        """
        return cls(
            project=_required(env, "GOOGLE_CLOUD_PROJECT"),
            region=_required(env, "ZEROIDLE_REGION"),
            bundle=_bundle(env.get("ZEROIDLE_BUNDLE"), roots),
            workflows_address=env.get("WORKFLOWS_EMULATOR_HOST") or None,
            pubsub_address=env.get("PUBSUB_EMULATOR_HOST") or None,
            compute_url=env.get("COMPUTE_EMULATOR_HOST") or None,
            clock_url=env.get("CLOCK_EMULATOR_URL") or None,
            log_level=env.get("LOG_LEVEL", "INFO"),
        )


def _required(env: Mapping[str, str], name: str) -> str:
    value = env.get(name)
    if not value:
        raise PermanentError(f"environment variable {name} is not set", code="INVALID_SETTINGS")
    return value


def _bundle(path: str | None, roots: tuple[Path, ...]) -> Path:
    if path:
        return Path(path)
    candidates = [root / BUNDLE_FILE for root in roots]
    return next((candidate for candidate in candidates if candidate.is_file()), candidates[0])
