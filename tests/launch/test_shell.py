"""Commands are run or printed, and whatever goes wrong is one line that says what to do."""

from __future__ import annotations

import io
import shlex
import sys
from pathlib import Path

import pytest

from launch.cloud.shell import CommandError, Shell


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


@pytest.fixture
def gcloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a stand-in for gcloud on PATH: its files `stderr` and `code` are what it says, and how it ends."""
    program = tmp_path / "gcloud"
    program.write_text(f'#!/bin/sh\ncat "{tmp_path}/stderr" >&2\nexit "$(cat "{tmp_path}/code")"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def test_returns_what_was_printed() -> None:
    out = io.StringIO()
    shell = Shell(dry_run=False, out=out)
    assert shell.run(python("print('a b')")) == "a b\n"
    assert shell.read(python("print('[{\"id\": 1}]')")) == [{"id": 1}]
    shell.note("going on")
    assert out.getvalue() == "going on\n"


def test_a_dry_run_prints_what_a_shell_reads_back_and_runs_nothing(tmp_path: Path) -> None:
    out = io.StringIO()
    shell = Shell(dry_run=True, out=out)
    made = tmp_path / "made"
    argv = ["touch", str(made), "two words", "$HOME", "^~^a=b~c=d", "it's;x"]
    assert shell.run(argv) == ""
    assert shell.read(argv) is None
    shell.note("a note")
    first, second, note = out.getvalue().splitlines()
    assert shlex.split(first) == shlex.split(second) == argv
    assert note == "# a note"
    assert not made.exists()


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        (
            "ERROR: (gcloud.ai.models.upload) PERMISSION_DENIED: Permission 'aiplatform.models.upload' "
            "denied. This command is authenticated as a@b.c which is the active account specified by the "
            "[core/account] property.\n- '@type': type.googleapis.com/google.rpc.ErrorInfo\n  reason: X\n",
            "PERMISSION_DENIED: Permission 'aiplatform.models.upload' denied – the account that gcloud uses "
            "(gcloud auth list) needs this permission in the project",
        ),
        (
            "Using endpoint [https://x/]\nERROR: (gcloud.ai.models.upload) NOT_FOUND: no such project\n",
            "NOT_FOUND: no such project – check the name, --project and --region",
        ),
        (
            "ERROR: (gcloud.ai.models.upload) ALREADY_EXISTS: m exists\n",
            "ALREADY_EXISTS: m exists – choose another name, or wait until the other operation on it has "
            "ended",
        ),
        (
            "ERROR: (gcloud.ai.models.upload) RESOURCE_EXHAUSTED: Quota 'L4' exceeded, permission denied\n",
            "RESOURCE_EXHAUSTED: Quota 'L4' exceeded, permission denied – ask for more quota, or for fewer "
            "or smaller machines, or use another region",
        ),
        (
            "ERROR: (gcloud.ai.models.upload) You do not currently have an active account selected.\n"
            "Please run:\n\n  $ gcloud auth login\n\nto obtain new credentials.\n",
            "You do not currently have an active account selected – log in: gcloud auth login",
        ),
        (
            "ERROR: (gcloud.ai.models.upload) PERMISSION_DENIED: Vertex AI API has not been used in project "
            "1\n",
            "PERMISSION_DENIED: Vertex AI API has not been used in project 1 – switch the API on: "
            "gcloud services enable",
        ),
        (
            "ERROR: (gcloud.auth.application-default.print-access-token) Your default credentials were "
            "not found.",
            "Your default credentials were not found – log in for programs, too: "
            "gcloud auth application-default login",
        ),
        (
            "ERROR: (gcloud.ai.endpoints.list) PERMISSION_DENIED: Caller does not have required permission "
            "to use project p-1. Grant the caller a role with the serviceusage.services.use permission\n",
            "PERMISSION_DENIED: Caller does not have required permission to use project p-1. Grant the "
            "caller a role with the serviceusage.services.use permission – the account needs "
            "serviceusage.services.use (role Service Usage Consumer) in the project that its calls are "
            "counted for, or name another: gcloud config set billing/quota_project PROJECT",
        ),
        (
            "ERROR: (gcloud.ai.endpoints.list) [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed",
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed – have SSL_CERT_FILE, and gcloud "
            "config set core/custom_ca_certs_file, name a file of all certificate authorities that are "
            "trusted, your own too",
        ),
        ("something\nunheard of\n", "unheard of"),
        ("", "it ended with exit code 3 and said nothing"),
    ],
)
def test_a_refusal_is_one_line_with_its_fix(gcloud: Path, stderr: str, expected: str) -> None:
    (gcloud / "stderr").write_text(stderr)
    (gcloud / "code").write_text("3")
    with pytest.raises(CommandError) as caught:
        Shell(dry_run=False).run(["gcloud", "ai", "models", "upload", "--region=x"])
    assert str(caught.value) == f"gcloud ai models upload: {expected}"


def test_a_failure_that_ends_with_0_is_seen(gcloud: Path) -> None:
    (gcloud / "stderr").write_text("Failed to drain job [1]: (2): The job is not running.\n")
    (gcloud / "code").write_text("0")
    with pytest.raises(CommandError, match="^gcloud dataflow jobs drain: Failed to drain job .*not running$"):
        Shell(dry_run=False).run(["gcloud", "dataflow", "jobs", "drain", "1"])


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="^gcloud was not found: install the Google Cloud CLI"):
        Shell(dry_run=False).run(["gcloud", "info"])
    with pytest.raises(CommandError, match="^docker was not found: install it"):
        Shell(dry_run=False).run(["docker", "build"])
    (tmp_path / "docker").write_text("")
    with pytest.raises(CommandError, match="^docker cannot be started: Permission denied"):
        Shell(dry_run=False).run(["docker", "build"])


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(CommandError, match="expected JSON, it printed 'hello"):
        Shell(dry_run=False).read(python("print('hello')"))
