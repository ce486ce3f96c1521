"""The files that steps install, as templates that an operator can read."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def _environment() -> Environment:
    # Configuration files and YAML, not HTML: nothing is escaped, and an unknown name is an error.
    return Environment(
        loader=PackageLoader("runbook", "recipes"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701
    )


def render(name: str, **values: object) -> str:
    """Return a recipe with its values filled in.

    Args:
        name: The template's name without ``.j2``.
        values: Every value that the template names.

    Raises:
        jinja2.UndefinedError: A value is missing.
    """
    return _environment().get_template(f"{name}.j2").render(**values)
