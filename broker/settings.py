"""The settings of topics and subscriptions: what may be asked for, the service's defaults, and updates."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from broker import names
from broker.checks import check_ack_deadline
from broker.errors import InvalidArgumentError, UnsupportedError
from pipeline.pubsub.limits import DEFAULT_ACK_DEADLINE_S
from pipeline.pubsub.protos import Proto

_DAY_S = 24 * 60 * 60
DEFAULT_RETENTION_S = 7 * _DAY_S
MIN_RETENTION_S = 10 * 60
MAX_RETENTION_S = 31 * _DAY_S
DEFAULT_EXPIRATION_S = 31 * _DAY_S
MIN_EXPIRATION_S = _DAY_S
DEFAULT_DELIVERY_ATTEMPTS = 5
MIN_DELIVERY_ATTEMPTS = 5
MAX_DELIVERY_ATTEMPTS = 100

_IMMUTABLE = {
    "Topic": frozenset({"name"}),
    "Subscription": frozenset({"name", "topic", "enable_message_ordering", "filter"}),
}
_MUTABLE = {
    "Topic": frozenset({"labels", "message_retention_duration"}),
    "Subscription": frozenset(
        {
            "ack_deadline_seconds",
            "dead_letter_policy",
            "expiration_policy",
            "labels",
            "message_retention_duration",
            "push_config",
            "retain_acked_messages",
        }
    ),
}
# Fields that the service fills in; what a client sends in them is ignored, as the service does.
_OUTPUT_ONLY = frozenset(
    {
        "analytics_hub_subscription_info",
        "detached",
        "satisfies_pzs",
        "state",
        "topic_message_retention_duration",
    }
)


def supported_fields(kind: str) -> frozenset[str]:
    """Return the fields of a `Topic` or `Subscription` that may be set."""
    return _MUTABLE[kind] | _IMMUTABLE[kind]


def topic_settings(topic: Proto) -> Proto:
    """Return a Topic as it is kept.

    Raises:
        UnsupportedError: It asks for something that this broker does not do. Names the field.
        InvalidArgumentError: The service would refuse a value, too.
    """
    settings = _supported(topic)
    _check_retention(settings)
    return settings


def subscription_settings(subscription: Proto) -> Proto:
    """Return a Subscription as it is kept: the service's defaults filled in. Raises as `topic_settings`.

    Its filter is left to `Subscription`.
    """
    settings = _supported(subscription)
    settings.push_config.SetInParent()
    settings.ack_deadline_seconds = settings.ack_deadline_seconds or DEFAULT_ACK_DEADLINE_S
    check_ack_deadline(settings.ack_deadline_seconds, "Subscription.ack_deadline_seconds")
    if not settings.HasField("message_retention_duration"):
        settings.message_retention_duration.seconds = DEFAULT_RETENTION_S
    _check_retention(settings)
    if not settings.HasField("expiration_policy"):
        settings.expiration_policy.ttl.seconds = DEFAULT_EXPIRATION_S
    # A policy without a ttl is kept so: the subscription never expires.
    if settings.expiration_policy.HasField("ttl"):
        ttl_s = duration_s(settings.expiration_policy.ttl)
        if ttl_s < MIN_EXPIRATION_S:
            raise InvalidArgumentError(
                f"Subscription.expiration_policy.ttl must be at least {MIN_EXPIRATION_S} seconds (a day); it "
                f"is {ttl_s:g}"
            )
    if settings.HasField("dead_letter_policy"):
        _complete(settings.dead_letter_policy)
    return settings


def updated(settings: Proto, changes: Proto, mask: FieldMask) -> Proto:
    """Return a copy of a Topic or Subscription with the fields of `mask` taken from `changes`, unchecked.

    Raises:
        InvalidArgumentError: The mask is empty, or names a field that cannot be changed or is none.
    """
    kind = settings.DESCRIPTOR.name
    mutable = f"Fields of a {kind} that may be changed: {', '.join(sorted(_MUTABLE[kind]))}"
    if not mask.paths:
        raise InvalidArgumentError(f"update_mask must name at least one field. {mutable}")
    for path in mask.paths:
        if path in _IMMUTABLE[kind]:
            raise InvalidArgumentError(f"update_mask: {kind}.{path} cannot be changed. {mutable}")
        # A field that this broker does not do passes here: to clear it is fine, to set it is refused later.
        if path not in settings.DESCRIPTOR.fields_by_name or path in _OUTPUT_ONLY:
            raise InvalidArgumentError(
                f"update_mask: {path[:80]!r} is not a field of a {kind} that may be changed. {mutable}"
            )
    chosen = type(settings)()
    FieldMask(paths=mask.paths).MergeMessage(changes, chosen)
    new = type(settings)()
    new.CopyFrom(settings)
    for path in mask.paths:
        new.ClearField(path)
    new.MergeFrom(chosen)
    return new


def duration_s(duration: Duration) -> float:
    """Return a Duration in seconds."""
    return float(duration.seconds + duration.nanos / 1e9)


def _supported(resource: Proto) -> Proto:
    """Return a copy without output-only fields; refuse what this broker would silently not do."""
    kind = resource.DESCRIPTOR.name
    supported = supported_fields(kind)
    kept = type(resource)()
    kept.CopyFrom(resource)
    for field, value in resource.ListFields():
        if field.name in _OUTPUT_ONLY:
            kept.ClearField(field.name)
        elif field.name == "push_config" and value.ByteSize():
            raise UnsupportedError(
                "Subscription.push_config is not supported by the embedded broker, which delivers by pull "
                "only: leave it empty, or use the real Pub/Sub"
            )
        elif field.name not in supported:
            raise UnsupportedError(
                f"{kind}.{field.name} is not supported by the embedded broker: leave it unset, or use the "
                f"real Pub/Sub. Supported fields of a {kind}: {', '.join(sorted(supported))}"
            )
    return kept


def _check_retention(resource: Proto) -> None:
    if not resource.HasField("message_retention_duration"):
        return
    retention_s = duration_s(resource.message_retention_duration)
    if not MIN_RETENTION_S <= retention_s <= MAX_RETENTION_S:
        raise InvalidArgumentError(
            f"{resource.DESCRIPTOR.name}.message_retention_duration must be {MIN_RETENTION_S} seconds (10 "
            f"minutes) to {MAX_RETENTION_S} (31 days); it is {retention_s:g}"
        )


def _complete(policy: Proto) -> None:
    names.check_topic(policy.dead_letter_topic)
    policy.max_delivery_attempts = policy.max_delivery_attempts or DEFAULT_DELIVERY_ATTEMPTS
    if not MIN_DELIVERY_ATTEMPTS <= policy.max_delivery_attempts <= MAX_DELIVERY_ATTEMPTS:
        raise InvalidArgumentError(
            f"Subscription.dead_letter_policy.max_delivery_attempts must be {MIN_DELIVERY_ATTEMPTS} to "
            f"{MAX_DELIVERY_ATTEMPTS}; it is {policy.max_delivery_attempts}"
        )
