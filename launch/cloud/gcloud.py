"""Parts of gcloud's command lines that several commands share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from launch.settings.common import Location
from launch.settings.setting import SettingsError

# For lists whose values hold commas; see `gcloud topic escaping`. One character each, as a value could end
# with a part of a longer one.
_DELIMITERS = "~|!#@%;:"


def where(location: Location) -> list[str]:
    """Return the flags that name the project and the region."""
    return [f"--project={location.project}", f"--region={location.region}"]


def label_list(labels: Mapping[str, str]) -> str:
    """Return the value of a flag that takes labels; neither keys nor values hold a comma."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def comma_list(values: Iterable[str]) -> str:
    """Return the value of a flag that takes a list, with another delimiter if a value holds a comma.

    Raises:
        SettingsError: Every delimiter that is known here occurs in the values.
    """
    parts = list(values)
    # A list that begins with ^ would be read as one that names its delimiter.
    if not any("," in part for part in parts) and not parts[0].startswith("^"):
        return ",".join(parts)
    for delimiter in _DELIMITERS:
        if not any(delimiter in part for part in parts):
            return f"^{delimiter}^{delimiter.join(parts)}"
    raise SettingsError(f"cannot be passed to gcloud, as they hold each of {' '.join(_DELIMITERS)}: {parts}")
