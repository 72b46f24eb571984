"""Who has which role on a resource, and the command that gives one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.cloud.shell import Shell

_EDITOR = "roles/bigquery.dataEditor"
# How a dataset lists those who have this role, or one that holds it.
_EDITORS = ("WRITER", "OWNER", _EDITOR)


@dataclass(frozen=True)
class Policy(ABC):
    """Who has which role on one resource.

    Attributes:
        on: What the resource is called in the output.
    """

    on: str

    @abstractmethod
    def members(self, shell: Shell) -> Mapping[str, set[str]]:
        """Return the members by role, without those on a condition.

        Raises:
            CommandError: The policy cannot be read.
        """

    @abstractmethod
    def grant(self, role: str, member: str) -> list[str]:
        """Return the command that gives a member a role."""


@dataclass(frozen=True)
class GcloudPolicy(Policy):
    """The policy of a resource that gcloud knows.

    Attributes:
        group: The command group, such as `gcloud pubsub topics`.
        target: What names the resource, after the verb.
        conditions: Whether bindings of this policy may have conditions, which the command must then rule out.
    """

    group: Sequence[str]
    target: Sequence[str]
    conditions: bool = True

    def members(self, shell: Shell) -> Mapping[str, set[str]]:
        """Return the members by role; raises as `Policy.members`."""
        found: dict[str, set[str]] = {}
        policy: Any = shell.read([*self.group, "get-iam-policy", *self.target, "--format=json"])
        for binding in policy.get("bindings", []):
            if "condition" not in binding:
                found.setdefault(binding["role"], set()).update(binding["members"])
        return found

    def grant(self, role: str, member: str) -> list[str]:
        """Return the command that gives a member a role."""
        argv = [*self.group, "add-iam-policy-binding", *self.target, f"--role={role}", f"--member={member}"]
        # Where the policy has any, gcloud asks which is meant, and nobody is there to answer.
        return [*argv, "--condition=None"] if self.conditions else argv


@dataclass(frozen=True)
class DatasetPolicy(Policy):
    """The policy of a BigQuery dataset, for the role `roles/bigquery.dataEditor`.

    Attributes:
        project: The dataset's project.
        dataset: Its name.
    """

    project: str
    dataset: str

    def members(self, shell: Shell) -> Mapping[str, set[str]]:
        """Return the service accounts that may edit the dataset; raises as `Policy.members`."""
        dataset = f"{self.project}:{self.dataset}"
        shown: Any = shell.read(["bq", f"--project_id={self.project}", "--format=json", "show", dataset])
        access = shown.get("access", [])
        editors = [entry for entry in access if entry.get("role") in _EDITORS and "userByEmail" in entry]
        return {_EDITOR: {f"serviceAccount:{entry['userByEmail']}" for entry in editors}}

    def grant(self, role: str, member: str) -> list[str]:
        """Return the command that gives a member a role."""
        statement = f"GRANT `{role}` ON SCHEMA `{self.project}.{self.dataset}` TO '{member}'"
        return ["bq", f"--project_id={self.project}", "query", "--nouse_legacy_sql", statement]
