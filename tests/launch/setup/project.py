"""A project on loopback that remembers what is made in it; the real gcloud and bq talk to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.launch.cloud import PROJECT, REGION, Cloud, Request

ACCOUNT = f"inference-worker@{PROJECT}.iam.gserviceaccount.com"
BUILD_ACCOUNT = "123456789012-compute@developer.gserviceaccount.com"
NUMBER = "123456789012"
KEY = f"projects/{PROJECT}/locations/{REGION}/keyRings/ring/cryptoKeys/key"
REPOSITORY = f"/v1/projects/{PROJECT}/locations/{REGION}/repositories"
DATASETS = f"/bigquery/v2/projects/{PROJECT}/datasets"
# What has a policy, and where.
POLICIES = (
    f"/v1/projects/{PROJECT}",
    f"{REPOSITORY}/inference",
    *(f"/v1/projects/{PROJECT}/topics/{name}" for name in ("results", "dead-letters")),
    f"/v1/projects/{PROJECT}/subscriptions/requests",
    f"/v1/{KEY}",
)
BUCKET = "/storage/v1/b/shop-bucket"
# What the Google Cloud CLI knows of BigQuery's API; it asks the server for it first.
_DISCOVERY = Path(shutil.which("gcloud") or "gcloud").resolve().parents[1] / "platform/bq/discovery_next"


class Project:
    """Adds to a server what setup looks up and makes. At first nothing is there.

    Attributes:
        cloud: The server.
    """

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self._enabled: list[str] = []
        self._policies: dict[str, Any] = {}
        self._datasets: dict[str, dict[str, Any]] = {}
        self._tables: list[dict[str, Any]] = []
        self._add_services()
        self._add_resources()
        self._add_policies()
        self._add_bigquery()

    @property
    def environment(self) -> Mapping[str, str]:
        """What sends the services that the server's own environment leaves out to it, too."""
        names = ("IAM", "CLOUDRESOURCEMANAGER", "SERVICEUSAGE", "CLOUDKMS", "BIGQUERY")
        return {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name}": f"{self.cloud.address}/" for name in names}

    def changes(self) -> list[tuple[str, str, Any]]:
        """Return the calls so far that change something, each once: method, path, and body."""
        reading = (":getIamPolicy", ":testIamPermissions")
        found = [
            (request.method, request.path, request.body)
            for request in self.cloud.requests
            if request.method != "GET" and not request.path.endswith(reading)
        ]
        return [change for place, change in enumerate(found) if change not in found[:place]]

    def members(self, path: str, role: str) -> list[str]:
        """Return who has a role on a resource, by the path of its policy."""
        bindings = self._policies.get(path, {}).get("bindings", [])
        return [member for binding in bindings if binding["role"] == role for member in binding["members"]]

    def roles(self) -> set[tuple[str, str]]:
        """Return all roles that were given, each with the path of the resource it is on."""
        return {
            (path, binding["role"])
            for path, policy in self._policies.items()
            for binding in policy.get("bindings", [])
        }

    def _appears(self, path: str, body: Any) -> Any:
        self.cloud.answer("GET", path.replace(".", r"\."), body)
        return body

    def _add_services(self) -> None:
        path = f"/v1/projects/{PROJECT}/services"

        def enable(request: Request) -> Any:
            self._enabled += request.body["serviceIds"]
            return {"name": "operations/x", "done": True, "response": {}}

        def listed(request: Request) -> Any:
            states = [{"config": {"name": name}, "state": "ENABLED"} for name in self._enabled]
            return {"services": states}

        self.cloud.answer("GET", path, listed)
        self.cloud.answer("POST", f"{path}:batchEnable", enable)
        build = {"name": f"projects/{PROJECT}/locations/global/defaultServiceAccount"}
        email = f"projects/{PROJECT}/serviceAccounts/{BUILD_ACCOUNT}"
        self.cloud.answer(
            "GET",
            f"/v1/projects/{PROJECT}/locations/global/defaultServiceAccount",
            {**build, "serviceAccountEmail": email},
        )
        self.cloud.answer("GET", f"/v1/projects/{PROJECT}", {"projectId": PROJECT, "projectNumber": NUMBER})

    def _add_resources(self) -> None:
        def account(request: Request) -> Any:
            email = f"{request.body['accountId']}@{PROJECT}.iam.gserviceaccount.com"
            return self._appears(f"/v1/projects/-/serviceAccounts/{email}", {"email": email, "name": email})

        def bucket(request: Request) -> Any:
            return self._appears(f"/storage/v1/b/{request.body['name']}", request.body)

        def repository(request: Request) -> Any:
            (name,) = request.query["repositoryId"]
            self._appears(f"{REPOSITORY}/{name}", {**request.body, "name": f"{REPOSITORY[4:]}/{name}"})
            operation = f"projects/{PROJECT}/locations/{REGION}/operations/x"
            return {"name": operation, "done": True, "response": {"name": f"{REPOSITORY[4:]}/{name}"}}

        def channel(request: Request) -> Any:
            return self._appears(request.path, {**request.body, "name": request.path.removeprefix("/v1/")})

        self.cloud.answer("POST", f"/v1/projects/{PROJECT}/serviceAccounts", account)
        self.cloud.answer("POST", "/storage/v1/b", bucket)
        self.cloud.answer("POST", REPOSITORY, repository)
        self.cloud.answer("PUT", rf"/v1/projects/{PROJECT}/(topics|subscriptions)/[^/]+", channel)

    def _add_policies(self) -> None:
        def read(request: Request) -> Any:
            return self._policies.get(_of(request), {"etag": "BwX="})

        def write(request: Request) -> Any:
            self._policies[_of(request)] = request.body["policy"]
            return request.body["policy"]

        def write_bucket(request: Request) -> Any:
            self._policies[BUCKET] = request.body
            return request.body

        for path in POLICIES:
            self.cloud.answer("GET", f"{path}:getIamPolicy", read)
            self.cloud.answer("POST", f"{path}:getIamPolicy", read)
            self.cloud.answer("POST", f"{path}:setIamPolicy", write)
        self.cloud.answer(
            "GET", f"{BUCKET}/iam", lambda request: self._policies.get(BUCKET, {"etag": "BwX="})
        )
        self.cloud.answer("PUT", f"{BUCKET}/iam", write_bucket)

    def _add_bigquery(self) -> None:
        def discovery(request: Request) -> Any:
            file = "iam-policy" if "IAMPolicy" in str(request.query) else "bigquery"
            text = (_DISCOVERY / f"{file}.json").read_text()
            return json.loads(text.replace("https://bigquery.googleapis.com", self.cloud.address))

        def dataset(request: Request) -> Any:
            name = request.body["datasetReference"]["datasetId"]
            found = {**request.body, "id": f"{PROJECT}:{name}", "access": []}
            self._datasets[name] = found
            self.cloud.answer("GET", f"{DATASETS}/{name}", lambda request: self._datasets[name])
            self.cloud.answer("GET", f"{DATASETS}/{name}/tables", lambda request: {"tables": self._tables})
            return found

        def table(request: Request) -> Any:
            reference = request.body["tableReference"]
            full_id = f"{PROJECT}:{reference['datasetId']}.{reference['tableId']}"
            found = {**request.body, "id": full_id, "type": "TABLE"}
            self._tables.append(found)
            return found

        job = {"projectId": PROJECT, "jobId": "job", "location": REGION}

        def query(request: Request) -> Any:
            text = request.body.get("query") or request.body["configuration"]["query"]["query"]
            for found in self._datasets.values():
                email = text.partition("'serviceAccount:")[2].rstrip("'")
                found["access"].append({"role": "WRITER", "userByEmail": email})
            return {
                "jobReference": job,
                "jobComplete": True,
                "status": {"state": "DONE"},
                "configuration": {"query": {"query": text}, "jobType": "QUERY"},
                "statistics": {"query": {"statementType": "GRANT"}},
            }

        self.cloud.answer("GET", r"/\$discovery/rest", discovery)
        self.cloud.answer("GET", DATASETS, lambda request: {"datasets": list(self._datasets.values())})
        self.cloud.answer("POST", DATASETS, dataset)
        self.cloud.answer("POST", f"{DATASETS}/[^/]+/tables", table)
        self.cloud.answer("POST", f"/bigquery/v2/projects/{PROJECT}/jobs", query)
        ended = {"jobReference": job, "jobComplete": True, "totalRows": "0"}
        self.cloud.answer("GET", f"/bigquery/v2/projects/{PROJECT}/queries/job", ended)


def _of(request: Request) -> str:
    return request.path.rpartition(":")[0]
