"""Cloud Storage, its JSON API: buckets and objects as the real client libraries see them.

Covered: buckets (insert, get, list, patch, update, delete, restore, lock the retention policy); objects (media,
multipart and resumable uploads, metadata, whole and ranged downloads with decompressive transcoding, patch, update,
delete, copy, rewrite with tokens, move, compose, restore, list with prefixes, globs, offsets, pages, versions and
soft-deleted ones); generation and metageneration preconditions on every verb; checksums sent by the client; partial
responses; batches of metadata calls; object versioning; holds, retention policies and the retention of single objects;
soft delete (off unless a bucket's policy sets a time); lifecycle rules, applied within an hour of virtual time;
notification configurations, which publish to the Pub/Sub that `Storage.notify` names; HMAC keys. The events of an
object's life are handed to listeners, and published, inside the transaction that makes them true.

Of the XML API, on paths `/<bucket>/<object>`: get, head, put and delete an object, resumable uploads, uploads in parts,
forms with policy documents; signed URLs (V4: RSA by the key of a service account of the local cloud, HMAC), checked for
signature, method, host, headers and expiry by the virtual clock. A request without a signature is let through.

Kept and shown without effect: ACLs and IAM policies (everybody may do everything), labels, CORS, website, logging,
autoclass, requester-pays and KMS settings. Customer-supplied encryption keys are asked for, but nothing is encrypted.
Absent: V2 signatures, the rest of the XML API (listing buckets, copying by header), folders of hierarchical namespaces,
Anywhere Cache, bucket relocation, the soft-deleted objects of a restored bucket, object contexts, listing filters,
gRPC. Bucket names that begin another service's paths (`run`, `v1`, `token`) have no XML paths.

State survives `kill -9`: metadata and payloads up to 64 KiB are rows, larger payloads files that a row names, written
before the row and removed after it.
"""

from localcloud.storage.api import routes
from localcloud.storage.state import Storage

__all__ = ["Storage", "routes"]
