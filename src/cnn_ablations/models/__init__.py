"""Models: functions from factors to networks, one file each.

`models/NAME.py` defines a function NAME(inputs, classes, *, factors...): an input tensor and the
number of classes first, then its factors as typed keyword arguments; it returns the logits. The
schema of params.yaml takes the factors from its signature. Beside it the file may define
`check(image_shape, **factors)`, which raises ProjectError where the network cannot be built, so
that a mistake is found before Keras is imported, and `layer_names(**factors)`, which lists the
layers that have weights, so that a claim about one can be checked.
"""

import inspect
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from cnn_ablations.errors import ProjectError

FOLDER = Path(__file__).parent


def model_names() -> list[str]:
    """The models that there are."""
    return sorted(file.stem for file in FOLDER.glob("*.py") if not file.name.startswith("_"))


def build_function(model: str) -> Callable[..., Any]:
    """The function of a model: `build(inputs, classes, **factors)` returns its logits.

    Raises ProjectError where its file cannot be imported or defines no such function.
    """
    build: Callable[..., Any] | None = getattr(_module(model), model, None)
    if not callable(build):
        raise ProjectError(f"models/{model}.py defines no function {model}(inputs, classes, ...)")
    return build


def factor_types(model: str) -> dict[str, tuple[Any, Any]]:
    """The type and default (`...` where there is none) of each factor of a model.

    Raises ProjectError where a factor has no type.
    """
    build = build_function(model)
    types = {}
    for number, (name, parameter) in enumerate(inspect.signature(build).parameters.items()):
        if number < 2:  # its inputs and the number of classes
            continue
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise ProjectError(f"models/{model}.py: put a '*' before the factor '{name}'")
        annotation = parameter.annotation
        if isinstance(annotation, str):  # of a file that imports annotations from __future__
            annotation = eval(annotation, vars(_module(model)))
        if annotation is inspect.Parameter.empty:
            raise ProjectError(
                f"models/{model}.py: the factor '{name}' has no type; write {name}: int, say"
            )
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        types[name] = annotation, default
    return types


def check_factors(model: str, image_shape: Sequence[int], factors: dict[str, Any]) -> None:
    """Raise ProjectError where the factors make a network that this image does not fit through."""
    check = getattr(_module(model), "check", None)
    if check is not None:
        check(tuple(image_shape), **factors)


def layer_names(model: str, factors: dict[str, Any]) -> list[str] | None:
    """The layers that have weights and biases, in order; None where the model does not say."""
    names = getattr(_module(model), "layer_names", None)
    return None if names is None else list(names(**factors))


def _module(model: str) -> ModuleType:
    try:
        return import_module(f"{__name__}.{model}")
    except Exception as error:  # a user's own file can fail in any way
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise ProjectError(f"models/{model}.py cannot be imported: {what}") from None
