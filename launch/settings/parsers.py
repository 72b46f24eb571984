"""From the text of a setting to its value. Parsers shared with the job are in pipeline.options.values.

Each function raises ValueError that says what is wrong.
"""

from __future__ import annotations

import re

from pipeline.options.values import (
    PROJECT_ID,
    PROJECT_RULE,
    RESOURCE_ID,
    RESOURCE_RULE,
    check_part,
    integer,
)

NO_HINT = "none"
PYPI = "pypi"

# LaunchFlexTemplateParameter.jobName of the Dataflow API
_JOB_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,1022}[a-z0-9])?")
# As the service makes it: 2025-11-23_20_30_00-1234567890123456789
_JOB_ID = re.compile(r"\d{4}-\d\d-\d\d_\d\d_\d\d_\d\d-\d+")
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,122}")
_IMAGE = re.compile(r"[a-z0-9.\-]+(?::\d+)?(?:/[a-z0-9]+(?:[._\-]+[a-z0-9]+)*){2,}")
# https://cloud.google.com/storage/docs/buckets#naming
_BUCKET = r"[a-z0-9][a-z0-9._\-]{1,220}[a-z0-9]"
_BUCKET_RULE = "3 to 222 small letters, digits and -_., beginning and ending with a letter or digit"
_OBJECT = r"[^\s#?*\[\]]*"
_OBJECT_RULE = "no blanks, and none of # ? * [ ]"
_KMS_KEY = re.compile(
    rf"projects/{PROJECT_ID}/locations/[a-z0-9\-]+/keyRings/[A-Za-z0-9_\-]{{1,63}}/cryptoKeys/[A-Za-z0-9_\-]{{1,63}}"
)
# https://cloud.google.com/resource-manager/docs/labels-overview
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_\-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_\-]{0,63}")


def text(value: str) -> str:
    """Return a text without blanks."""
    if re.search(r"\s", value):
        raise ValueError(f"{value!r} holds a blank")
    return value


def project(value: str) -> str:
    """Return the id of a project."""
    check_part(value, value, PROJECT_ID, "a project id", PROJECT_RULE)
    return value


def zone(value: str) -> str:
    """Return the name of a zone."""
    if not re.fullmatch(r"[a-z]+-[a-z]+[0-9]+-[a-z]", value):
        raise ValueError(f"{value!r} is not a zone such as us-central1-a")
    return value


def gs_path(value: str) -> str:
    """Return a Cloud Storage path, without a slash at its end."""
    if not value.startswith("gs://"):
        raise ValueError(f"{value!r} is not a Cloud Storage path such as gs://my-bucket/folder")
    bucket, _, name = value.removeprefix("gs://").partition("/")
    check_part(value, bucket, _BUCKET, "the name of a bucket", _BUCKET_RULE)
    check_part(value, name, _OBJECT, "a path in a bucket", _OBJECT_RULE)
    return value.rstrip("/")


def gs_object(value: str) -> str:
    """Return the Cloud Storage path of an object."""
    if not names_object(value):
        raise ValueError(f"{value!r} names no object: gs://BUCKET/OBJECT")
    return gs_path(value)


def names_object(value: str) -> bool:
    """Return whether a path that begins with gs:// goes on to an object, not only to a bucket or a folder."""
    return bool(re.fullmatch(r"gs://[^/]+/.*[^/]", value))


def channel(value: str) -> str:
    """Return the name of a topic and of the subscription to it."""
    check_part(value, value, RESOURCE_ID, "the name of a topic", RESOURCE_RULE)
    return value


def kms_key(value: str) -> str:
    """Return the full name of a key of Cloud KMS."""
    if not _KMS_KEY.fullmatch(value):
        raise ValueError(
            f"{value!r} is not the full name of a key: "
            "projects/PROJECT/locations/REGION/keyRings/RING/cryptoKeys/KEY"
        )
    return value


def labels(value: str) -> dict[str, str]:
    """Return the values by key of key=value,key=value."""
    found: dict[str, str] = {}
    for part in value.split(","):
        label, equals, text = part.partition("=")
        if not equals or not _LABEL_KEY.fullmatch(label) or not _LABEL_VALUE.fullmatch(text):
            raise ValueError(
                f"{part!r} is not key=value of small letters, digits, dashes and underscores, at most 63 "
                "each, the key beginning with a letter"
            )
        if label in found:
            raise ValueError(f"{label} is given twice")
        found[label] = text
    return found


def model_path(value: str) -> str:
    """Return the path of a model file; one in Cloud Storage names its object."""
    if value.startswith("gs://") and not names_object(value):
        raise ValueError(f"{value!r} names no object: gs://BUCKET/OBJECT, as in gs://my-bucket/models/m.pt2")
    return text(value)


def torch_build(value: str) -> str:
    """Return the name of one of PyTorch's builds of torch, or PYPI."""
    if not re.fullmatch(rf"{PYPI}|cu[0-9]{{3}}", value):
        raise ValueError(
            f"{value!r} is neither {PYPI} nor cu and the three digits of a version of CUDA, as in cu126"
        )
    return value


def index(value: str) -> str:
    """Return the URL of a package index; one with a password in it is refused."""
    if not re.fullmatch(r"https?://[^\s/,]+(/[^\s,]*)?", value):
        raise ValueError(f"{value!r} is not the URL of a package index: https://HOST/PATH")
    if "@" in value:
        raise ValueError("a URL with a name or a password stays in the image's history: take one without")
    return value


def image(value: str) -> str:
    """Return the full name of an image, without its tag."""
    if not _IMAGE.fullmatch(value):
        raise ValueError(
            f"{value!r} is not the name of an image without its tag: "
            "REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME"
        )
    return value


def tag(value: str) -> str:
    """Return the tag of an image; latest is refused."""
    if not _TAG.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a tag: 1 to 123 letters, digits, underscores, dots and dashes, beginning with "
            "none of the last two"
        )
    if value == "latest":
        raise ValueError(
            "latest is refused: workers that start later would run another image than the others; "
            "name a version"
        )
    return value


def job_name(value: str) -> str:
    """Return the name of a job."""
    if not _JOB_NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} is not the name of a job: 1 to 1,024 small letters, digits and dashes, beginning "
            "with a letter and not ending with a dash"
        )
    return value


def is_job_id(value: str) -> bool:
    """Return whether the text is the id that Dataflow gave a job."""
    return bool(_JOB_ID.fullmatch(value))


def job(value: str) -> str:
    """Return the name or the id of a job."""
    return value if is_job_id(value) else job_name(value)


# From 1. The rules refuse what is too much for its purpose.
count = integer(1, 100_000_000)


def utilization_hint(value: str) -> float | str:
    """Return a number, or NO_HINT."""
    if value == NO_HINT:
        return value
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
        raise ValueError(f"{value!r} is neither a number such as 0.6 nor none")
    return float(value)


def machine_type(value: str) -> str:
    """Return the name of a machine type."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", value):
        raise ValueError(f"{value!r} is not a machine type such as n1-standard-4")
    return value


def email(value: str) -> str:
    """Return the email of a service account."""
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
        raise ValueError(f"{value!r} is not an email such as NAME@PROJECT.iam.gserviceaccount.com")
    return value


def mappings(value: str) -> dict[str, str]:
    """Return the new names by the old ones of old=new,old=new."""
    found = dict(part.partition("=")[::2] for part in value.split(","))
    if not all(old and new for old, new in found.items()):
        raise ValueError(f"{value!r} is not old=new,old=new")
    return found
