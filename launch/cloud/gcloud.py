"""Parts of gcloud's command lines that several commands share."""

from __future__ import annotations

from collections.abc import Iterable

from launch.settings.setting import Settings, SettingsError

# For lists whose values hold commas; see `gcloud topic escaping`. One character each:
# a value could end with a part of a longer one.
_DELIMITERS = "~|!#@%;:"


def where(settings: Settings) -> list[str]:
    return [f"--project={settings.project}", f"--region={settings.region}"]


def comma_list(values: Iterable[str]) -> str:
    """The value of a flag that takes a list, with another delimiter than the comma where a value holds one.

    Raises SettingsError where every delimiter that is known here occurs in the values.
    """
    parts = list(values)
    # A list that begins with ^ would be read as one that names its delimiter.
    if not any("," in part for part in parts) and not parts[0].startswith("^"):
        return ",".join(parts)
    for delimiter in _DELIMITERS:
        if not any(delimiter in part for part in parts):
            return f"^{delimiter}^{delimiter.join(parts)}"
    raise SettingsError(f"cannot be passed to gcloud, as they hold each of {' '.join(_DELIMITERS)}: {parts}")
