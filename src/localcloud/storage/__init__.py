"""Cloud Storage, its JSON API: buckets and objects as the real client libraries see them.

Covered: buckets (insert, get, list, patch, update, delete); objects (media, multipart and resumable uploads,
metadata, whole and ranged downloads with decompressive transcoding, patch, update, delete, copy, rewrite, compose,
list with prefixes, globs, offsets, pages and versions); generation and metageneration preconditions on every verb;
checksums sent by the client; object versioning; holds; batches of metadata calls; the events an object's life causes,
handed to listeners inside the transaction that makes them true.

Kept and echoed but without effect: labels, lifecycle, retention, CORS, encryption and storage-class settings.
Answered as empty: notification configurations. Absent: the XML API and signed URLs, ACLs and IAM, soft delete,
HMAC keys, gRPC.

State survives `kill -9`: metadata and payloads up to 64 KiB are rows, larger payloads files that a row names, written
before the row and removed after it.
"""

from localcloud.storage.api import routes
from localcloud.storage.state import Storage

__all__ = ["Storage", "routes"]
