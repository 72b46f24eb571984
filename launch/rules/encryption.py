"""What the services refuse of a key of Cloud KMS.

Source: https://cloud.google.com/dataflow/docs/guides/customer-managed-encryption-keys.
"""

from __future__ import annotations

from launch.settings.common import Encryption


def key_elsewhere(settings: Encryption) -> str | None:
    """Return what is wrong where the key is of another region than what it encrypts; global ones are, too."""
    if settings.kms_key is None:
        return None
    location = settings.kms_key.split("/")[3]
    if location == settings.region:
        return None
    return f"--kms-key: it is in {location}, not in --region, {settings.region}: take a key of that region"
