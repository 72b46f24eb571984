"""Checks a TorchScript file: its parts and text before it is loaded, its operators afterwards.

TorchScript is a language of its own, without Python. It computes with operators of PyTorch, and some of these
write files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch

from pipeline.model.files.archive import BESIDES, Archive, RefusedPartError

PARTS: Mapping[str, bool] = {
    # torch compresses the code, and nothing else.
    r"code/[\w./]{1,500}\.py(\.debug_pkl)?": True,
    r"(data|constants|traced_inputs)\.pkl": False,
    r"(data|constants|traced_inputs)/\d{1,7}": False,
    **BESIDES,
}

_NAMESPACES = frozenset(
    [
        "_quantized",
        "aten",
        "mkldnn",
        "mkldnn_prepacked",
        "prepacked",
        "prim",
        "prims",
        "quantized",
        "quantized_decomposed",
        "sparse",
        "torchvision",
    ]
)
_CLASSES = frozenset(["mkldnn", "quantized", "rnn", "sparse"])
# The operators of these namespaces that take a file's name.
_FILES = frozenset(["from_file", "save", "read_file", "write_file"])

_FILE_NAMES = re.compile(rb"\b(" + b"|".join(name.encode() for name in sorted(_FILES)) + rb")\b")
_OPS = re.compile(rb"(?<![\w.])ops\s*\.\s*(\w+)")
_CUSTOM_CLASS = re.compile(rb"\bclasses\s*\.\s*(\w+)")
_GETATTR = re.compile(rb'\bgetattr\([\w.() ]*, "[\w.]*"\)')


def check_file(path: str) -> None:
    """Check a file before it is loaded: some of its code runs while it is.

    Raises:
        RefusedPartError: A part is not as torch.jit.save writes it, or names an operator that writes files.
        zipfile.BadZipFile: The file is damaged.
        RuntimeError: It is, to torch's reader.
    """
    archive = Archive(path, PARTS)
    for name in archive.sizes:
        if name.endswith(".py"):
            _check_text(name, archive.text(name))


def check_operators(module: torch.jit.ScriptModule) -> None:
    """Check what the methods of a module that was loaded call, whatever their text looked like.

    Raises:
        RefusedPartError: An operator does more than compute.
    """
    for submodule in module.modules():
        for name in submodule._c._method_names():
            graph = submodule._c._get_method(name).inlined_graph
            for kind in _kinds(graph):
                namespace, _, operator = kind.partition("::")
                if namespace not in _NAMESPACES or operator in _FILES:
                    raise RefusedPartError(f"code/ ({name})", _reason(kind))


def _check_text(part: str, text: bytes) -> None:
    found = _FILE_NAMES.search(text)
    if found is not None:
        raise RefusedPartError(part, _reason(found[0].decode()))
    for pattern, allowed in ((_OPS, _NAMESPACES), (_CUSTOM_CLASS, _CLASSES)):
        for each in pattern.finditer(text):
            if each[1].decode() not in allowed:
                raise RefusedPartError(part, _reason(" ".join(each[0].decode().split())))
    # By its second argument it could name any operator in disguise ("from\x5ffile").
    count = 1
    while count:
        text, count = _GETATTR.subn(b"x", text)
    if b"getattr" in text:
        raise RefusedPartError(part, "calls getattr otherwise than torch writes it")


def _reason(name: str) -> str:
    return f"names {name}, which may do more than compute: export the model by torch.export.save (.pt2)"


def _kinds(graph: torch._C.Graph | torch._C.Block) -> Iterator[str]:
    for node in graph.nodes():
        yield node.kind()
        for block in node.blocks():
            yield from _kinds(block)
        for attribute in node.attributeNames():
            if node.kindOf(attribute) == "g":
                yield from _kinds(node.g(attribute))
