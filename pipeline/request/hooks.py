"""The user's own functions, named by --decode_hook and --encode_hook as module:function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.process.user_modules import explain_hidden_module, import_user_module
from pipeline.request.errors import DecodeError, EncodeError, HookError
from pipeline.request.input_spec import Inputs, InputSpec


@dataclass(frozen=True, slots=True)
class Hook:
    """A loaded function. As text it is its flag, as in messages: --decode_hook=my_package.hooks:decode."""

    flag: str
    name: str
    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        return self.function(*arguments)

    def __str__(self) -> str:
        return f"{self.flag}={self.name}"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        # By name only: each worker loads the function itself, and raises HookError where it lacks the module.
        return load_hook, (self.flag, self.name)


def load_hook(flag: str, name: str) -> Hook:
    """Load the function that a flag names: `load_hook("--decode_hook", "my_package.hooks:decode")`.

    Raises:
        HookError: The module cannot be imported, or has no such function.
    """
    prefix = f"{flag}={name}"
    module_name, _, function_name = name.partition(":")
    try:
        module = import_user_module(module_name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        # The module itself is missing, or a package that holds it; else a module that it imports is.
        if missing is not None and f"{module_name}.".startswith(f"{missing}."):
            problem = f"there is no module {missing}: install it, or add its parent folder to PYTHONPATH"
            problem += explain_hidden_module(module_name)
        else:
            problem = f"importing {module_name} failed: {type(error).__name__}: {error}"
        raise HookError(f"{prefix}: {problem}") from error
    if not hasattr(module, function_name):
        hidden = explain_hidden_module(module_name)
        raise HookError(f"{prefix}: the module {module_name} has nothing called {function_name}{hidden}")
    function = getattr(module, function_name)
    if not callable(function):
        raise HookError(f"{prefix}: not a function, but of type {type(function).__name__}")
    return Hook(flag, name, function)


def make_inputs(
    hook: Hook, body: Any, attributes: Mapping[str, str], spec: InputSpec, note: str = ""
) -> Inputs:
    """Return what a decode hook makes of a request's body: the JSON object, or bytes.

    Args:
        hook: The hook.
        body: What it gets.
        attributes: The message's.
        spec: What its inputs must fit.
        note: What the reason ends with where it raises.

    Raises:
        DecodeError: The hook raised, which is then the cause, or what it returned does not fit `spec`.
    """
    try:
        returned = hook(body, attributes)
    except Exception as error:
        raise DecodeError(_problem(hook, error) + note) from error
    try:
        return spec.from_arrays(returned)
    except DecodeError as error:
        raise DecodeError(f"{hook}: what it returned does not fit --input_shape: {error}") from None


def make_prediction(hook: Hook, prediction: Any, request_id: str) -> Any:
    """Return what an encode hook makes of the model's prediction.

    Raises:
        EncodeError: The hook raised, which is then the cause.
    """
    try:
        return hook(prediction)
    except Exception as error:
        raise EncodeError(_problem(hook, error), request_id) from error


def _problem(hook: Hook, error: Exception) -> str:
    return f"{hook}: {str(error) or type(error).__name__}"
