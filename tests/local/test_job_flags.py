from __future__ import annotations

import re
from pathlib import Path

import pytest

from local.job_flags import JobFlags
from local.topics import Topics
from local.triton import installation
from pipeline.options.job_options import FLAGS
from serving.options import parse
from tests.pipeline.model.files.test_input_shape import export_named

DEFAULT = "examples/model.pt2"
NAMES = Topics.fresh("test").job_arguments()


def flags(*arguments: str) -> JobFlags:
    return JobFlags(arguments, DEFAULT)


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ([], False),
        (["--inference_mode=local"], False),
        (["--inference_mode=endpoint"], True),
        (["--inference_mode", "endpoint", "--endpoint_batch_size=8"], True),
        (["--inference_mode=endpoint", "--inference_mode=local"], False),
        (["--inference_mode=endpoint", "--endpoint=123"], False),
        (["--inference_mode=endpoint", "--endpoint_url", "http://127.0.0.1:1/predict"], False),
        (["--endpoint_url=http://127.0.0.1:1/predict"], False),
    ],
)
def test_a_container_is_needed_in_endpoint_mode_without_an_endpoint(
    arguments: list[str], needed: bool
) -> None:
    assert flags(*arguments).needs_container is needed


def test_the_job_gets_the_default_model_only_where_it_needs_one() -> None:
    assert flags("--run_for_s=5").for_job() == [f"--model_path={DEFAULT}", "--run_for_s=5"]
    for given in (
        ["--model_path=a.pt2"],
        ["--model_path", "a.pt2"],
        ["--model_pointer=models/current"],
        ["--inference_mode=endpoint"],
    ):
        assert flags(*given).for_job() == given


def test_the_job_is_told_where_its_container_listens() -> None:
    assert flags("--inference_mode=endpoint").for_job("http://127.0.0.1:1/predict") == [
        "--inference_mode=endpoint",
        "--endpoint_url=http://127.0.0.1:1/predict",
    ]


@pytest.mark.parametrize(
    ("path", "folder", "file"),
    [
        ("/a/b.pt2", "/a", "b.pt2"),
        ("b.pt2", ".", "b.pt2"),
        ("models/v 2/b.pt2", "models/v 2", "b.pt2"),
        ("gs://bucket/models/b.pt2", "gs://bucket/models", "b.pt2"),
    ],
)
def test_the_container_gets_folder_and_file_of_the_model(path: str, folder: str, file: str) -> None:
    assert flags(f"--model_path={path}").for_container() == (folder, [f"--model_file={file}"])


def test_the_job_gets_the_shape_that_the_containers_model_says(tmp_path: Path) -> None:
    export_named(tmp_path / "m.pt2")
    model = f"--model-path={tmp_path}/m.pt2"
    shape = "--input_shape=ids:int64:4,scale:float32:3"
    in_endpoint_mode = flags("--inference_mode=endpoint", model)
    # The container reads it from the file itself.
    assert in_endpoint_mode.for_container() == (str(tmp_path), ["--model_file=m.pt2"])
    assert shape in in_endpoint_mode.for_job("http://127.0.0.1:1/predict")
    given = flags("--inference_mode=endpoint", model, "--input_shape=3")
    assert given.for_container()[1] == ["--model_file=m.pt2", "--input_shape=3"]
    assert shape not in given.for_job("http://127.0.0.1:1/predict")


def test_the_container_gets_the_default_model() -> None:
    assert flags("--inference_mode=endpoint").for_container() == ("examples", ["--model_file=model.pt2"])


def test_the_container_gets_the_models_own_flags_and_no_others() -> None:
    _, arguments = flags(
        "--inference_mode=endpoint", "--model_class", "my.models:Net", '--model_params={"hidden": 16}',
        "--input_shape=ids:int64:8,mask:int64:8", "--max_batch_size=64", "--endpoint_batch_size=8",
        "--device=cpu", "--precision=bf16", "--compile=true",
    ).for_container()  # fmt: skip
    assert arguments == [
        "--model_file=model.pt2",
        "--model_class=my.models:Net",
        '--model_params={"hidden": 16}',
        "--input_shape=ids:int64:8,mask:int64:8",
        "--max_batch_size=64",
        "--device=cpu",
        "--precision=bf16",
    ]


def test_the_container_gets_each_flag_that_the_job_and_it_have_in_common(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    of_the_container = set(re.findall(r"--(\w+)", capsys.readouterr().out))
    of_the_job = {flag.name for flag in FLAGS}
    _, arguments = flags(*(f"--{name}=x" for name in of_the_job)).for_container()
    passed = {text.removeprefix("--").partition("=")[0] for text in arguments}
    assert passed == (of_the_container & of_the_job) | {"model_file"}
    assert "cuda_graphs" in passed


def test_flags_for_one_mode() -> None:
    both = flags("--endpoint_batch_size=8")
    assert both.inference_mode is None
    assert both.in_mode("endpoint").needs_container
    assert both.in_mode("local").for_job() == [
        f"--model_path={DEFAULT}",
        "--endpoint_batch_size=8",
        "--inference_mode=local",
    ]


def test_an_empty_flag_is_not_given() -> None:
    given = ("--inference_mode=endpoint", "--endpoint=", "--endpoint_url=", "--model_class=", "--model_path=")
    found = flags(*given)
    assert found.needs_container
    assert found.for_container() == flags("--inference_mode=endpoint").for_container()
    assert flags("--model_path=").for_job() == [f"--model_path={DEFAULT}", "--model_path="]


def test_a_flag_without_its_value_is_left_for_the_job_to_refuse() -> None:
    assert flags("--model_path").for_job() == ["--model_path"]
    assert flags("--inference_mode").inference_mode == ""


@pytest.mark.parametrize("arguments", [["--inference_mode=endpoint"], []])
def test_a_triton_that_is_started_here_is_installed_before(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(installation, "BINARY", tmp_path / "none")
    monkeypatch.setattr(installation, "why_not", lambda: "")
    modes = () if arguments else ("local", "endpoint")
    found = flags(*arguments, "--endpoint_protocol=triton")
    says = "Triton is not installed here"
    assert says in " ".join(found.problems(NAMES, modes))
    url = "--endpoint_url=http://127.0.0.1:8000/v2/models/m/infer"
    assert says not in " ".join(found.followed_by([url]).problems(NAMES, modes))
