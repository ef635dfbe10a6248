"""Faults of a store: whether one may pass, in words that quote nothing of a request."""

import os
import re
from typing import Literal, NamedTuple

# gone: no such object. denied: not for us. credentials: ours are refused, whatever we ask for. passing: another
# try may succeed. other: another try would fail too.
Kind = Literal["gone", "denied", "credentials", "passing", "other"]

# HTTP status codes of faults that may pass, besides those from 500: too slow, too early, too many requests.
_PASSING_STATUS = frozenset([408, 425, 429])

# Codes of S3 that come with other status codes too: 400, or 200 before the body fails.
_PASSING_CODES = frozenset(
    [
        "InternalError",
        "IncompleteBody",
        "OperationAborted",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
    ]
)
_CREDENTIALS = re.compile(
    "Token|Credential|Auth|InvalidAccessKeyId|SignatureDoesNotMatch|TimeTooSkewed"
)

# Exceptions of aiohttp, botocore and http.client: the answer began well and ended early. Those of aiohttp have a
# `code` of 400, which is not what the store answered.
_BROKEN_OFF = frozenset(
    [
        "ClientPayloadError",
        "ContentLengthError",
        "TransferEncodingError",
        "IncompleteReadError",
        "IncompleteRead",
        "ResponseStreamingError",
    ]
)
# Exceptions of aiohttp: a redirect that is not followed.
_REDIRECTS = {
    "TooManyRedirects": "it redirects in a loop",
    "NonHttpUrlRedirectClientError": "it redirects to a URL that is not http:// or https://",
    "InvalidUrlRedirectClientError": "it redirects to a URL that is not valid",
}


class Fault(NamedTuple):
    """What is wrong with a request.

    Attributes
    ----------
    kind : {"gone", "denied", "credentials", "passing", "other"}
    reason : str
        In a few words.
    """

    kind: Kind
    reason: str


class WrongAnswerError(OSError):
    """A store answers with bytes that are not those it was asked for."""


def classify(error: BaseException) -> Fault:
    """Tell what kind of fault an exception of a file system stands for.

    Examples
    --------
    >>> classify(FileNotFoundError("x")).kind, classify(ConnectionResetError()).kind
    ('gone', 'passing')
    """
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and (
        _is_of_network(cause) or isinstance(cause, OSError)
    ):
        # fsspec says so of any URL that it could not look at
        assert cause is not None
        return classify(cause)
    if isinstance(error, WrongAnswerError):
        return Fault("passing", str(error))
    if isinstance(error, TimeoutError) and not _status(_chain(error))[0]:
        return Fault("passing", "the store does not answer in time")
    chain = _chain(error)
    names = {type(each).__name__ for each in chain}
    for name in names & _REDIRECTS.keys():
        return Fault("other", _REDIRECTS[name])
    if names & _BROKEN_OFF:
        return Fault("passing", "the connection broke off within the answer")
    status, code = _status(chain)
    said = f"the store answers {status}" + (f" ({code})" if code not in ("", str(status)) else "")
    if isinstance(error, FileNotFoundError) or status == 404:
        return Fault("gone", "no such object: it was moved or deleted")
    if code in _PASSING_CODES:
        return Fault("passing", said)
    if status == 401 or _CREDENTIALS.search(code):
        return Fault("credentials", said)
    # gcsfs says so in words alone
    forbidden = type(error) is OSError and str(error).startswith("Forbidden")
    if isinstance(error, PermissionError) or forbidden or status == 403:
        return Fault("denied", said if status else "the store refuses it")
    name = type(error).__name__
    if re.search("Credential|Token|Auth", name):
        return Fault("credentials", f"there are no valid credentials ({name})")
    if status >= 400:
        passing = status in _PASSING_STATUS or status >= 500
        return Fault("passing" if passing else "other", said)
    if status:
        return Fault("passing", f"{said} and then an error")
    ours = isinstance(error, (FileExistsError, IsADirectoryError, NotADirectoryError))
    network = isinstance(error, (OSError, EOFError))
    network |= _is_of_network(error) and "Validation" not in name
    if network and not ours:
        cause_of = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else name
        return Fault("passing", f"the connection fails ({cause_of})")
    return Fault("other", f"the file system fails ({name})")


def _is_of_network(error: BaseException | None) -> bool:
    return type(error).__module__.split(".")[0] in ("aiohttp", "botocore", "aiobotocore")


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    return chain


def _status(chain: list[BaseException]) -> tuple[int, str]:
    """Find the status a store answered with, and its own code for it; 0 where it did not answer."""
    for each in chain:
        response = getattr(each, "response", None)
        if isinstance(response, dict):  # botocore's
            status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            code = re.sub(r"[^A-Za-z0-9]", "", str(response.get("Error", {}).get("Code", "")))
        else:
            found = getattr(each, "status", None) or getattr(each, "code", None)
            status, code = found if isinstance(found, int) else 0, ""
        if status:
            return status, code
    return 0, ""
