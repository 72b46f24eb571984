import inspect
import re

from pipeline.engine.fusion import UnfusedGraphError
from pipeline.request import errors


def test_the_drawing_has_every_error() -> None:
    assert errors.__doc__ is not None
    drawn = re.findall(r"\b\w+Error\b", errors.__doc__)
    defined = [name for name, kind in vars(errors).items() if inspect.isclass(kind)]
    assert sorted(drawn) == sorted([*defined, UnfusedGraphError.__name__])


def test_each_stage_is_another() -> None:
    stages = [kind.stage for kind in errors.RequestError.__subclasses__()]
    assert stages == ["decode", "inference", "encode", "write"]
