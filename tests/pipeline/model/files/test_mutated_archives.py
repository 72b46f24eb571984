"""Archives changed at random: whatever they are, torch's loader sees none that is not on the list below.

The list is written a second time here, and shorter: by Python's reader, without the module under test.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.model.files import model_files
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
    touching,
)
from tests.pipeline.model.files.test_model_files import export
from tests.pipeline.models import Layers

pytestmark = pytest.mark.slow

SPEC = InputSpec.parse("3")

EXPECTED = re.compile(
    r"(models/model\.json|data/(weights|constants)/(model_(weights|constants)_config\.json|(weight|tensor)_\d+)|"
    r"data/sample_inputs/model\.pt|archive_(format|version)|byteorder|(\.data/)?version|\.data/serialization_id|"
    r"\.format_version|\.storage_alignment|extra/.+)"
)
NAMES = [
    *(PROGRAM, WEIGHTS, CONSTANTS, EXAMPLES, "data/weights/weight_0", "data/weights/weight_1"),
    *("models/.json", "models/other.json", "MODELS/MODEL.JSON", "data/sample_inputs/.pt"),
    *("data/sample_inputs/model.PT", "data/weights/model.pt", "data/weights/custom_obj_0"),
    *("data/constants/opaque_obj_0", "data/constants/custom_obj_0"),
    *("data/aotinductor/m/x.so", "serialized_state_dict.pt", "extra/x", "extra/../../x", "version", "x", ""),
]  # fmt: skip


def is_expected(path: str) -> bool:
    """Return whether an archive has the right parts, each once, stored, and pickles of tensors alone."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        names = [info.filename.split("/", 1)[1] for info in infos]
        examples = archive.read(f"m/{EXAMPLES}")
        configs = [json.loads(archive.read(f"m/{name}")) for name in (WEIGHTS, CONSTANTS)]
        program = archive.read(f"m/{PROGRAM}").decode()
    stored = all(info.compress_type == zipfile.ZIP_STORED for info in infos)
    once = len({name.lower() for name in names}) == len(names)
    raw = not any(tensor["use_pickle"] for config in configs for tensor in config["config"].values())
    # Those in notes, where a node came from, are within a text.
    targets = re.findall(r'(?<!\\)"target": "([^"]*)"', program)
    operators = all(re.fullmatch(r"torch\.ops\.aten\.(?!from_file)\w+\.\w+", each) for each in targets)
    parts = all(map(EXPECTED.fullmatch, names))
    return stored and once and raw and operators and parts and not _calls(examples)


def _calls(content: bytes) -> bool:
    """Return whether a pickle names anything that is not torch's own."""
    if not content:
        return False
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        opcodes = list(pickletools.genops(archive.read(name)))
    found = [str(argument) for opcode, argument, _ in opcodes if opcode.name == "GLOBAL"]
    return any(opcode.name == "STACK_GLOBAL" for opcode, _, _ in opcodes) or any(
        not each.startswith(("torch ", "torch._utils ", "collections OrderedDict")) for each in found
    )


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to each value and each key in JSON."""
    ways = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return ways + [way for key, each in items for way in leaves(each, (*path, key))]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return hostile.parts_of(export(tmp_path_factory.mktemp("base") / "m.pt2", module=Layers()))


def mutate(base: Parts, marker: Path, draw: Callable[..., Any]) -> tuple[Parts, str]:
    """Return the parts with some changes, and which of them to compress."""
    parts = list(base)
    bomb = Bomb(marker)
    contents = [b"", pickled((bomb, {})), pickled(bomb), pickled(((torch.zeros(1),), {})), b"{}", bytes(12)]
    hostile_values: list[Any] = [touching(marker), f"x={touching(marker)}", [], {}, None, True, -1, 2**70]
    hostile_values += [
        "torch.ops.aten.from_file.default",
        "torch.load",
        "opaque_obj_0",
        "custom_obj_0",
        "weight_1",
    ]
    for _ in range(draw(st.integers(1, 3))):
        match draw(st.sampled_from(["add", "replace", "rename", "drop", "json", "json", "json"])):
            case "add":
                place = draw(st.integers(0, len(parts)))
                parts.insert(place, (draw(st.sampled_from(NAMES)), draw(st.sampled_from(contents))))
            case "replace":
                place = draw(st.integers(0, len(parts) - 1))
                parts[place] = (parts[place][0], draw(st.sampled_from(contents)))
            case "rename":
                place = draw(st.integers(0, len(parts) - 1))
                parts[place] = (draw(st.sampled_from(NAMES)), parts[place][1])
            case "drop":
                parts.pop(draw(st.integers(0, len(parts) - 1)))
            case _:
                texts = [
                    i for i, (_, content) in enumerate(parts) if content[:1] == b"{" and len(content) > 2
                ]
                if texts:
                    place = draw(st.sampled_from(texts))
                    parts[place] = (parts[place][0], mutate_json(parts[place][1], hostile_values, draw))
        if not parts:
            break
    return parts, draw(st.sampled_from(["", "", "", *NAMES]))


def mutate_json(content: bytes, values: list[Any], draw: Callable[..., Any]) -> bytes:
    root = json.loads(content)
    way = draw(st.sampled_from(leaves(root)))
    holder = root
    for key in way[:-1]:
        holder = holder[key]
    value = draw(st.sampled_from(values))
    if isinstance(holder, dict) and isinstance(value, str) and draw(st.booleans()):
        holder[value] = holder.pop(way[-1])
    else:
        holder[way[-1]] = value
    return json.dumps(root).encode()


@settings(
    max_examples=150, derandomize=True, deadline=None, database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large,
    ],
)  # fmt: skip
@given(data=st.data())
def test_the_loader_sees_only_what_is_expected(
    data: st.DataObject, base: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    parts, compressed = mutate(base, marker, data.draw)
    path = hostile.write(tmp_path / "m.pt2", parts, compressed)
    loaded: list[bool] = []
    real = torch.export.load

    def watched(file: str) -> Any:
        loaded.append(is_expected(file))
        return real(file)

    with monkeypatch.context() as patched:
        patched.setattr(torch.export, "load", watched)
        try:
            module = model_files.read(
                path, SPEC, model_class=None, model_params={}, max_batch_size=2,
                device=torch.device("cpu"), label="m",
            )  # fmt: skip
            module(torch.zeros(2, 3))
        except ModelError:
            pass
        except Exception:  # of the module that came out: what it computes is the file's affair
            assert loaded
    assert all(loaded)
    assert not marker.exists()
