import tempfile
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, StandardOptions

from pipeline.engine.choice import runs_in_process
from pipeline.job.command_line import BeamFlags, job_options, pipeline_options, problems
from pipeline.job.main import main
from pipeline.options.job_options import FLAGS
from pipeline.process.image import HAS_COMPILER

MODEL = str(Path(__file__).parents[3] / "examples/breast_cancer/model.pt2")
GOOD = {
    "input_subscription": "projects/my-project/subscriptions/requests",
    "output_topic": "projects/my-project/topics/results",
    "dead_letter_topic": "projects/my-project/topics/dead-letters",
    "model_path": MODEL,
}

POINTER = {"model_path": None, "model_pointer": MODEL}
ENDPOINT = {"inference_mode": "endpoint", "endpoint_url": "http://127.0.0.1:8080/predict"}

DATAFLOW = {
    "runner": "DataflowRunner",
    "project": "my-project",
    "region": "us-central1",
    "temp_location": "gs://my-bucket/temp",
}


def line(**changes: str | None) -> list[str]:
    return [f"--{name}={value}" for name, value in {**GOOD, **changes}.items() if value is not None]


def test_nothing_is_wrong() -> None:
    assert problems(line()) == []


def test_options_are_typed() -> None:
    job = job_options(PipelineOptions(line(max_batch_size="7", run_for_s="2.5", input_shape="3x4")))
    assert (job.max_batch_size, job.run_for_s, job.publish_deadline_s) == (7, 2.5, 60.0)
    assert job.input_shape.tensors[0].shape == (3, 4)
    assert job.model_class is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"input_subscription": None}, "--input_subscription: missing"),
        ({"input_subscription": "requests"}, "--input_subscription: 'requests' is not the full name"),
        ({"output_topic": "projects/p/topics/results"}, "--output_topic: "),
        (
            {"output_topic": "projects/my-project/topics/dead-letters"},
            "--dead_letter_topic: the same topic as --output_topic",
        ),
        ({"dead_letter_topic": "projects/my-project/subscriptions/x12"}, "--dead_letter_topic: "),
        ({"model_path": None}, "--model_path: missing"),
        ({"model_path": "/no/such/model.pt2"}, "--model_path: there is no file '/no/such/model.pt2'"),
        (
            {**POINTER, "model_pointer": "/no/such/current"},
            "--model_pointer: there is no file '/no/such/current'",
        ),
        ({"model_pointer": MODEL}, "--model_pointer: says which model to run, and so does --model_path"),
        ({**POINTER, "compile": "true"}, "--compile: true cannot go with --model_pointer"),
        ({"model_root": "/models"}, "--model_root: needs --model_pointer"),
        ({"model_refresh_s": "0"}, "--model_refresh_s: '0' is not a number of seconds above 0"),
        ({"decode_hook": "decode"}, "--decode_hook: 'decode' is not module:function"),
        ({"max_batch_wait_ms": "-1"}, "--max_batch_wait_ms: '-1' is not a number of milliseconds"),
        ({"device": "cuda"}, "--device: 'cuda' is not one of: cpu, gpu, auto"),
        ({"precision": "int8"}, "--precision: 'int8' is not one of: fp32, fp16, bf16"),
        ({"compile": "yes"}, "--compile: 'yes' is neither true nor false"),
        ({"torch_threads": "0"}, "--torch_threads: '0' is not a whole number from 1"),
        ({"worker_processes": "2"}, "--worker_processes: '2' is not one of: per_cpu, single"),
        ({"worker_processes": "single"}, "--worker_processes: works on Dataflow only"),
        (
            {**DATAFLOW, "worker_processes": "single", "experiments": "a,use_multiple_sdk_containers"},
            "--experiments: use_multiple_sdk_containers contradicts --worker_processes=single",
        ),
        (
            {**DATAFLOW, "experiments": "no_use_multiple_sdk_containers"},
            "use --worker_processes=single instead",
        ),
        ({"model_class": "Sum"}, "--model_class: 'Sum' is not module:Class"),
        ({"model_params": "{}"}, "--model_params: needs --model_class"),
        ({"model_params": "[1]", "model_class": "a:B"}, "--model_params: '[1]' is not a JSON object"),
        ({"model_params": "{", "model_class": "a:B"}, "--model_params: '{' is not JSON"),
        ({"input_shape": "three"}, "--input_shape: 'three' is not a shape"),
        ({"max_batch_size": "0"}, "--max_batch_size: '0' is not a whole number from 1"),
        ({"max_batch_size": "1e3"}, "--max_batch_size: "),
        ({"run_for_s": "-1"}, "--run_for_s: '-1' is not a number of seconds above 0"),
        ({"publish_deadline_s": "0"}, "--publish_deadline_s: "),
        ({"inference_mode": "remote"}, "--inference_mode: 'remote' is not one of: local, endpoint"),
        ({"runner": "PrismRunner"}, "--runner: PrismRunner is refused"),
        ({"runner": "FlinkRunner"}, "--runner: FlinkRunner is refused"),
        ({"direct_num_workers": "2"}, "--direct_num_workers: 2 is refused, only 1 works"),
        ({"direct_num_workers": "0"}, "--direct_num_workers: 0 is refused"),
        ({"direct_running_mode": "multi_processing"}, "--direct_running_mode: multi_processing is refused"),
        ({**DATAFLOW, "run_for_s": "5"}, "--run_for_s: works off Dataflow only"),
        (
            {"output_table": "my-project:predictions.results"},
            "--output_table: works on Dataflow only: writing to BigQuery shuffles",
        ),
        ({**DATAFLOW, "output_table": "predictions.results"}, "'predictions.results' is not the full name"),
        ({**DATAFLOW, "model_path": "model.pt2"}, "--model_path: 'model.pt2' is not an absolute path"),
        (
            {**DATAFLOW, **POINTER, "model_pointer": "current"},
            "--model_pointer: 'current' is not an absolute path",
        ),
        (
            {**DATAFLOW, **POINTER, "model_root": "models"},
            "--model_root: 'models' is not an absolute path",
        ),
        ({**DATAFLOW, "model_path": ""}, "--model_path: missing. --inference_mode=local needs a model file"),
        ({"input_subscription": ""}, "--input_subscription: missing. Where requests come from"),
        ({**DATAFLOW, "region": ""}, "--region: missing. --runner=DataflowRunner needs it"),
        ({"modle_path": ""}, "--modle_path: there is no such flag"),
        ({**DATAFLOW, "region": None}, "--region: missing. --runner=DataflowRunner needs it"),
        ({"max_active_bundles_per_worker": "4"}, "--max_active_bundles_per_worker: works on Dataflow only"),
        ({"inference_mode": "endpoint"}, "--endpoint: missing"),
        ({"endpoint": "a/b"}, "--endpoint: 'a/b' is neither"),
        ({"inference_mode": "endpoint", "endpoint": "12"}, "--endpoint_location: missing"),
        (
            {"inference_mode": "endpoint", "endpoint": "12", "endpoint_location": "us-central1"},
            "--project: missing",
        ),
        ({**ENDPOINT, "endpoint_url": "http://127.0.0.1:8080"}, "--endpoint_url: "),
        ({**ENDPOINT, "endpoint_url": "127.0.0.1:8080"}, "is not a URL such as"),
        ({"endpoint_token_host": "https://a"}, "--endpoint_token_host: 'https://a' is not a host"),
        ({**ENDPOINT, "endpoint_token_host": "a.internal"}, "--endpoint_token_host: needs --endpoint"),
        (
            {
                "inference_mode": "endpoint",
                "endpoint": "projects/my-project/locations/us-central1/endpoints/12",
                "endpoint_url": "https://evil.example",
            },
            "--endpoint_url: evil.example is not one of Google's hosts",
        ),
        ({"endpoint_location": "Belgium"}, "--endpoint_location: 'Belgium' is not a region"),
        (
            {**ENDPOINT, "endpoint_protocol": "grpc"},
            "--endpoint_protocol: 'grpc' is not one of: predict, raw, triton",
        ),
        (
            {**ENDPOINT, "endpoint_protocol": "raw", "input_shape": "ids:int64:8,mask:bool:8"},
            "--endpoint_protocol: raw carries one tensor; several inputs need predict or triton",
        ),
        ({**ENDPOINT, "endpoint_batch_size": "0"}, "--endpoint_batch_size: "),
        ({**ENDPOINT, "endpoint_max_concurrency": "1001"}, "--endpoint_max_concurrency: "),
        ({**ENDPOINT, "endpoint_timeout_s": "0"}, "--endpoint_timeout_s: "),
        ({**ENDPOINT, "endpoint_deadline_s": "soon"}, "--endpoint_deadline_s: "),
        ({**ENDPOINT, "endpoint_scale_up_wait_s": "-1"}, "--endpoint_scale_up_wait_s: "),
        ({"modle_path": "x"}, "--modle_path: there is no such flag"),
        ({"direct_num_workers": "two"}, "--direct_num_workers: invalid int value: 'two'; see --help"),
    ],
)
def test_each_wrong_flag_is_one_line(changes: dict[str, str | None], expected: str) -> None:
    (found,) = problems(line(**changes))
    assert expected in found


