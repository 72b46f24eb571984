"""The settings of `./launch.sh setup`."""

from __future__ import annotations

from dataclasses import dataclass

from launch.settings import parsers
from launch.settings.common import Encryption, Settings
from launch.settings.job import StorageSettings
from launch.settings.setting import setting
from pipeline.options.job_options import ENDPOINT, LOCAL
from pipeline.options.values import one_of, table


@dataclass(frozen=True, kw_only=True)
class _Setup(Encryption, StorageSettings):
    service_account: str = setting(
        parsers.email,
        "Account that the workers run as, by its email; made where it is one of --project.",
        required=True,
    )
    mode: str = setting(
        one_of(LOCAL, ENDPOINT),
        "local: the model runs in the worker; endpoint: an endpoint makes the predictions, which takes one "
        "more API and role.",
        default=LOCAL,
    )
    requests: str = setting(
        parsers.channel,
        "Name of the topic, and of the subscription to it, that bring requests.",
        default="requests",
        flag_only=True,
    )
    results: str = setting(
        parsers.channel,
        "Name of the topic, and of the subscription to it, that take results.",
        default="results",
        flag_only=True,
    )
    dead_letters: str = setting(
        parsers.channel,
        "Name of the topic, and of the subscription to it, that take refused requests.",
        default="dead-letters",
        flag_only=True,
    )
    output_table: str | None = setting(
        table, "BigQuery table for results: PROJECT:DATASET.TABLE. Default: none.", flag_only=True
    )


@dataclass(frozen=True, kw_only=True)
class SetupSettings(Settings, _Setup):
    """Of `setup`."""
