"""What a model provider's errors and endings mean, judged by their shape: status, headers, class names, words.

No provider's package is imported here. `llm` plug-ins raise the errors of a dozen client libraries, and those that
matter look alike: an HTTP status, a message, perhaps a Retry-After.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from cairn.errors import ConversationTooLong, KeyMissing, KeyRefused, ModelCallFailed, ModelProblem, ModelUnavailable


@dataclass(frozen=True, slots=True)
class Provider:
    """Whom a call went to, as far as an error's reader needs to know. `key` is the secret that is never shown.

    `key_name` is what `llm keys set` calls the key ("" for a model without one), `key_variable` its environment
    variable ("" for none), `address` a server's URL where it is not the provider's own.
    """

    model: str
    seconds: float
    key_name: str = ""
    key_variable: str = ""
    address: str = ""
    key: str | None = None

    @property
    def key_fixes(self) -> tuple[str, ...]:
        """The commands that give this model a key."""
        if not self.key_name:
            return ()
        store = f"llm keys set {self.key_name}"
        if not self.key_variable:
            return (store,)
        return (store, f"export {self.key_variable}=...   works too; a stored key wins over it.")

    @property
    def missing_key(self) -> KeyMissing:
        """The error for a key that is neither stored nor in the environment."""
        stored = f'llm has no stored "{self.key_name}" key'
        why = f"{self.key_variable} is not set and {stored}." if self.key_variable else f"{stored[0]}{stored[1:]}."
        return KeyMissing(f"{self.model} needs a key.", why, self.key_fixes)


def translate(error: Exception, provider: Provider) -> ModelProblem:
    """What a person or a retry strategy can act on. Raises nothing, whatever `error` is."""
    kinds = {c.__name__ for c in type(error).__mro__}
    if "NeedsKeyException" in kinds:
        return provider.missing_key
    status = _status(error)
    if status is not None:
        return _by_status(status, _message(error, provider), error, provider)
    return _by_kind(kinds, error, provider) or _by_words(kinds, error, provider)


# ── by class ────────────────────────────────────────────────────────────────────────────────────────────────────────

_TIMEOUT = {"APITimeoutError", "TimeoutException", "TimeoutError"}
_CONNECTION = {"APIConnectionError", "TransportError", "OSError"}
_MANGLED = {"JSONDecodeError", "AttributeError", "IndexError", "RemoteProtocolError", "APIResponseValidationError"}


def _by_kind(kinds: set[str], error: Exception, provider: Provider) -> ModelProblem | None:
    name, message = provider.model, _message(error, provider)
    where = f" ({provider.address})" if provider.address else ""
    if kinds & _TIMEOUT:
        return ModelCallFailed(
            f"{name} did not answer in time.",
            f"No whole answer came within {provider.seconds:g} s{where}.",
            "retry.call_seconds in the settings allows more.",
            retryable=True,
        )
    if kinds & _MANGLED:
        what = f"The server of {name} sent something that is no answer."
        return ModelCallFailed(what, f"{type(error).__name__}: {message}{where}", retryable=True)
    if kinds & _CONNECTION:
        fix = "Is the network up, and does the server run?"
        return ModelCallFailed(f"{name} cannot be reached.", f"{message}{where}", fix, retryable=True)
    return None


# ── by HTTP status ──────────────────────────────────────────────────────────────────────────────────────────────────

_CONTEXT = re.compile(r"context|too long|too many tokens|maximum.{0,20}tokens|token limit", re.IGNORECASE)
_QUOTA = re.compile(r"insufficient_quota|exceeded your current quota|billing|credit balance", re.IGNORECASE)


def _by_status(status: int, message: str, error: Exception, provider: Provider) -> ModelProblem:  # noqa: PLR0911
    name = provider.model
    match status:
        case 401:
            return KeyRefused(f"The key for {name} was refused.", message, provider.key_fixes)
        case 403:
            ways = (*provider.key_fixes[:1], "cairn run -m MODEL   uses another model.")
            return KeyRefused(f"The key may not use {name}.", message, ways)
        case 404:
            what = f"The provider does not know the model {name}."
            return ModelUnavailable(what, message, "llm models   lists the models that llm knows.")
        case 402:
            return _no_quota(message, status, name)
        case 429 if _QUOTA.search(f"{message} {getattr(error, 'code', '')}"):
            return _no_quota(message, status, name)
        case 408 | 409 | 425 | 429:
            return _busy(f"{name} is busy ({status})." if status != 429 else f"{name} is rate-limited.", message, error)  # noqa: PLR2004
        case _ if status >= 500:  # noqa: PLR2004 - HTTP's own boundary
            return _busy(f"The server of {name} failed ({status}).", message, error)
        case _ if _CONTEXT.search(message):
            fix = "A model with a longer context (cairn run -m MODEL) or a smaller task helps."
            return ConversationTooLong(f"The conversation is too long for {name}.", message, fix, status=status)
    return ModelCallFailed(f"{name} refused the request ({status}).", message, status=status)


def _busy(what: str, why: str, error: Exception) -> ModelCallFailed:
    return ModelCallFailed(what, why, retryable=True, retry_after=_retry_after(error), status=_status(error))


def _no_quota(message: str, status: int, name: str) -> ModelCallFailed:
    fix = "Top it up with the provider, or use another model: cairn run -m MODEL"
    return ModelCallFailed(f"The account has no quota left for {name}.", message, fix, status=status, no_quota=True)


def _status(error: Exception) -> int | None:
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) and status >= 400 else None  # noqa: PLR2004 - HTTP's first error


def _retry_after(error: Exception) -> float | None:
    """Seconds, from a number or an HTTP date; None when the header is absent or unreadable."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    in_ms, text = str(headers.get("retry-after-ms")), str(headers.get("retry-after"))
    with contextlib.suppress(ValueError):
        return max(0.0, float(in_ms) / 1000)
    with contextlib.suppress(ValueError):
        return max(0.0, float(text))
    with contextlib.suppress(ValueError):
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    return None


