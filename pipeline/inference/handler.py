"""Which model handler a job uses."""

from pipeline.inference.local import LocalModelHandler
from pipeline.options import Settings


def make_handler(settings: Settings) -> LocalModelHandler:
    """The handler for `--inference_mode`."""
    assert settings.inference_mode == "local"
    assert settings.model_path is not None
    return LocalModelHandler(
        settings.model_path,
        settings.input_shape,
        max_batch_size=settings.max_batch_size,
        model_class=settings.model_class,
        model_params=settings.model_params,
    )
