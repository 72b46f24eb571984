"""What a torch.export file (.pt2) says of the model's inputs, as the text of `--input_shape`.

Only the program's description in the archive, models/*.json, is read: no code of the file runs, and no torch
is needed. Its form is that of torch/_export/serde/schema.py.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from pipeline.request.input_spec import InputSpec

# A large language model's description has 30 MB.
MAX_BYTES = 100_000_000

# By `ScalarType` of that schema; `InputSpec` says which of them a request can have.
_DTYPES = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    12: "bool",
    13: "bfloat16",
}
# A model of less precision gets its one unnamed input as float32, converted by --precision.
_AS_FLOAT32 = ("float32", "float16", "bfloat16")


class UnknownShapeError(Exception):
    """A model's inputs cannot be read from its file; the message says why."""


def input_shape(file: str | BinaryIO) -> str | None:
    """Return the text of `--input_shape` for the model in a .pt2 file; None for a file of another kind.

    One input of floats that the model takes by position is `30`; any other inputs have names and dtypes. The
    first dimension, the batch, is left out, whether it is dynamic or not.

    Args:
        file: Its path, or the file itself, which can be sought in.

    Raises:
        UnknownShapeError: It is such a file, and its inputs are none that `--input_shape` can name.
        OSError: It cannot be read.
    """
    # A FIFO would be waited for.
    if isinstance(file, str) and Path(file).exists() and not Path(file).is_file():
        raise OSError(f"{file} is no regular file")
    try:
        with zipfile.ZipFile(file) as archive:
            content = _description(archive)
    except zipfile.BadZipFile:
        return None
    if content is None:
        return None
    try:
        text = _text(orjson.loads(content))
        InputSpec.parse(text)
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
        raise UnknownShapeError(f"its description cannot be read ({error!r:.200})") from error
    except ValueError as error:
        raise UnknownShapeError(str(error)) from error
    return text


def _description(archive: zipfile.ZipFile) -> bytes | None:
    """Return the JSON of the archive's one program; None where there is none."""
    found = [
        part
        for part in archive.infolist()
        if part.filename.partition("/")[2].startswith("models/") and part.filename.endswith(".json")
    ]
    if not found:
        return None
    if len(found) > 1:
        raise UnknownShapeError(f"it holds {len(found)} programs")
    with archive.open(found[0]) as part:
        content = part.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise UnknownShapeError(f"its description has more than {MAX_BYTES:,} bytes")
    return content


def _text(program: Mapping[str, Any]) -> str:
    module = program["graph_module"]
    values = module["graph"]["tensor_values"]
    positional, names = _arguments(module["module_call_graph"][0]["signature"])
    inputs = [
        spec["user_input"]["arg"] for spec in module["signature"]["input_specs"] if "user_input" in spec
    ]
    if len(inputs) != len(names) or not inputs:
        raise ValueError(f"of its {len(names)} inputs ({', '.join(names)}), {len(inputs)} are tensors")
    parts = []
    for name, value in zip(names, inputs, strict=True):
        if "as_tensor" not in value:
            raise ValueError(f"its input {name} is not a tensor")
        tensor = values[value["as_tensor"]["name"]]
        dtype, shape = tensor["dtype"], _shape(name, tensor["sizes"])
        if dtype not in _DTYPES:
            raise ValueError(f"its input {name} has a dtype that no request can have")
        parts.append((name, _DTYPES[dtype], shape))
    if positional and len(parts) == 1 and parts[0][1] in _AS_FLOAT32:
        return parts[0][2]
    return ",".join(":".join(part) for part in parts)


def _arguments(signature: Mapping[str, Any]) -> tuple[bool, Sequence[str]]:
    """Return whether all inputs are passed by position, and the name of each, in order.

    Raises:
        ValueError: An input is a structure of several tensors.
    """
    _, spec = orjson.loads(signature["in_spec"])
    args, kwargs = (each["children_spec"] for each in spec["children_spec"])
    if any(each["type"] is not None for each in (*args, *kwargs)):
        raise ValueError("an input of it is a list or dict of tensors")
    by_name = orjson.loads(spec["children_spec"][1]["context"])
    # Those by position come first.
    return not kwargs, [*signature["forward_arg_names"][: len(args)], *by_name]


def _shape(name: str, sizes: Sequence[Mapping[str, Any]]) -> str:
    fixed = [size.get("as_int") for size in sizes[1:]]
    if not fixed or None in fixed:
        raise ValueError(f"its input {name} has no fixed shape beside the batch")
    return "x".join(map(str, fixed))
