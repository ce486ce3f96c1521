"""What the models say about a place in a site: which names it may have, and which kind of value."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from runbook.site.model import Site
from runbook.site.reading import Step


def fields_at(path: tuple[Step, ...]) -> dict[str, FieldInfo]:
    """Return the settings that the part of the site at this path has, by name."""
    annotation: Any = Site
    for step in path:
        fields = _fields(annotation)
        annotation = fields[str(step)].annotation if fields else _item(annotation)
    return _fields(annotation)


def salvage(value: Any, annotation: Any = Site) -> Any:
    """Return what is sound in an unsound site, so that rules can still look at it.

    Args:
        value: The plain value, as read.
        annotation: The type it should have.

    Returns:
        The validated value where it is sound. Otherwise a namespace, dictionary or tuple with the
        sound parts; a setting that is missing or wrong is not there.

    """
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError:
        kind = get_origin(_bare(annotation))
        if isinstance(value, dict) and kind is dict:
            return {name: salvage(item, _item(annotation)) for name, item in value.items()}
        if isinstance(value, list) and kind is tuple:
            return tuple(salvage(item, _item(annotation)) for item in value)
        sound = _sound(value, _fields(annotation)) if isinstance(value, dict) else ()
        return SimpleNamespace(**dict(sound))


def _sound(value: dict[str, Any], fields: dict[str, FieldInfo]) -> Iterator[tuple[str, Any]]:
    for name, field in fields.items():
        if name not in value:
            if not field.is_required():
                yield name, field.get_default()
            continue
        part = salvage(value[name], Annotated[field.annotation, field])
        if part != SimpleNamespace():
            yield name, part


def _bare(annotation: Any) -> Any:
    """Return ``X`` for ``X | None`` and for ``Annotated[X, ...]``."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return _bare(next(part for part in get_args(annotation) if part is not NoneType))
    return annotation


def _fields(annotation: Any) -> dict[str, FieldInfo]:
    bare = _bare(annotation)
    is_model = isinstance(bare, type) and issubclass(bare, BaseModel)
    return dict(bare.model_fields) if is_model else {}


def _item(annotation: Any) -> Any:
    """Return the type of the entries of a ``dict[str, X]`` or ``tuple[X, ...]``, else ``Any``."""
    arguments = get_args(_bare(annotation))
    if not arguments:
        return Any
    return arguments[1] if get_origin(_bare(annotation)) is dict else arguments[0]
