"""How the container's processes log: to stderr, which Vertex AI, Cloud Run and GKE collect."""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

JSON, TEXT = "json", "text"

# Docker and containerd split lines above 16 KiB. A traceback's end says what failed.
_MOST_OF_A_MESSAGE = 4000  # characters
_MOST_OF_A_TRACE = 8000

_LOGGER = logging.getLogger(__name__)


def configure_logging(log_format: str) -> None:
    """Log from INFO on; warnings and uncaught exceptions, too.

    Args:
        log_format: `JSON` or `TEXT`.
    """
    handler = logging.StreamHandler()
    handler.setFormatter({JSON: JsonFormatter, TEXT: TextFormatter}[log_format]())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _LOGGER.error(
        "%s: %r",
        args.err_msg or "an exception that could not be raised",
        args.object,
        exc_info=args.exc_value,
    )


class TextFormatter(logging.Formatter):
    """Lines with time, process, level and module; why a process ends is said without them."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
        self._bare = logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        return self._bare.format(record) if record.levelno >= logging.CRITICAL else super().format(record)


class JsonFormatter(logging.Formatter):
    """One line for each event, a JSON object with the fields that Cloud Logging and Error Reporting know.

    `severity`, `message`, `time` (RFC 3339, UTC), `logger`, `process`; of an exception, `stack_trace`
    (https://cloud.google.com/logging/docs/structured-logging#special-payload-fields).
    """

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`. Python's levels have the names of Cloud Logging's severities."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        entry: dict[str, Any] = {
            "severity": record.levelname,
            "message": record.getMessage()[:_MOST_OF_A_MESSAGE],
            "time": time.replace("+00:00", "Z"),
            "logger": record.name,
            "process": record.process,
        }
        if record.exc_info:
            entry["stack_trace"] = self.formatException(record.exc_info)[-_MOST_OF_A_TRACE:]
        # Not orjson: it refuses what a file name may hold, half of a surrogate pair.
        return json.dumps(entry)


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt | SystemExit) and error is not None:
        _LOGGER.critical("uncaught exception", exc_info=(kind, error, trace))
