"""The latest values of a job's metrics, by Cloud Monitoring's REST API, as gcloud 528 has no command."""

from __future__ import annotations

import urllib.error
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from launch.cloud.http import Account, base_url, call, curl, reason
from launch.cloud.running_job import JOB_ID_VARIABLE
from launch.cloud.shell import Shell, is_about_quota_project, refusal, shell_quote
from pipeline.options.google_api import MONITORING, MONITORING_OVERRIDE

# https://cloud.google.com/monitoring/api/metrics_gcp_d_h: sampled every 60 s, visible up to 240 s later.
_LOOK_BACK = timedelta(minutes=10)
_CALL_TIMEOUT_S = 30.0


class Monitoring:
    """Metrics of one project, read with gcloud's account; under dry_run, each call is printed for curl.

    Raises:
        SettingsError: The variable that redirects the calls holds no address fit for a token.
        CommandError: There is no token.
    """

    def __init__(self, shell: Shell, project: str) -> None:
        self._shell = shell
        base = base_url(MONITORING_OVERRIDE, MONITORING)
        self._url = f"{base}/v3/projects/{project}/timeSeries"
        self._account = None if shell.dry_run else Account.of_gcloud(shell, project)

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
        if self._account is None:
            data = (f"--data-urlencode {_field(f'{name}={text}')}" for name, text in query.items())
            print(curl(self._url, "--get", *data), file=self._shell.out)
            return None
        try:
            answer = call("GET", f"{self._url}?{urlencode(query)}", self._account, timeout_s=_CALL_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                why = reason(error)
            told = refusal(f"Cloud Monitoring answered {error.code}", why)
            if error.code == 403 and not is_about_quota_project(why):
                told = f"Cloud Monitoring answered 403: {why}; the account needs roles/monitoring.viewer"
            raise OSError(told) from None
        except ValueError:
            raise OSError("Cloud Monitoring's answer is not JSON") from None
        series = answer.get("timeSeries", [])
        # Newest first, by the API; int64 comes as text.
        values = [one["points"][0]["value"] for one in series if one.get("points")]
        return max((float(next(iter(value.values()))) for value in values), default=None)


def _field(text: str) -> str:
    # The shell fills the job's id in when the line is run.
    return shell_quote(text, JOB_ID_VARIABLE)
