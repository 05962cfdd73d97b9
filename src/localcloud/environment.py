"""By which variables do programs find a local cloud: Google's client libraries, and gcloud?"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

# Of the APIs that gcloud calls at the HTTP port, and the part of the address that each wants to be told.
_OVERRIDES = {
    "CLOUDRESOURCEMANAGER": "",
    "CLOUDSCHEDULER": "",
    "COMPUTE": "compute/v1/",
    "EVENTARC": "",
    "IAMCREDENTIALS": "",
    "LOGGING": "",
    "PUBSUB": "",
    "STORAGE": "storage/v1/",
    "WORKFLOWEXECUTIONS": "",
    "WORKFLOWS": "",
}


def for_clients(project: str, http_url: str, grpc_address: str, pubsub_address: str) -> dict[str, str]:
    """What Google's client libraries read, and the programs that use them."""
    return {
        "STORAGE_EMULATOR_HOST": http_url,
        "PUBSUB_EMULATOR_HOST": pubsub_address,
        "WORKFLOWS_EMULATOR_HOST": grpc_address,
        "COMPUTE_EMULATOR_HOST": http_url,
        "CLOCK_EMULATOR_URL": f"{http_url}/_localcloud/clock",
        "GOOGLE_CLOUD_PROJECT": project,
        # Otherwise the storage client asks for each bucket once more, in a thread of its own.
        "DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA": "true",
        "NO_GCE_CHECK": "true",  # no search for a metadata server
    }


def for_gcloud(project: str, location: str, http_url: str, configuration: Path) -> dict[str, str]:
    """What gcloud reads: https://cloud.google.com/sdk/gcloud/reference/config/set

    `configuration` is the directory of its settings and logs; its user's own, with their credentials, stay out of play.
    """
    address = urlsplit(http_url)
    overrides = {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}": f"{http_url}/{path}" for api, path in _OVERRIDES.items()}
    return {
        "CLOUDSDK_CONFIG": str(configuration),
        "CLOUDSDK_CORE_PROJECT": project,
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "true",
        "CLOUDSDK_CORE_SHOULD_PROMPT_TO_ENABLE_API": "false",
        # Otherwise gcloud looks for a metadata server in the network at its first use, whatever it is told.
        "GCE_METADATA_ROOT": address.netloc,
        "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
        "CLOUDSDK_EVENTARC_LOCATION": location,
        "CLOUDSDK_RUN_REGION": location,
        "CLOUDSDK_WORKFLOWS_LOCATION": location,
        **overrides,
        # `gcloud run` puts `<region>-` before the host it was told, which makes a name that nobody resolves. A proxy
        # gets the name as it is, so the local cloud is its own: what is for another host, such as an API that is not
        # emulated, ends there too instead of reaching the real one.
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": f"http://run.localhost:{address.port}/",
        "CLOUDSDK_PROXY_TYPE": "http",
        "CLOUDSDK_PROXY_ADDRESS": address.hostname or "",
        "CLOUDSDK_PROXY_PORT": str(address.port),
    }


def names() -> list[str]:
    """Of all these variables."""
    return [*for_clients("", "", "", ""), *for_gcloud("", "", "http://localhost:0", Path())]
