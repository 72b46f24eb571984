"""What a build of an image would fail at, minutes after its start, or would ignore."""

from __future__ import annotations

from pathlib import Path

from launch.rules.rule import Rule
from launch.settings.job import CPU, BuildSettings
from launch.settings.parsers import PYPI

ROOT = Path(__file__).parents[2]
# Of what .dockerignore lets through, where models are.
_MODELS = "models"
_EXAMPLE = "examples/breast_cancer/model.pt2"


def model_in_context(text: str) -> str:
    """Return a model's path in the checkout, as the Dockerfile takes it; `text`: from the current folder."""
    return Path(text).resolve().relative_to(ROOT.resolve()).as_posix()


def _model_outside(settings: BuildSettings) -> str | None:
    if settings.model is None or settings.serving:
        return None
    # A link that leads out of the checkout is uploaded as a link, to nowhere.
    path, root = Path(settings.model).resolve(), ROOT.resolve()
    if not path.is_file():
        return f"--model: {settings.model}: there is no such file"
    if path == root / _EXAMPLE or root / _MODELS in path.parents:
        return None
    return (
        f"--model: {settings.model} is not in {ROOT / _MODELS}, where builds take models from: copy it there"
    )


def _model_of_serving(settings: BuildSettings) -> str | None:
    if settings.model is None or not settings.serving:
        return None
    return (
        "--model: the endpoint's container holds none, it fetches the one of its deployment "
        "(endpoint deploy --model-uri): leave it out"
    )


def _serving_without_image(settings: BuildSettings) -> str | None:
    if not settings.serving:
        return None
    if settings.serving_image is None:
        return "--serving-image: missing. With --serving it is the image to build: …/NAME:TAG"
    if "@" in settings.serving_image:
        return (
            f"--serving-image: {settings.serving_image} is a digest, which only a built image has: name a tag"
        )
    return None


def _torch_twice(settings: BuildSettings) -> str | None:
    if settings.variant == CPU or settings.gpu_torch == PYPI or settings.torch_index is None:
        return None
    return (
        f"--torch-index: pip would take torch from it, and uv takes {settings.gpu_torch} from PyTorch's own: "
        "leave out the one or the other"
    )


BUILD_RULES: tuple[Rule[BuildSettings], ...] = (
    Rule("model that the image cannot take", _model_outside),
    Rule("model of the endpoint's container", _model_of_serving),
    Rule("container without a name", _serving_without_image),
    Rule("torch from two places", _torch_twice),
)
