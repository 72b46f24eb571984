"""What a project may hold already: resources, each with what looks it up and what makes it.

gcloud has no "make it unless it is there". BigQuery's program is bq, which says that nothing is there on
stdout, and by the same exit code as other refusals; so it is asked for lists.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from launch.cloud.shell import CommandError, Shell, shell_line

# What gcloud says of a thing that is not there: NOT_FOUND of most APIs, "not found: 404" of Cloud Storage.
_MISSING = re.compile(r"\bnot[_ ]found\b", re.IGNORECASE)


@dataclass(frozen=True)
class Resource(ABC):
    """Something that is made where it is missing.

    Attributes:
        name: What it is called in the output, such as `topic requests`.
        create: The command that makes it.
    """

    name: str
    create: Sequence[str]

    @abstractmethod
    def exists(self, shell: Shell) -> bool:
        """Return whether it is there.

        Raises:
            CommandError: It cannot be looked up.
        """

    @property
    @abstractmethod
    def line(self) -> str:
        """For a dry run: a line of shell that makes it where it is missing."""


@dataclass(frozen=True)
class GcloudResource(Resource):
    """One that gcloud makes.

    Attributes:
        describe: The command that fails where it is missing.
    """

    describe: Sequence[str]

    def exists(self, shell: Shell) -> bool:
        """Return whether it is there; raises as `Resource.exists`."""
        try:
            shell.run(self.describe)
        except CommandError as error:
            if _MISSING.search(str(error)):
                return False
            raise
        return True

    @property
    def line(self) -> str:
        """For a dry run: a line of shell that makes it where it is missing."""
        return f"{shell_line(self.describe)} >/dev/null 2>&1 || {shell_line(self.create)}"


@dataclass(frozen=True)
class BigQueryResource(Resource):
    """A dataset or a table.

    Attributes:
        full_id: PROJECT:DATASET or PROJECT:DATASET.TABLE.
        listing: The command that prints a JSON list with it, or nothing where the list is empty.
    """

    full_id: str
    listing: Sequence[str]

    def exists(self, shell: Shell) -> bool:
        """Return whether it is there; raises as `Resource.exists`."""
        listed = json.loads(shell.run(self.listing).strip() or "[]")
        return any(each["id"] == self.full_id for each in listed)

    @property
    def line(self) -> str:
        """For a dry run: a line of shell that makes it where it is missing; --force is bq's word for that."""
        return shell_line(self.create)
