"""What can go wrong, and how the client is told.

    RouterError
     |- InvalidRequest           400   the client's fault
     |- Unauthorized             401
     |- ModelNotFound            404
     |- NotFound, MethodNotAllowed  404, 405
     |- UpgradeRequired          426   a WebSocket, where there is none
     |- RequestTimeout           408   its body does not come
     |- RequestTooLarge          413
     |- Overloaded               503   the router is full
     |   |- TargetLimited        429   a limit of the provider's, or of its model
     |   `- TargetSpent          429   a budget of the provider's, or of its model, is used up
     |- Draining                 503   the router is going away
     |- Stopped                  503   an operator ended the request
     |- TooManyGuesses           429   wrong keys, from one address
     |- RateLimited              429   a limit of the client's key or team
     |- InsufficientQuota        429   a budget of the client's key or team is used up
     |- ModelNotAllowed          403   not for this key
     |- StoreUnavailable         503   where keys, limits and budgets are kept
     |- Forbidden                403   not for whoever asks, or not from where it is asked
     |- ForbiddenOrigin          403   a foreign name or page asks a router without keys
     |- UnsupportedMediaType     415   a body of a type that is not taken here
     |- InternalError            500   our own fault
     `- UpstreamError                  the provider's fault
         |- NetworkError         503   cannot connect, connection lost
         |   `- LastingFault            and so it will be next time
         |- UpstreamTimeout      504   names its phase
         |- UpstreamStatus       as the provider said
         |- ProviderAuthError    502   the provider refused *our* key
         |- MalformedJSON        502
         |- MalformedUTF8        502
         |- Truncated            502   ended without an end
         |- Empty                502   came to its end and said nothing
         |- StreamError          502   an error inside the stream
         |- Diverged             502   another target's answer is not what was sent already
         |- TargetsUnavailable   503   every target of a route is in cooldown
         `- EventTooLarge        502

There is no class for "the client left": that is `trio.Cancelled`, passes through untouched, and is
written down as an outcome.  `ClientStalled` is no RouterError: nobody is there to be told of it.
"""

from __future__ import annotations

from typing import Any, Self


class ClientStalled(Exception):
    """The client took nothing for `stall` seconds although there was something for it."""


class RouterError(Exception):
    """An error with its HTTP status and its fields in OpenAI's shape.

    `retry_after` is what the `Retry-After` header should say, as text; None leaves it out.
    """

    status = 500
    code = "internal_error"  # empty: null
    type = "api_error"
    is_final = False  # OpenAI's own clients would retry it by its status: they are told not to

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        type: str | None = None,  # noqa: A002 - the field's name in OpenAI's error object
        param: str | None = None,
        retry_after: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.headers: dict[str, str] = {}  # more of the answer that tells of it
        if status is not None:
            self.status = status
        if code is not None:
            self.code = code
        if type is not None:
            self.type = type

    def bare(self) -> Self:
        """Itself, without the frames that it came through.

        An error that is kept, or that is raised by who keeps it, would hold what holds it: a cycle for
        the collector, with all that those frames know of the request.
        """
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self

    def saying(self, message: str) -> RouterError:
        """The same error with another message."""
        other = type(self).__new__(type(self), message)
        other.__dict__.update(self.__dict__, message=message)
        return other

    def body(self) -> dict[str, Any]:
        """The error object that goes to the client, in an answer or in a stream."""
        fields = {"message": self.message, "type": self.type, "code": self.code or None}
        return {"error": {**fields, "param": self.param}}


class UpgradeRequired(RouterError):
    status, code, type = 426, "upgrade_required", "invalid_request_error"


class InvalidRequest(RouterError):
    status, code, type = 400, "invalid_request", "invalid_request_error"


class Unauthorized(RouterError):
    status, code, type = 401, "invalid_api_key", "authentication_error"


class ModelNotFound(RouterError):
    status, code, type = 404, "model_not_found", "invalid_request_error"


