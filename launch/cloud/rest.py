"""Calls to Vertex AI's REST API, for what gcloud has no command or flag for.

gcloud 528 cannot create a dedicated endpoint, upload a model with a startup probe by HTTP, deploy with scale
to zero, by request count or by a subscription's backlog, or change what is deployed (mutateDeployedModel).
"""

from __future__ import annotations

import json
import time
import urllib.error
from collections.abc import Mapping
from typing import Any

from launch.cloud.http import Account, RedirectError, base_url, call, curl, reason
from launch.cloud.shell import CommandError, Shell, refusal, shell_quote

OVERRIDE = "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"
# As long as gcloud waits for its own operations on endpoints.
OPERATION_WAIT_S = 1800.0
_CALL_TIMEOUT_S = 60.0


class Rest:
    """The API in one region, called with gcloud's account; under dry_run, each call is printed for curl.

    The variable that redirects gcloud's own calls (OVERRIDE) redirects these too.

    Attributes:
        location: `projects/PROJECT/locations/REGION`.

    Raises:
        SettingsError: OVERRIDE holds no address fit for a token.
    """

    def __init__(self, shell: Shell, project: str, region: str, *, poll_s: float = 5.0) -> None:
        self._shell = shell
        self._project = project
        self._base = base_url(OVERRIDE, f"https://{region}-aiplatform.googleapis.com")
        self._poll_s = poll_s
        self.location = f"projects/{project}/locations/{region}"

    def change(self, what: str, version: str, path: str, body: Mapping[str, Any]) -> Any:
        """POST, wait for the operation that this starts, and return its response; None under dry_run.

        Args:
            what: What the call does, for messages.
            version: Of the API, such as v1.
            path: Below project and region, such as `endpoints/1:deployModel`.
            body: Sent as JSON.

        Raises:
            CommandError: Refused, failed, or not done within OPERATION_WAIT_S; it begins with `what`.
        """
        url = f"{self._base}/{version}/{self.location}/{path}"
        data = json.dumps(body)
        if self._shell.dry_run:
            words = ("--header 'Content-Type: application/json'", f"--data {shell_quote(data)}")
            print(curl(url, *words), file=self._shell.out)
            self._shell.note("it prints an operation; go on when that has ended")
            return None
        account = Account.of_gcloud(self._shell, self._project)
        operation = _call(what, "POST", url, account, data.encode())
        deadline = time.monotonic() + OPERATION_WAIT_S
        while not operation.get("done"):
            if time.monotonic() > deadline:
                raise CommandError(
                    f"{what}: not done after {OPERATION_WAIT_S:.0f} s; it goes on without us: "
                    f"{operation['name']}"
                )
            time.sleep(self._poll_s)
            operation = _call(what, "GET", f"{self._base}/{version}/{operation['name']}", account, None)
        if "error" in operation:
            raise CommandError(refusal(what, operation["error"].get("message", "failed without a reason")))
        return operation.get("response", {})


def _call(what: str, method: str, url: str, account: Account, body: bytes | None) -> dict[str, Any]:
    try:
        return call(method, url, account, timeout_s=_CALL_TIMEOUT_S, body=body)
    except urllib.error.HTTPError as error:
        with error:
            raise CommandError(refusal(what, reason(error))) from None
    except RedirectError as error:
        raise CommandError(f"{what}: {error}") from None
    except (OSError, ValueError) as error:  # no connection, a broken one, a body that is no JSON
        raise CommandError(refusal(what, f"{url}: {error}")) from None