@pytest.mark.parametrize(
    "changes",
    [
        {**ENDPOINT, "model_path": None},
        # One flag switches: the other mode's may stay.
        {**ENDPOINT, "inference_mode": "local"},
        {**ENDPOINT, "endpoint": None, "endpoint_protocol": "raw"},
        {**DATAFLOW, **ENDPOINT, "max_active_bundles_per_worker": "4"},
        {**DATAFLOW, "output_table": "my-project:predictions.results"},
        {**ENDPOINT, "model_path": "models/a.pt2", "model_pointer": "models/current"},
        # In the image; only the worker can look.
        {**DATAFLOW, "model_path": "/no/such/model.pt2"},
        {**DATAFLOW, **POINTER, "model_pointer": "/no/such/current", "model_root": "/no/such"},
        # Nor does anybody look on another filesystem.
        {"model_path": "gs://my-bucket/model.pt2"},
        {**POINTER, "model_pointer": "gs://my-bucket/current", "model_root": "gs://my-bucket/models"},
        {**DATAFLOW, "model_path": "gs://my-bucket/model.pt2"},
        {**DATAFLOW, **POINTER, "model_pointer": "gs://my-bucket/current", "model_root": "gs://my-bucket/"},
        {**POINTER, "max_batch_wait_ms": "0", "allow_nan": "true", "decode_hook": "my.hooks:decode"},
        # Slow, and right.
        {"device": "cpu", "precision": "fp16", "compile": "true"},
        {**DATAFLOW, "worker_processes": "single"},
        {**DATAFLOW, "worker_processes": "single", "experiments": "no_use_multiple_sdk_containers"},
        {**DATAFLOW, "worker_processes": "per_cpu", "experiments": "use_multiple_sdk_containers"},
        {**DATAFLOW, "inference_mode": "endpoint", "endpoint": "12", "endpoint_location": "us-central1"},
    ],
)
def test_either_mode(changes: dict[str, str | None]) -> None:
    assert problems(line(**changes)) == []


