"""Each test starts a Python of its own: where modules are looked for is settled when a process starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.process import user_modules
from pipeline.process.user_modules import explain_hidden_module
from tests.waiting import LIMIT_S

ROOT = Path(__file__).parents[3]
IMPORT = "from pipeline.process.user_modules import import_user_module as find\nimport sys\n"


def python(folder: Path, code: str, *flags: str, path: str = str(ROOT)) -> str:
    """Return what `code` prints in a Python with these flags, started in `folder`."""
    ran = subprocess.run(
        [sys.executable, *flags, "-c", IMPORT + code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_the_working_folder_is_searched_last_and_added_once(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import beside\n")
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "queue.py").write_text("raise RuntimeError\n")
    code = "find('mine'), find('beside'), find('queue')\nprint(sys.path.index(sys.argv[1]) - len(sys.path))"
    code = code.replace("sys.argv[1]", repr(str(tmp_path)))
    assert python(tmp_path, code, "-P") == "-1"


def test_what_the_user_has_on_pythonpath_comes_before_it(tmp_path: Path) -> None:
    for folder in ("library", "here"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text("")
    found = python(
        tmp_path / "here", "print(find('mine').__file__)", "-P", path=f"{ROOT}:{tmp_path / 'library'}"
    )
    assert found == str(tmp_path / "library/mine.py")


def test_without_safe_path_the_search_is_pythons_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    code = "before = list(sys.path)\nfind('mine')\nprint(sys.path == before, sys.path[0] == '')"
    assert python(tmp_path, code) == "True True"


def test_processes_below_have_safe_path_where_this_one_has_it(tmp_path: Path) -> None:
    code = "from pipeline.process.user_modules import module_command\n"
    code += "print(module_command('broker', '--port=0')[1:])"
    assert python(tmp_path, code) == "['-m', 'broker', '--port=0']"
    assert python(tmp_path, code, "-P") == "['-P', '-m', 'broker', '--port=0']"


class TestExplainHiddenModule:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(tmp_path)
        return tmp_path

    @pytest.mark.parametrize("name", ["pipeline", "pipeline.hooks"])
    def test_a_module_of_ours(self, folder: Path, name: str) -> None:
        (folder / "pipeline.py").write_text("")
        assert explain_hidden_module(name) == (
            f"; the module pipeline that is found is {ROOT / 'pipeline/__init__.py'}, "
            f"not {folder / 'pipeline.py'}: give yours another name"
        )

    def test_a_folder(self, folder: Path) -> None:
        (folder / "examples").mkdir()
        assert f"not {folder / 'examples'}: give" in explain_hidden_module("examples.mine")

    def test_by_a_namespace_package(
        self, folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere") / "hooks_somewhere"
        elsewhere.mkdir()
        monkeypatch.syspath_prepend(str(elsewhere.parent))
        (folder / "hooks_somewhere").mkdir()
        assert explain_hidden_module("hooks_somewhere.mine") == (
            f"; the module hooks_somewhere that is found is {elsewhere}, "
            f"not {folder / 'hooks_somewhere'}: give yours another name"
        )

    def test_a_module_beside_a_folder_of_its_name(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "pipeline").mkdir()
        (folder / "pipeline.py").write_text("")
        assert f"not {folder / 'pipeline.py'}: give" in explain_hidden_module("pipeline")
        assert f"not {folder / 'pipeline'}: give" in explain_hidden_module("pipeline.hooks")
        monkeypatch.syspath_prepend(str(folder))
        (folder / "mine").mkdir()
        (folder / "mine.py").write_text("")
        assert explain_hidden_module("mine") == ""
        assert f"is {folder / 'mine.py'}, not {folder / 'mine'}: give" in explain_hidden_module("mine.hooks")

    def test_one_that_is_built_in(self, folder: Path) -> None:
        (folder / "time.py").write_text("")
        assert explain_hidden_module("time").startswith("; the module time that is found is built-in, not ")

    def test_nothing_is_hidden(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert explain_hidden_module("pipeline") == ""
        monkeypatch.syspath_prepend(str(folder))
        (folder / "mine.py").write_text("")
        (folder / "package").mkdir()
        assert explain_hidden_module("mine") == ""
        assert explain_hidden_module("package.missing") == ""
        (folder / "nowhere.txt").write_text("")
        assert explain_hidden_module("nowhere") == ""

    def test_the_installation_itself_is_not_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(Path(user_modules.__file__).parents[2])
        assert explain_hidden_module("pipeline") == ""