class NotFound(RouterError):
    status, code, type = 404, "not_found", "invalid_request_error"


class MethodNotAllowed(RouterError):
    """`allow` is what the Allow header says: the methods that the path has."""

    status, code, type = 405, "method_not_allowed", "invalid_request_error"

    def __init__(self, message: str, *, allow: str = "") -> None:
        super().__init__(message)
        self.allow = allow


class RequestTimeout(RouterError):
    status, code, type = 408, "request_timeout", "invalid_request_error"


class RequestTooLarge(RouterError):
    status, code, type = 413, "request_too_large", "invalid_request_error"


class Overloaded(RouterError):
    status, code = 503, "overloaded"


class Draining(RouterError):
    status, code = 503, "draining"


class Stopped(RouterError):
    status, code = 503, "stopped"
    is_final = True


class Forbidden(RouterError):
    status, code, type = 403, "forbidden", "permission_error"


class ForbiddenOrigin(Forbidden):
    code = "forbidden_origin"


class UnsupportedMediaType(RouterError):
    status, code, type = 415, "unsupported_media_type", "invalid_request_error"


class TooManyGuesses(RouterError):
    status, code, type = 429, "rate_limit_exceeded", "rate_limit_error"


class RateLimited(RouterError):
    status, code, type = 429, "rate_limit_exceeded", "rate_limit_error"


class InsufficientQuota(RouterError):
    status, code, type = 429, "insufficient_quota", "rate_limit_error"
    is_final = True


class TargetLimited(Overloaded):
    status, code, type = 429, "rate_limit_exceeded", "rate_limit_error"


class TargetSpent(Overloaded):
    status, code, type = 429, "insufficient_quota", "rate_limit_error"
    is_final = True


class ModelNotAllowed(RouterError):
    status, code, type = 403, "model_not_allowed", "permission_error"


class StoreUnavailable(RouterError):
    status, code = 503, "store_unavailable"


class InternalError(RouterError):
    pass


class UpstreamError(RouterError):
    """The provider's fault; `outcome` is what the request's record says of it.

    `reason` is the provider's own code or type for it, empty if it gave none.
    """

    outcome = "upstream_error"
    reason = ""


class NetworkError(UpstreamError):
    status, code = 503, "provider_network_error"


class LastingFault(NetworkError):
    """The same request will meet it again: a redirect, a certificate that does not verify, no HTTP."""


class UpstreamTimeout(UpstreamError):
    """A phase took longer than its limit: `phase` names it, `seconds` is the limit."""

    status, code = 504, "provider_timeout"
    outcome = "upstream_timeout"

    def __init__(self, provider: str, phase: str, seconds: float | None) -> None:
        limit = "" if seconds is None else f" after {seconds:g} s"
        super().__init__(f"{provider}: {phase} timeout{limit}")
        self.phase = phase


class UpstreamStatus(UpstreamError):
    """The provider answered with an error status of its own."""


class ProviderAuthError(UpstreamError):
    """The message is the provider's; `summary` is the router's own words for it."""

    status, code = 502, "provider_auth_error"
    summary = "the provider refused the router's credentials"


class MalformedJSON(UpstreamError):
    status, code = 502, "malformed_json"


class MalformedUTF8(UpstreamError):
    status, code = 502, "malformed_utf8"


class Truncated(UpstreamError):
    status, code = 502, "upstream_truncated"
    outcome = "truncated"


class Empty(UpstreamError):
    status, code = 502, "upstream_empty"


class StreamError(UpstreamError):
    """An error inside an answer with a good status; `told` is the event or the body that told it."""

    status, code = 502, "provider_stream_error"

    def __init__(self, message: str, told: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.told = told


class Diverged(UpstreamError):
    status, code = 502, "replay_diverged"


class TargetsUnavailable(UpstreamError):
    status, code = 503, "targets_unavailable"


class EventTooLarge(UpstreamError):
    status, code = 502, "event_too_large"
