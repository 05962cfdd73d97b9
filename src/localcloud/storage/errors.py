"""What does Cloud Storage answer when it refuses?

https://cloud.google.com/storage/docs/json_api/v1/status-codes
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, tostring

import msgspec

_UNFIT = "[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"  # what XML cannot hold; compiled when needed
_REASONS = {
    304: "notModified",
    400: "invalid",
    401: "required",
    403: "forbidden",
    404: "notFound",
    405: "methodNotAllowed",
    408: "uploadBrokenConnection",
    409: "conflict",
    410: "uploadRejected",
    412: "conditionNotMet",
    413: "uploadTooLarge",
    416: "requestedRangeNotSatisfiable",
    429: "rateLimitExceeded",
    499: "clientClosedRequest",
    500: "internalError",
    502: "backendError",
    503: "backendError",
    504: "backendError",
}
_XML_CODES = {
    403: "AccessDenied",
    404: "NoSuchKey",
    405: "MethodNotAllowed",
    409: "Conflict",
    412: "PreconditionFailed",
    413: "EntityTooLarge",
    416: "InvalidRange",
    429: "SlowDown",
    501: "NotImplemented",
    503: "ServiceUnavailable",
}
# What the XML API says where it has a sentence of its own; ours is then the detail.
_XML_MESSAGES = {
    "BadDigest": "The Content-MD5 or the CRC32C you specified did not match what we received.",
    "InvalidArgument": "Invalid argument.",
    "NoSuchBucket": "The specified bucket does not exist.",
    "NoSuchKey": "The specified key does not exist.",
    "NoSuchUpload": "The requested upload was not found.",
}


class StorageError(Exception):
    """A refusal: HTTP status, Google's reason, and a sentence for the caller.

    The XML API has codes of its own, and elements besides them (`details`).
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        reason: str = "",
        location: tuple[str, str] | None = None,
        xml_code: str = "",
        details: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason or _REASONS.get(status, "backendError")
        self.location = location  # type and name of what is at fault: ("parameter", "maxResults")
        self.xml_code = xml_code or _XML_CODES.get(status, "InvalidArgument" if status < 500 else "InternalError")
        self.details = details or {}

    def body(self) -> bytes:
        """The error as JSON, the same shape for every Google API."""
        detail: dict[str, str] = {"message": self.message, "domain": "global", "reason": self.reason}
        if self.location:
            detail["locationType"], detail["location"] = self.location
        return msgspec.json.encode({"error": {"code": self.status, "message": self.message, "errors": [detail]}})

    def xml(self) -> bytes:
        """The error as XML: https://cloud.google.com/storage/docs/xml-api/reference-status"""
        root = Element("Error")
        SubElement(root, "Code").text = self.xml_code
        SubElement(root, "Message").text = _XML_MESSAGES.get(self.xml_code, self.message)
        for name, text in {"Details": self.message, **self.details}.items():
            SubElement(root, name).text = re.sub(_UNFIT, "�", text)
        encoded: bytes = tostring(root, encoding="UTF-8", xml_declaration=True)
        return encoded


def printable(text: str, limit: int = 80) -> str:
    """A name as it may stand in a message or a log: quoted, control characters escaped, cut to `limit` characters."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def invalid(message: str, location: tuple[str, str] | None = None) -> StorageError:
    """400: the request breaks a rule."""
    return StorageError(400, message, location=location)


def required(name: str) -> StorageError:
    """400: a parameter is missing."""
    return StorageError(400, f"Required parameter: {name}", reason="required", location=("parameter", name))


def no_bucket() -> StorageError:
    """404: the bucket does not exist."""
    return StorageError(404, "The specified bucket does not exist.", xml_code="NoSuchBucket")


def no_object(bucket: str, name: str) -> StorageError:
    """404: the object, or that generation of it, does not exist."""
    return StorageError(404, f"No such object: {bucket}/{name}")


def condition_not_met(name: str) -> StorageError:
    """412: the precondition `name` does not hold."""
    return StorageError(
        412, "At least one of the pre-conditions you specified did not hold.", location=("header", name)
    )


def not_modified(name: str) -> StorageError:
    """304: a read whose `...NotMatch` condition found the version the caller already has."""
    return StorageError(304, "Not Modified", location=("header", name))