OPTIONAL = [flag.name for flag in FLAGS if not flag.required]


@pytest.mark.parametrize(
    "name", [*OPTIONAL, "service_account_email", "num_workers", "experiments", "network"]
)
@pytest.mark.parametrize("words", [["--{}="], ["--{}", ""]], ids=["=", "two words"])
def test_an_empty_flag_is_not_given(name: str, words: list[str]) -> None:
    """As workflow tools and templates write it; wherever it stands."""
    empty = [word.format(name) for word in words]
    given = [*line(**DATAFLOW, input_shape="3", model_path=None), "--model_path=/models/m.pt2"]
    plain = pipeline_options([text for text in given if text.partition("=")[0] != f"--{name}"])
    for argv in (
        [*empty, *(text for text in given if text.partition("=")[0] != f"--{name}")],
        [*(text for text in given if text.partition("=")[0] != f"--{name}"), *empty],
    ):
        options = pipeline_options(argv)
        assert options.get_all_options() == plain.get_all_options()
        assert job_options(options) == job_options(plain)
        assert problems(argv) == problems([text for text in argv if text not in empty])
    assert problems([*given, *empty]) == []


def test_all_empty_at_once() -> None:
    argv = [*line(), *(f"--{name}=" for name in OPTIONAL if name != "model_path")]
    assert problems(argv) == []
    assert job_options(pipeline_options(argv)) == job_options(pipeline_options(line()))


def test_all_problems_at_once() -> None:
    found = problems(line(output_topic="x", max_batch_size="x", runner="PrismRunner"))
    assert [text.split(":")[0] for text in found] == ["--output_topic", "--max_batch_size", "--runner"]