# ── by words ────────────────────────────────────────────────────────────────────────────────────────────────────────

_KEY = re.compile(r"api[ _]?key|unauthori[sz]ed|authenticat", re.IGNORECASE)
_PASSING = re.compile(
    r"overload|try again|rate.?limit|exhausted|temporar|unavailable|timed? ?out|internal error", re.IGNORECASE
)


def _by_words(kinds: set[str], error: Exception, provider: Provider) -> ModelProblem:
    """Plug-ins often wrap a provider's error in `llm.ModelError`, and only its words are left."""
    message = _message(error, provider)
    if not kinds & {"ModelError", "APIError"}:
        return ModelCallFailed(f"{provider.model} failed.", f"{type(error).__name__}: {message}")
    if _QUOTA.search(message):
        return _no_quota(message, 402, provider.model)
    if _PASSING.search(message):
        return ModelCallFailed(f"{provider.model} failed.", message, retryable=True)
    if _KEY.search(message):
        return KeyRefused(f"The key for {provider.model} was refused.", message, provider.key_fixes)
    # An APIError without a status is an error event in a stream, as sent when a server breaks down on the way.
    return ModelCallFailed(f"{provider.model} failed.", message, retryable="APIError" in kinds)


_SECRET = re.compile(r"\b(?:sk|pk|gsk|xai|key)[-_][\w*-]{8,}|\bAIza[\w-]{8,}")
_LONGEST = 300


def _message(error: Exception, provider: Provider) -> str:
    """One paragraph that ends in a full stop, without keys and web pages."""
    body = getattr(error, "body", None)
    inner = body.get("message") if isinstance(body, dict) else None
    text = str(inner or getattr(error, "message", None) or error) or type(error).__name__
    if text == "Connection error." and error.__cause__ is not None:  # openai's own words hide what happened
        text = str(error.__cause__) or text
    if provider.key:
        text = text.replace(provider.key, "***")
    text = " ".join(_SECRET.sub("***", text).split())
    if "<html" in text.lower() or "<!doctype" in text.lower():
        return "A web page came instead of an answer."
    if len(text) > _LONGEST:
        return text[: _LONGEST - 1] + "…"
    return text if text.endswith((".", "!", "?")) else text + "."


# ── why an answer ended ─────────────────────────────────────────────────────────────────────────────────────────────

TOO_LONG = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"})
DECLINED = frozenset({"content_filter", "refusal", "safety", "recitation", "blocklist", "prohibited_content", "spii"})
CUT = "cut"


def finish_reason(raw: Mapping[str, Any] | None, *, always_given: bool) -> str | None:
    """Why the provider stopped, in lower case; CUT when it never said; None when nobody can know.

    `raw` is the last JSON a plug-in kept. `always_given` tells that this kind of provider always gives a reason, so
    that its absence is a connection that broke: `llm` itself takes such an answer for a whole one.
    """
    unsaid = CUT if always_given else None
    if not raw:
        return unsaid
    for listed, name in (("choices", "finish_reason"), ("candidates", "finishReason")):
        if isinstance(raw.get(listed), list):
            first = raw[listed][0] if raw[listed] else {}
            return str(first.get(name) or CUT).lower()
    if raw.get("status") == "incomplete":
        return str((raw.get("incomplete_details") or {}).get("reason") or CUT).lower()
    for name in ("finish_reason", "stop_reason", "done_reason", "status"):
        if name in raw:
            return str(raw[name] or CUT).lower()
    return unsaid
