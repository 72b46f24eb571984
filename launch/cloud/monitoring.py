"""The latest values of a job's metrics, by Cloud Monitoring's REST API, as gcloud 528 has no command."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from launch.cloud.shell import Shell

# Named like the variables that redirect gcloud's own calls.
OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING"
# https://cloud.google.com/monitoring/api/metrics_gcp_d_h: sampled every 60 s, visible up to 240 s later.
_LOOK_BACK = timedelta(minutes=10)
_CALL_TIMEOUT_S = 30.0
_TOKEN = ("gcloud", "auth", "print-access-token")


class Monitoring:
    """Metrics of one project, read with gcloud's account; under dry_run, each call is printed for curl."""

    def __init__(self, shell: Shell, project: str) -> None:
        self._shell = shell
        base = os.environ.get(OVERRIDE, "https://monitoring.googleapis.com").rstrip("/")
        self._url = f"{base}/v3/projects/{project}/timeSeries"
        self._token = "" if shell.dry_run else shell.run(_TOKEN).strip()

    def latest(self, metric: str, job_id: str) -> float | None:
        """Return the newest value of `dataflow.googleapis.com/job/METRIC`, in the metric's unit.

        Of several series, such as one for each stage, it is the largest value. None if there is none, and
        under dry_run.

        Raises:
            OSError: The metric cannot be read.
        """
        now = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
        name = f"dataflow.googleapis.com/job/{metric}"
        query = {
            "filter": f'metric.type="{name}" AND metric.labels.job_id="{job_id}"',
            "interval.startTime": f"{(now - _LOOK_BACK).isoformat()}Z",
            "interval.endTime": f"{now.isoformat()}Z",
        }
        if self._shell.dry_run:
            print(_curl(self._url, query), file=self._shell.out)
            return None
        request = urllib.request.Request(
            f"{self._url}?{urlencode(query)}", headers={"Authorization": f"Bearer {self._token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=_CALL_TIMEOUT_S) as response:
                series = json.load(response).get("timeSeries", [])
        except urllib.error.HTTPError as error:
            raise OSError(f"Cloud Monitoring answered {error.code} {error.reason}") from None
        except ValueError:
            raise OSError("Cloud Monitoring's answer is not JSON") from None
        # Newest first, by the API; int64 comes as text.
        values = [one["points"][0]["value"] for one in series if one.get("points")]
        return max((float(next(iter(value.values()))) for value in values), default=None)


def _curl(url: str, query: dict[str, str]) -> str:
    # In double quotes: the shell fills in the token and the job's id when the line is run.
    fields = [value.replace('"', '\\"') for value in (f"{name}={text}" for name, text in query.items())]
    data = " ".join(f'--data-urlencode "{field}"' for field in fields)
    return (
        "curl --fail-with-body --silent --show-error --get "
        f'--header "Authorization: Bearer $({" ".join(_TOKEN)})" {data} {url}'
    )