def test_a_wrong_flag_of_beams_hides_no_other() -> None:
    found = problems([*line(max_batch_size="0"), "--direct_num_workers=two", "--wrong", "1"])
    assert [text.split(":")[0] for text in found] == ["--direct_num_workers", "--wrong", "--max_batch_size"]


def test_abbreviations_and_words_are_refused() -> None:
    assert problems([*line(), "--max_batch=3", "stray"]) == [
        "--max_batch: there is no such flag; did you mean --max_batch_size?",
        "stray: not a flag; write --name=value",
    ]


def test_a_template_launch_may_bring_unknown_flags(caplog: pytest.LogCaptureFixture) -> None:
    """The service adds flags of its own, which Beam may not know yet."""
    launch = line(**DATAFLOW, template_location="gs://my-bucket/job", added_by_the_service="1")
    assert problems(launch) == []
    assert [record.getMessage() for record in caplog.records] == [
        "--added_by_the_service: there is no such flag; ignored"
    ]
    assert problems([*launch, "stray"]) == ["stray: not a flag; write --name=value"]
    assert len(problems([*launch, "--max_batch_size=0"])) == 1


def test_main_exits_2_with_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line(output_topic="x", max_batch_size="0")) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [text.split(":")[0] for text in lines] == ["--output_topic", "--max_batch_size"]


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for flag in FLAGS:
        assert f"--{flag.name} VALUE {flag.help}" in text
        if flag.default is not None:
            assert f"{flag.help} Default: {flag.default}." in text
    assert "--temp_location" not in text
    assert "--help_beam" in text


def test_beams_flags_are_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help_beam"]) == 0
    text = capsys.readouterr().out
    assert text.index("--input_subscription") < text.index("--temp_location")


def test_both_spellings_are_taken() -> None:
    spelt = [text.replace("_", "-", 1) for text in line(max_batch_size="7", direct_num_workers="1")]
    spelt += ["--output-topic", "projects/my-project/topics/later"]
    assert problems(spelt) == []
    options = pipeline_options(spelt)
    assert job_options(options).max_batch_size == 7
    assert job_options(options).output_topic == "projects/my-project/topics/later"
    assert problems([*line(), "--model-paht=x"]) == [
        "--model-paht: there is no such flag; did you mean --model_path?"
    ]


def test_surroundings_are_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "https://127.0.0.1:8085")
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc"])
    assert main(line()) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("PUBSUB_EMULATOR_HOST=https://127.0.0.1:8085: an emulator speaks without TLS")
    assert second.startswith("no folder for temporary files can be written to")


@pytest.mark.parametrize(
    ("runner", "expected"),
    [(None, True), ("DirectRunner", True), ("FnApiRunner", True), ("DataflowRunner", False)],
)
def test_runner(runner: str | None, expected: bool) -> None:
    assert runs_in_process(PipelineOptions(line(runner=runner))) is expected


@pytest.mark.parametrize(
    ("changes", "experiments"),
    [
        ({}, None),
        ({"worker_processes": "per_cpu", "experiments": "a"}, ["a"]),
        ({"worker_processes": "single"}, ["no_use_multiple_sdk_containers"]),
        ({"worker_processes": "single", "experiments": "a"}, ["a", "no_use_multiple_sdk_containers"]),
        (
            {"worker_processes": "single", "experiments": "no_use_multiple_sdk_containers"},
            ["no_use_multiple_sdk_containers"],
        ),
    ],
)
def test_one_process_is_an_experiment_of_dataflow(
    changes: dict[str, str | None], experiments: list[str] | None
) -> None:
    options = pipeline_options(line(**DATAFLOW, **changes))
    assert options.view_as(DebugOptions).experiments == experiments
    assert options.view_as(StandardOptions).streaming is True


def test_every_flag_is_a_single_text() -> None:
    """The template launcher passes --name=value and nothing else."""
    options = PipelineOptions(line()).view_as(BeamFlags)
    assert all(isinstance(getattr(options, flag.name), str | None) for flag in FLAGS)


def test_compiling_in_an_image_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = line(compile="true")
    monkeypatch.setenv(HAS_COMPILER, "true")
    assert problems(argv) == []
    monkeypatch.setenv(HAS_COMPILER, "false")
    (problem,) = problems(argv)
    assert "--compile: true needs a C++ compiler, and this image was built without" in problem
    assert problems(line(compile="false")) == []
