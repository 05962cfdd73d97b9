"""What does a program find out about the machine it runs on? A metadata server for each process, on a port of its own.

Covered: `/computeMetadata/v1/` with directories, `recursive=true`, `alt=json` and `alt=text`, ETags,
`wait_for_change` with `last_etag` and `timeout_sec`, the `Metadata-Flavor` header both ways, 403 without it or through
a proxy, 404 and 405; access tokens and identity tokens of the machine's service account; for Cloud Run what its
containers see; for machines with more to tell (attributes, zone, preemption, maintenance) any tree of values, which
may change while programs wait for it.
Not covered: HTTPS, `/computeMetadata/v1beta1`, guest attributes, instance claims in identity tokens (`format=full`),
`0.1` and the other early versions.

https://cloud.google.com/compute/docs/metadata/querying-metadata
https://cloud.google.com/run/docs/container-contract#metadata-server
"""

from localcloud.metadata.server import MetadataServer
from localcloud.metadata.state import Metadata, of_container

__all__ = ["Metadata", "MetadataServer", "of_container"]
