"""Cloud Monitoring's `projects.timeSeries.list` (v3, JSON): pages, errors in words, bounded retries.

https://docs.cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import requests
from requests.auth import AuthBase

from pipeline.inference.endpoint.token import TokenSource
from pipeline.options.address import is_loopback
from pipeline.options.google_api import MONITORING, parse_api_url

_TIMEOUT_S = 30.0
_ATTEMPTS = 5
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0
# A page holds up to 100,000 points; a day of one metric of 100 workers is 144,000.
_MOST_PAGES = 100


class ReadError(Exception):
    """A metric could not be read; the message says why, and what to do.

    Attributes:
        final: Whether asking again later gives the same answer.
    """

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


@dataclass(frozen=True)
class Aggregation:
    """What Cloud Monitoring makes of the points before it answers.

    Attributes:
        aligner: Makes one value of the points of a period.
        reducer: Makes one series of several.
        group_by: Labels that tell the resulting series apart, such as "metric.labels.latency_type".
        period_s: At least 60.
    """

    aligner: str
    reducer: str
    group_by: tuple[str, ...]
    period_s: int = 60


@dataclass(frozen=True)
class Point:
    """One value.

    Attributes:
        start: Of its interval, epoch seconds; equal to `end` for a value of one moment.
        end: Of its interval.
        value: A number; a truth value is 0 or 1.
    """

    start: float
    end: float
    value: float


@dataclass(frozen=True)
class TimeSeries:
    """One series of an answer.

    Attributes:
        labels: The metric's.
        points: The oldest first.
    """

    labels: Mapping[str, str]
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Answer:
    """All pages of an answer.

    Attributes:
        series: What there is.
        incomplete: What Cloud Monitoring says it could not read; empty where it read everything.
    """

    series: tuple[TimeSeries, ...]
    incomplete: str


class MonitoringApi:
    """Reads time series with the application default credentials.

    The token goes to `url` alone: redirects are not followed, and by http only this machine is called.
    """

    def __init__(
        self,
        tokens: TokenSource,
        url: str = MONITORING,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        """Start; nothing is called yet.

        Args:
            tokens: Where the access token comes from.
            url: Cloud Monitoring's address, or that of a server that speaks its API.
            wait: Waits so many seconds between attempts; returns True to give up, as `Event.wait` does.

        Raises:
            ValueError: `url` is none, or would get the token in clear text.
        """
        self._url = parse_api_url(url)
        self._tokens = tokens
        self._wait = wait or threading.Event().wait
        self._session = requests.Session()
        # A proxy that the environment names must not see a call within this machine, in clear text.
        self._session.trust_env = not is_loopback(url)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def list_time_series(
        self, project: str, filter_: str, start: float, end: float, aggregation: Aggregation | None
    ) -> Answer:
        """Return the points after `start` and until `end` (epoch seconds), all pages.

        Raises:
            ReadError: It failed for good, or as often as it is tried.
        """
        query = [
            ("filter", filter_),
            ("interval.startTime", _text(start)),
            ("interval.endTime", _text(end)),
        ]
        if aggregation is not None:
            query += [
                ("aggregation.alignmentPeriod", f"{aggregation.period_s}s"),
                ("aggregation.perSeriesAligner", aggregation.aligner),
                ("aggregation.crossSeriesReducer", aggregation.reducer),
                *(("aggregation.groupByFields", name) for name in aggregation.group_by),
            ]
        # Points of one series may go on in the next page.
        found: dict[tuple[Any, ...], tuple[Mapping[str, str], list[Point]]] = {}
        incomplete: list[str] = []
        token = ""
        for _ in range(_MOST_PAGES):
            page = self._page(project, [*query, *([("pageToken", token)] if token else [])])
            try:
                for series in page.get("timeSeries", []):
                    labels = series.get("metric", {}).get("labels", {})
                    key = _key(labels), _key(series.get("resource", {}).get("labels", {}))
                    found.setdefault(key, (labels, []))[1].extend(_points(series.get("points", [])))
                incomplete += [error.get("message", "") for error in page.get("executionErrors", [])]
                token = page.get("nextPageToken", "")
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise ReadError(
                    f"Cloud Monitoring's answer is not understood ({type(error).__name__}: {error})",
                    final=True,
                ) from error
            if not token:
                break
        else:
            incomplete.append(f"only the first {_MOST_PAGES} pages were read")
        return Answer(
            tuple(
                TimeSeries(labels, tuple(sorted(points, key=lambda point: point.end)))
                for labels, points in found.values()
            ),
            "; ".join(incomplete),
        )

    def _page(self, project: str, query: Sequence[tuple[str, str]]) -> Mapping[str, Any]:
        pause = _FIRST_PAUSE_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._get(project, query)
            except _TryAgain as again:
                if attempt == _ATTEMPTS or self._wait(max(pause, again.after_s)):
                    tried = "once" if attempt == 1 else f"{attempt} times"
                    raise ReadError(f"{again} (tried {tried})", final=False) from again
                pause = min(2 * pause, _LONGEST_PAUSE_S)
        raise AssertionError("the last attempt returns or raises")

    def _get(self, project: str, query: Sequence[tuple[str, str]]) -> Mapping[str, Any]:
        token = self._tokens.current
        try:
            response = self._session.get(
                f"{self._url}/v3/projects/{project}/timeSeries",
                params=query,
                auth=_Bearer(token, self._tokens.quota_project),
                timeout=_TIMEOUT_S,
                allow_redirects=False,
            )
        except requests.exceptions.SSLError as error:
            raise ReadError(
                f"no TLS with {self._url}: {error}. If a proxy opens TLS, let REQUESTS_CA_BUNDLE name a file "
                "of all authorities that are trusted, its own too",
                final=True,
            ) from error
        except requests.exceptions.RequestException as error:
            raise _TryAgain(f"no answer of {self._url}: {error}") from error
        with response:
            if response.status_code == 200:
                return _object(response)
            if response.status_code == 401:
                self._tokens.refused(token)
            raise _refusal(response, project)


class _TryAgain(Exception):
    """An attempt failed by what may pass, not before `after_s` seconds."""

    def __init__(self, message: str, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


class _Bearer(AuthBase):
    """Sets the token. Where there is an `auth`, requests does not read .netrc."""

    def __init__(self, token: str, quota_project: str | None) -> None:
        self._token = token
        self._quota_project = quota_project

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        if self._quota_project:
            request.headers["x-goog-user-project"] = self._quota_project
        return request


def _object(response: requests.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ReadError("Cloud Monitoring's answer is not a JSON object", final=True)
    return body


def _refusal(response: requests.Response, project: str) -> ReadError | _TryAgain:
    """Return what to raise for a response that is not 200."""
    status, why, reasons = response.status_code, f"{response.status_code} {response.reason}", set()
    try:
        error = response.json()["error"]
        why = f"{status} {error['status']}: {error['message']}"
        reasons = {detail.get("reason") for detail in error.get("details", [])}
    except (ValueError, LookupError, TypeError, AttributeError):
        pass  # not Google's form: the status line has to do
    told = f"Cloud Monitoring answered {why}"
    if status in (401, 429) or status >= 500:
        return _TryAgain(told, _retry_after_s(response))
    if 300 <= status < 400:
        return ReadError(f"{told}, a redirect. It was not followed, as the call carries a token", final=True)
    if "SERVICE_DISABLED" in reasons:
        advice = f"; run `gcloud services enable monitoring.googleapis.com --project={project}`"
        return ReadError(told + advice, final=True)
    if "USER_PROJECT_DENIED" in reasons:
        advice = "; the account needs roles/serviceusage.serviceUsageConsumer on its quota project"
        return ReadError(told + advice, final=True)
    if status == 403:
        advice = f"; the account needs roles/monitoring.viewer on project {project}"
        return ReadError(told + advice, final=True)
    # 404 is a metric that nobody has written in this project until now.
    return ReadError(told, final=status != 404)


def _retry_after_s(response: requests.Response) -> float:
    """Return what Retry-After asks for, if it is seconds and not too many."""
    text = response.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_PAUSE_S) if text.isascii() and text.isdigit() else 0.0


def _points(points: Sequence[Mapping[str, Any]]) -> list[Point]:
    found = []
    for point in points:
        value = _number(point["value"])
        if value is not None:
            end = _seconds(point["interval"]["endTime"])
            start = point["interval"].get("startTime")
            found.append(Point(end if start is None else _seconds(start), end, value))
    return found


def _number(value: Mapping[str, Any]) -> float | None:
    """Return a TypedValue's number, by the one field that is there; None where it has none."""
    if not value:
        return None
    ((kind, content),) = value.items()
    if kind not in ("doubleValue", "int64Value", "boolValue"):
        raise ValueError(f"a value of kind {kind}, where a number was asked for")
    # int64Value comes as text, as do NaN and the infinities of doubleValue.
    number = float(content)
    return number if math.isfinite(number) else None


def _key(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
