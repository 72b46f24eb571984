"""Model files that would run code, or take the machine's memory: refused, and nothing of them has run."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.model.files import archive
from pipeline.model.load import load
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec
from tests.pipeline.model.files import hostile
from tests.pipeline.model.files.hostile import (
    CONSTANTS,
    EXAMPLES,
    PROGRAM,
    WEIGHTS,
    Bomb,
    Parts,
    pickled,
    replaced,
    touching,
    with_json,
)
from tests.pipeline.model.files.test_model_files import export
from tests.pipeline.models import Layers

SPEC = InputSpec.parse("3")

Change = Callable[[Parts, Path], Parts]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return hostile.parts_of(export(tmp_path_factory.mktemp("base") / "m.pt2", module=Layers()))


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "marker"
    assert not (tmp_path / "marker").exists(), "it ran"


def refused(path: str, part: str) -> None:
    with pytest.raises(ModelError, match=rf"^--model_path: {path} is refused: its part {part}"):
        load(path, SPEC, max_batch_size=2).predict([SPEC.zeros()])


def in_program(change: Callable[[Any, str], None]) -> Change:
    return lambda parts, marker: with_json(parts, PROGRAM, lambda program: change(program, touching(marker)))


def _guards(program: Any, code: str) -> None:
    program["guards_code"] = [f"{code} is None"]


def _expression(program: Any, code: str) -> None:
    for tensor in program["graph_module"]["graph"]["tensor_values"].values():
        for size in tensor["sizes"]:
            if "as_expr" in size:
                size["as_expr"]["expr_str"] = f"({code}, {size['as_expr']['expr_str']})[1]"
                return


def _renamed(program: Any, code: str) -> None:
    # torch writes the inputs' names into the source of a function.
    text = json.dumps(program)
    name = program["graph_module"]["graph"]["inputs"][0]["as_tensor"]["name"]
    program.update(json.loads(text.replace(f'"{name}"', json.dumps(f"{name}={code}"))))


def _argument_name(program: Any, code: str) -> None:
    for entry in program["graph_module"]["module_call_graph"]:
        if entry["signature"]:
            entry["signature"]["forward_arg_names"] = [f"features={code}"]


def _keyword(program: Any, code: str) -> None:
    program["graph_module"]["graph"]["nodes"][0] |= {
        "target": "torch.ops.higher_order.cond",
        "inputs": [{"name": f"a={code}, b", "arg": {"as_int": 1}, "kind": 2}],
    }


def _parameter(program: Any, code: str) -> None:
    for spec in program["graph_module"]["signature"]["input_specs"]:
        if "parameter" in spec:
            spec["parameter"]["parameter_name"] = f'0")+str({code})+str("'


def _spec(kind: str, context: Any) -> Callable[[Any, str], None]:
    def change(program: Any, code: str) -> None:
        for entry in program["graph_module"]["module_call_graph"]:
            if entry["signature"]:
                node = {"type": kind, "context": context, "children_spec": []}
                entry["signature"]["out_spec"] = json.dumps([1, node])

    return change


def _node(target: str) -> Change:
    def change(parts: Parts, marker: Path) -> Parts:
        def add(program: Any) -> None:
            graph = program["graph_module"]["graph"]
            graph["tensor_values"]["evil"] = next(iter(graph["tensor_values"].values()))
            arguments = {
                "filename": {"as_string": str(marker)},
                "shared": {"as_bool": True},
                "size": {"as_int": 30},
            }
            graph["nodes"].append(
                {
                    "target": target,
                    "inputs": [{"name": name, "arg": value, "kind": 1} for name, value in arguments.items()],
                    "outputs": [{"as_tensor": {"name": "evil"}}],
                    "metadata": {},
                    "name": "evil",
                }
            )

        return with_json(parts, PROGRAM, add)

    return change


def _second_model(parts: Parts, marker: Path) -> Parts:
    copies = {PROGRAM: "models/.json", WEIGHTS: "data/weights/_weights_config.json"}
    copies[CONSTANTS] = "data/constants/_constants_config.json"
    more = [(copies[name], content) for name, content in parts if name in copies]
    return [*parts, *more, ("data/sample_inputs/.pt", pickled((Bomb(marker), {})))]


def _pickled_weight(path_name: str) -> Change:
    def change(parts: Parts, marker: Path) -> Parts:
        def point(config: Any) -> None:
            next(iter(config["config"].values())).update(use_pickle=True, path_name=path_name)

        # The part is one that the archive may have; what its bytes are, the configuration says.
        kept = [each for each in parts if each[0] != f"data/weights/{path_name}"]
        return [*with_json(kept, WEIGHTS, point), (f"data/weights/{path_name}", pickled(Bomb(marker)))]

    return change


def _opaque_constant(parts: Parts, marker: Path) -> Parts:
    def point(config: Any) -> None:
        next(iter(config["config"].values())).update(path_name="opaque_obj_0")

    return [*with_json(parts, CONSTANTS, point), ("data/constants/opaque_obj_0", pickle.dumps(Bomb(marker)))]


def _examples_twice(parts: Parts, marker: Path) -> Parts:
    return [(EXAMPLES, pickled((Bomb(marker), {}))), *parts]


def _examples_as(name: str) -> Change:
    def change(parts: Parts, marker: Path) -> Parts:
        kept = [each for each in parts if each[0] != EXAMPLES]
        return [*kept, (name, pickled((Bomb(marker), {})))]

    return change


def _native_library(parts: Parts, marker: Path) -> Parts:
    folder = "data/aotinductor/evil"
    metadata = b'{"AOTI_DEVICE_KEY":"cpu"}'
    return [*parts, (f"{folder}/x.wrapper.so", b"\x7fELF"), (f"{folder}/x.wrapper_metadata.json", metadata)]


ENUM = json.dumps({"__enum__": True, "fqn": "os:system", "name": "x"})
DEFAULTS = {"default_factory_module": "antigravity", "default_factory_name": "x", "dict_context": []}

EXPORTS: dict[str, tuple[Change, str]] = {
    "symbolic expression": (in_program(_expression), f"{PROGRAM} holds the symbolic expression"),
    "second model": (_second_model, r"(models/\.json|data/\S*) is none"),
    "pickled weight as custom_obj_": (_pickled_weight("custom_obj_0"), "data/weights/custom_obj_0 is none"),
    "pickled weight": (_pickled_weight("weight_0"), "data/weights/weight_0 holds more than tensors"),
    "opaque constant": (_opaque_constant, "data/constants/opaque_obj_0 is none"),
    "examples twice": (_examples_twice, f"{EXAMPLES} is there twice"),
    "examples, suffix in capitals": (_examples_as("data/sample_inputs/model.PT"), r"data/\S*\.PT is none"),
    "examples, name in capitals": (_examples_as("data/sample_inputs/MODEL.PT"), r"data/\S*\.PT is none"),
    "examples": (
        lambda parts, marker: replaced(parts, EXAMPLES, pickled((Bomb(marker), {}))),
        f"{EXAMPLES} holds more than tensors",
    ),
    "examples that are no archive": (
        lambda parts, marker: replaced(parts, EXAMPLES, pickle.dumps((Bomb(marker), {}))),
        f"{EXAMPLES} holds more than tensors",
    ),
    "native library": (_native_library, "data/aotinductor/evil/x.wrapper.so is none"),
    "from_file": (_node("torch.ops.aten.from_file.default"), f"{PROGRAM} holds the operator 'torch.ops"),
    "a function of torch": (_node("torch.load"), f"{PROGRAM} holds the operator 'torch.load'"),
    "a function of operator": (_node("_operator.attrgetter"), f"{PROGRAM} holds the operator"),
    "a function of another module": (_node("math.os.system"), f"{PROGRAM} holds the operator"),
    "an extension": (_node("#evil:op"), f"{PROGRAM} holds the operator"),
    "input's name": (in_program(_renamed), f"{PROGRAM} holds (the name|tensor_values)"),
    "argument's name": (in_program(_argument_name), f"{PROGRAM} holds forward_arg_names"),
    "keyword": (in_program(_keyword), f"{PROGRAM} holds the name"),
    "parameter's name": (in_program(_parameter), f"{PROGRAM} holds parameter_name"),
    "enumeration of any module": (in_program(_spec("builtins.dict", ENUM)), f"{PROGRAM} holds out_spec"),
    "default of any module": (in_program(_spec("collections.defaultdict", DEFAULTS)), f"{PROGRAM} holds out"),
    "key that torch does not write": (
        in_program(lambda program, code: program.update(evil=code)),
        f"{PROGRAM} holds evil, which is not among what is loaded",
    ),
    "deep": (
        lambda parts, marker: replaced(parts, PROGRAM, b"[" * 100_000 + b"]" * 100_000),
        f"{PROGRAM} is damaged: maximum recursion depth",
    ),
    "less deep": (
        lambda parts, marker: replaced(parts, PROGRAM, b'{"arg":' * 300 + b"{}" + b"}" * 300),
        f"{PROGRAM} is nested deeper than 200",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPORTS)
def test_export(base: Parts, marker: Path, tmp_path: Path, name: str) -> None:
    change, part = EXPORTS[name]
    refused(hostile.write(tmp_path / "evil.pt2", change(base, marker)), part)


def test_guards_are_not_run(base: Parts, marker: Path, tmp_path: Path) -> None:
    path = hostile.write(tmp_path / "m.pt2", in_program(_guards)(base, marker))
    (prediction,) = load(path, SPEC, max_batch_size=2).predict([SPEC.zeros()])
    assert set(prediction) == {"scores", "best"}


def test_as_it_is_it_loads(base: Parts, tmp_path: Path) -> None:
    assert load(hostile.write(tmp_path / "m.pt2", base), SPEC).predict([SPEC.zeros()])


def test_a_link_that_is_flipped(
    base: Parts, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Path(hostile.write(tmp_path / "good.pt2", base))
    change, _ = EXPORTS["examples"]
    evil = Path(hostile.write(tmp_path / "evil.pt2", change(base, marker)))
    (tmp_path / "m.pt2").symlink_to(good)

    def flip(*arguments: Any, load: Callable[..., Any] = torch.export.load, **named: Any) -> Any:
        (tmp_path / "m.pt2").unlink()
        (tmp_path / "m.pt2").symlink_to(evil)
        good.write_bytes(evil.read_bytes())
        return load(*arguments, **named)

    # The worst moment: all checks are done.
    monkeypatch.setattr(torch.export, "load", flip)
    model = load(str(tmp_path / "m.pt2"), SPEC)
    assert model.predict([SPEC.zeros()])


class WithFile(torch.nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum(dim=1) + torch.from_file(self.name, True, 30)[0]


class WithSave(torch.nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, self.name)
        return x.sum(dim=1)


@pytest.mark.parametrize("kind", [WithFile, WithSave])
def test_torchscript_that_writes_files(
    kind: Callable[[str], torch.nn.Module], marker: Path, tmp_path: Path
) -> None:
    torch.jit.script(kind(str(marker))).save(str(tmp_path / "m.pt"))
    refused(str(tmp_path / "m.pt"), r"code/\S*\.py names (from_file|save), which may do more than compute")


SUM = "code/__torch__/tests/pipeline/models.py"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        # Where a method is compiled, which is as the file is loaded, its defaults are computed.
        ("def evil(self, a: Tensor=torch.from_file({marker}, True, 9)) -> Tensor:\n    return a", "names fr"),
        ("def evil(self) -> Tensor:\n    return ops.aten.from_file({marker}, True, 30)", "names from_file"),
        ('def evil(self) -> Tensor:\n    return getattr(torch, "from\\x5ffile")({marker}, True)', "calls g"),
        ("def evil(self) -> Tensor:\n    return ops.c10d.barrier()", "names ops.c10d"),
        ("def evil(self) -> __torch__.torch.classes.dist_rpc.X:\n    return None", "names classes.dist_rpc"),
    ],
)  # fmt: skip
def test_torchscript_by_hand(marker: Path, tmp_path: Path, line: str, reason: str) -> None:
    torch.jit.script(Layers()).save(str(tmp_path / "good.pt"))
    parts = hostile.parts_of(tmp_path / "good.pt")
    code = dict(parts)[SUM].decode() + "  " + line.format(marker=f'"{marker}"') + "\n"
    path = hostile.write(tmp_path / "m.pt", replaced(parts, SUM, code.encode()))
    refused(path, f"{SUM} {reason}")


def test_operators_are_looked_at_once_more(
    marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.model.files.torchscript_check._check_text", lambda part, text: None)
    torch.jit.script(WithFile(str(marker))).save(str(tmp_path / "m.pt"))
    refused(str(tmp_path / "m.pt"), r"code/ \(forward\) names aten::from_file")


class TestSizes:
    """A small file that claims much."""

    @pytest.mark.parametrize("name", [EXAMPLES, PROGRAM, "extra/x", "data/weights/weight_0"])
    def test_compressed(self, base: Parts, tmp_path: Path, name: str) -> None:
        parts = [*(each for each in base if each[0] != name), (name, bytes(1_000_000))]
        refused(hostile.write(tmp_path / "m.pt2", parts, compressed=name), f"{name} is compressed")

    def test_compressed_within_the_examples(self, base: Parts, tmp_path: Path) -> None:
        inner = tmp_path / "inner.pt"
        inner.write_bytes(pickled(((torch.zeros(9, 3),), {})))
        name = next(name for name, _ in hostile.parts_of(inner) if name.startswith("data/"))
        hostile.write(inner, hostile.parts_of(inner), compressed=name)
        parts = replaced(base, EXAMPLES, inner.read_bytes())
        refused(
            hostile.write(tmp_path / "m.pt2", parts), f"{EXAMPLES} is refused: its part {name} is compressed"
        )

    def test_compressed_tensors_of_a_state_dict(self, tmp_path: Path) -> None:
        torch.save({"weight": torch.zeros(3)}, tmp_path / "m.pt")
        parts = hostile.parts_of(tmp_path / "m.pt")
        hostile.write(tmp_path / "m.pt", parts, compressed="data/0")
        with pytest.raises(ModelError, match="is refused: its part data/0 is compressed"):
            load(str(tmp_path / "m.pt"), SPEC, model_class="tests.pipeline.models:Sum")

    def test_code_that_unpacks_to_much(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        torch.jit.script(Layers()).save(str(tmp_path / "m.pt"))
        assert load(str(tmp_path / "m.pt"), SPEC)
        monkeypatch.setattr(archive, "_MOST_TEXT_BYTES", 1000)
        refused(str(tmp_path / "m.pt"), "m/ is more than 1,000 bytes once it is unpacked")

    def test_a_text_of_more_than_is_read(
        self, base: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(archive, "_MOST_TEXT_BYTES", 1000)
        refused(hostile.write(tmp_path / "m.pt2", base), f"{PROGRAM} has more than 1,000 bytes")

    def test_two_parts_of_the_same_bytes(self, base: Parts, tmp_path: Path) -> None:
        path = hostile.write(tmp_path / "m.pt2", [*base, ("extra/x", b"x")])
        with zipfile.ZipFile(path) as whole:
            infos = {info.filename: info for info in whole.infolist()}
        content = bytearray(Path(path).read_bytes())
        # In the directory at the end, the offset stands 4 bytes before the name.
        at = content.rindex(b"m/extra/x") - 4
        content[at : at + 4] = infos["m/data/weights/weight_0"].header_offset.to_bytes(4, "little")
        Path(path).write_bytes(content)
        with pytest.raises(ModelError, match=r"is refused: its part \S* overlaps"):
            load(path, SPEC)

    @pytest.mark.parametrize("elements", [2**40, -1])
    def test_a_tensor_without_bytes(self, base: Parts, tmp_path: Path, elements: int) -> None:
        def grow(config: Any) -> None:
            meta = next(iter(config["config"].values()))["tensor_meta"]
            meta["sizes"] = [{"as_int": elements}]
            meta["strides"] = [{"as_int": 0}]

        parts = replaced(with_json(base, WEIGHTS, grow), "data/weights/weight_0", b"")
        reason = "would make" if elements > 0 else "has no size"
        refused(hostile.write(tmp_path / "m.pt2", parts), f"data/weights/weight_0 {reason}")

    def test_outside_the_folder(self, base: Parts, tmp_path: Path) -> None:
        path = hostile.write(tmp_path / "m.pt2", base)
        with zipfile.ZipFile(path, "a") as whole:
            whole.writestr("version", "8.20")
        refused(path, "version is outside the archive's folder")


def test_a_name_is_shown_without_its_tricks(base: Parts, tmp_path: Path) -> None:
    path = hostile.write(tmp_path / "m.pt2", [*base, ("extra/\x1b[2J\n" + "x" * 5000, b"x")])
    with pytest.raises(ModelError) as caught:
        load(path, SPEC)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
