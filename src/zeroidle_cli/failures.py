"""What does an exception mean to the person at the terminal? Which exit code follows: `exits`."""

from __future__ import annotations

import traceback

from zeroidle.errors import PermanentError, TemporaryError, ZeroidleError, printable

MAX_TEXT = 500

# By top-level package: naming the classes would import the libraries, which most commands never need.
_CLOUD = {"google", "grpc", "requests", "urllib3", "localcloud", "sqlite3"}


def explained(error: Exception) -> ZeroidleError:
    """Any exception as one of ours."""
    if isinstance(error, ZeroidleError):
        return error
    text = printable(str(error) or type(error).__name__, MAX_TEXT)
    if type(error).__module__.partition(".")[0] in _CLOUD:
        return TemporaryError(
            f"the cloud did not do what it was asked: {text}",
            hint="`zeroidle logs` tells more; with `zeroidle up` in another terminal, check that it still runs.",
        )
    if isinstance(error, (ConnectionError, TimeoutError)):
        return TemporaryError(f"no answer: {text}", hint="Try again.")
    if isinstance(error, OSError):
        where = f": {printable(str(error.filename), MAX_TEXT)}" if error.filename else ""
        return PermanentError(f"{error.strerror or text}{where}", code="FILE_ERROR")
    trace = "".join(traceback.format_exception(error))
    return _Unexpected(f"unexpected {type(error).__name__}: {text}", details={"trace": trace})


class _Unexpected(ZeroidleError):
    """A bug of ours: shown with its trace."""
