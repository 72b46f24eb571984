from __future__ import annotations

import os
import re
from dataclasses import fields

import pytest

from pipeline.request.input_spec import InputSpec
from serving.flags import OptionsError
from serving.options import Options, parse

STORAGE = {"AIP_STORAGE_URI": "gs://bucket/model"}


def test_the_defaults_are_vertex_ais() -> None:
    options = parse([], STORAGE)
    assert (options.port, options.health_route, options.predict_route) == (8080, "/health", "/predict")
    assert options.host == "0.0.0.0"
    assert options.spec is None
    assert (options.max_batch_size, options.drain_s) == (1024, 5)
    assert (options.predict_timeout_s, options.load_timeout_s) == (60, 600)
    assert (options.device, options.precision) == ("auto", "fp32")


def test_one_worker_for_each_core_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    options = parse([], STORAGE)
    assert (options.workers, options.cores) == (3, 3)


def test_without_affinity_all_cores_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert parse([], STORAGE).workers == 6


def test_what_is_empty_is_not_given(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    names = set(re.findall(r"^ +--(\w+) ", capsys.readouterr().out, re.MULTILINE))
    flags = [f"--{name}=" for name in names]
    # All options but those that variables set.
    assert len(flags) == len(fields(Options)) - len(
        {"port", "health_route", "predict_route", "storage_uri", "cores"}
    )
    variables = {"AIP_HTTP_PORT": "", "AIP_HEALTH_ROUTE": "", "AIP_PREDICT_ROUTE": ""}
    assert parse(flags, {**STORAGE, **variables}) == parse([], STORAGE)
    assert parse(["--model_class", "", "--workers="], STORAGE) == parse([], STORAGE)
    with pytest.raises(OptionsError, match="^AIP_STORAGE_URI: missing"):
        parse(flags, {"AIP_STORAGE_URI": ""})
    with pytest.raises(OptionsError, match="^--model_clas: there is no such flag"):
        parse(["--model_clas="], STORAGE)


def test_flags_and_variables() -> None:
    options = parse(
        [
            "--host=127.0.0.1",
            "--workers=3",
            "--model_file=a.pt",
            "--model_class=module:Class",
            '--model_params={"hidden": 16}',
            "--input_shape=ids:int64:128",
            "--max_batch_size=7",
            "--device=gpu",
            "--precision=bf16",
            "--predict_timeout_s=2.5",
            "--load_timeout_s=30",
            "--drain_s=0",
        ],
        {**STORAGE, "AIP_HTTP_PORT": "0", "AIP_HEALTH_ROUTE": "/h", "AIP_PREDICT_ROUTE": "/v1/p:predict"},
    )
    assert (options.host, options.port, options.health_route) == ("127.0.0.1", 0, "/h")
    assert (options.predict_route, options.storage_uri) == ("/v1/p:predict", "gs://bucket/model")
    assert (options.workers, options.max_batch_size, options.drain_s) == (3, 7, 0)
    assert (options.model_file, options.model_class) == ("a.pt", "module:Class")
    assert (options.device, options.precision) == ("gpu", "bf16")
    assert (options.predict_timeout_s, options.load_timeout_s) == (2.5, 30)
    assert options.model_params == {"hidden": 16}
    assert options.spec == InputSpec.parse("ids:int64:128")


def test_flags_are_taken_with_dashes_and_mistyped_ones_are_told_what_they_meant() -> None:
    assert parse(["--model-file=a.pt", "--max-batch-size", "7"], STORAGE).max_batch_size == 7
    with pytest.raises(OptionsError) as caught:
        parse(["--modle_file", "a.pt"], STORAGE)
    assert str(caught.value) == "--modle_file: there is no such flag; did you mean --model_file?"


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(OptionsError) as caught:
        parse(
            [
                "--workers=0",
                "--input_shape=3x",
                "--max_batch_size=x",
                "--predict_timeout_s=0",
                "--load_timeout_s=never",
                "--drain_s=-1",
                "--wat=1",
            ],
            {"AIP_HTTP_PORT": "80800", "AIP_HEALTH_ROUTE": "health", "AIP_PREDICT_ROUTE": "/{x}"},
        )
    lines = str(caught.value).splitlines()
    assert {line.partition(":")[0] for line in lines} == {
        "--workers",
        "--input_shape",
        "--max_batch_size",
        "--predict_timeout_s",
        "--load_timeout_s",
        "--drain_s",
        "--wat",
        "AIP_HTTP_PORT",
        "AIP_HEALTH_ROUTE",
        "AIP_PREDICT_ROUTE",
        "AIP_STORAGE_URI",
    }
    assert len(lines) == 11


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (['--model_params={"a": 1}'], {}, "--model_params: needs --model_class"),
        (["--model_root=/models"], {}, "--model_root: needs --model_pointer, whose models lie under it"),
        (["--model_pointer=p", "--model_file=m"], {}, "--model_pointer: says which .* so does --model_file"),
        (["--model_pointer=s3://b/p"], {}, "--model_pointer: 's3://b/p' is neither a path .* nor gs://"),
        (["--model_class=nonsense"], {}, "--model_class: 'nonsense' is not module:Class"),
        (["--device=cuda"], {}, "--device: 'cuda' is not one of: cpu, gpu, auto"),
        (["--precision=int8"], {}, "--precision: 'int8' is not one of: fp32, fp16, bf16"),
        (["--workers"], {}, "--workers: expected one argument"),
        (["stray"], {}, "stray: not a flag"),
        ([], {"AIP_HEALTH_ROUTE": "/predict"}, "both are /predict"),
    ],
)
def test_what_is_wrong_alone(arguments: list[str], environment: dict[str, str], message: str) -> None:
    with pytest.raises(OptionsError, match=message):
        parse(arguments, STORAGE | environment)


def test_help_says_why_there_are_several_workers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"], {})
    assert caught.value.code == 0
    assert "25 % CPU" in capsys.readouterr().out


@pytest.mark.parametrize("storage", [{}, {"AIP_STORAGE_URI": ""}, STORAGE])
def test_a_pointer_needs_no_storage_uri(storage: dict[str, str]) -> None:
    options = parse(["--model_pointer=gs://bucket/current", "--model_root="], storage)
    assert (options.model_pointer, options.model_root) == ("gs://bucket/current", None)
    assert options.model_refresh_s == 60
    assert parse(["--model_pointer=p", "--model-root=/m", "--model-refresh-s=2"], storage).model_root == "/m"
