"""The results of a run as JUnit XML, the form in which CI systems show results.

    testsuites      the run
      testsuite     a step; its status, its changes and its plan's digest are properties
        testcase    its notebook: how the step ended, and how long it took
        testcase    one of its checks

A run whose end none of its steps shares, such as one that was interrupted between two steps, has
a last ``testsuite`` that says so.

Source: the form has no standard. It is valid by junit-10.xsd of Jenkins' xUnit plugin, which also
pytest writes for, and keeps to what GitLab reads (its documentation, "Unit test reports") and to
the conventions that testmoapp/junitxml collects.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from runbook.errors import BadInput
from runbook.events import Check, others, words
from runbook.records.archive import canonical
from runbook.records.journal.results import Results, StepResults
from runbook.records.journal.status import ENDED_WELL, NOT_RUN, Status

RUN = "run"
"""What the suite and the case for the end of the run itself are called."""

_COUNTS = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}

# Source: Extensible Markup Language (XML) 1.0, fifth edition, production 2, Char.
_FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(results: Results) -> bytes:
    r"""Return the JUnit XML of a run.

    Args:
        results: What ``results.json`` holds, masked already.

    Returns:
        UTF-8. Times are seconds with three digits; one that is not known is 0.000. A character
        that XML forbids stands as Python writes it, such as ``\x1b``.
    """
    root = Element("testsuites", name=results.run_id, time=_seconds(results.duration_ms))
    root.extend(_step(results.site, step) for step in results.steps)
    statuses = {step.status for step in results.steps}
    if results.status not in ENDED_WELL | statuses:
        root.append(_run(results))
    for suite in root:
        _count(suite)
    _count(root)
    # Jenkins' xUnit plugin refuses a file whose testsuites, unlike its testsuite, has this one.
    del root.attrib["skipped"]
    _make_visible(root)
    indent(root)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def write(path: Path, results: Results) -> None:
    """Write the JUnit XML of a run to a file, whole or not at all.

    Args:
        path: The file; replaced if it exists.
        results: What ``results.json`` holds.

    Raises:
        BadInput: The folder is missing, or the file cannot be written.
    """
    try:
        canonical.write(path, document(results), durable=False)
    except OSError as error:
        raise BadInput(
            f"the JUnit XML {path} cannot be written: {error.strerror}",
            todo=f"make {path.parent} a folder that can be written, or name another file",
        ) from error


def _step(site: str, step: StepResults) -> Element:
    suite = Element("testsuite", name=step.step, time=_seconds(step.duration_ms))
    if step.started is not None:
        suite.set("timestamp", step.started)
    properties = SubElement(suite, "properties")
    for name, value in _properties(step):
        SubElement(properties, "property", name=name, value=value)
    case = _case(suite, site, step.notebook, step.duration_ms)
    _add_end(case, step.status, [step.reason, *(error.message for error in step.errors)])
    for check in step.checks:
        _add_failure(_case(suite, site, check.name, None), check)
    return suite


def _properties(step: StepResults) -> Iterator[tuple[str, str]]:
    yield "status", step.status
    yield "changes planned", str(step.counts.changes)
    yield "changes made", str(step.counts.done)
    if step.digest is not None:
        yield "digest", step.digest
    yield from ((name, words(one)) for name, one in others(step))


def _run(results: Results) -> Element:
    suite = Element("testsuite", name=RUN, time=_seconds(None), timestamp=results.started)
    case = _case(suite, results.site, RUN, None)
    _add_end(case, results.status, [results.reason])
    return suite


def _case(suite: Element, site: str, name: str, duration_ms: int | None) -> Element:
    """Add a case; its name is its own, as GitLab ignores all but the first of one name."""
    taken = {case.get("name") for case in suite.iter("testcase")}
    own, number = name, 1
    while own in taken:
        number += 1
        own = f"{name} ({number})"
    # A check's time is part of its step's, but some readers cannot do without the attribute.
    particulars = {"classname": f"{site}.{suite.get('name')}", "name": own}
    return SubElement(suite, "testcase", particulars, time=_seconds(duration_ms))


def _add_end(case: Element, status: str, texts: Iterable[str]) -> None:
    """Say how a step or a run ended; a good end needs no element."""
    if status in ENDED_WELL:
        return
    told = [text for text in dict.fromkeys(texts) if text]
    message = ": ".join([status, *(text.partition("\n")[0] for text in told[:1])])
    if status in NOT_RUN:
        tag, message = "skipped", status
    else:
        tag = "failure" if status == Status.FAILED else "error"
    # GitLab shows the text only, and Jenkins never the type: the text is never empty.
    SubElement(case, tag, type=status, message=message).text = "\n".join(told) or status


def _add_failure(case: Element, check: Check) -> None:
    if check.passed:
        return
    message = f"expected {check.expected}, seen {check.seen}"
    failure = SubElement(case, "failure", type="check", message=message)
    failure.text = f"expected: {check.expected}\nseen: {check.seen}\nwhere: {check.where}"


def _count(element: Element) -> None:
    for name, tag in _COUNTS.items():
        element.set(name, str(sum(1 for _ in element.iter(tag))))


def _seconds(duration_ms: int | None) -> str:
    return f"{(duration_ms or 0) / 1000:.3f}"


def _make_visible(root: Element) -> None:
    for element in root.iter():
        element.attrib = {name: _visible(value) for name, value in element.attrib.items()}
        element.text = element.text and _visible(element.text)


def _visible(text: str) -> str:
    return _FORBIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)
