"""Masking a notebook that was executed, with a secret in every channel."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from runbook.masking.gate import gate
from runbook.masking.redact import Masker, strip_ansi
from runbook.masking.secret import Registry
from runbook.masking.variants import variants
from runbook.run import kernels
from runbook.run.kernels import Kernel
from runbook.run.papermill import manager
from runbook.run.serving import PapermillException, serve

CANARY = "Tr0ub4dor&3 'x' \"y\" <z>"

STREAMS = ("stdout", "stderr")
CHANNELS = """\
import base64, html, json, logging, os, subprocess, sys, urllib.parse, warnings
from IPython.display import HTML, JSON, Markdown, display
import ipywidgets

print("stdout", password)
print("stderr", password, file=sys.stderr)
for part in (password[:9], password[9:]):
    print(part, end="", flush=True)
    print("between", file=sys.stderr, flush=True)
    display("a result between")
print(f"\\x1b[31m{password[:5]}\\x1b[1m{password[5:]}\\x1b[0m")
print(repr(password), {"a": password}, password.encode(), password[::-1])
print(json.dumps(json.dumps(password)), urllib.parse.quote(password), password.encode().hex())
print(base64.b64encode(f"bob:{password}".encode()).decode())
subprocess.run(["sh", "-c", "printf '%s\\\\n' \\"$1\\"; set -x; : \\"$1\\"", "sh", password])
logging.warning("logged %s", password)
warnings.warn(password)
display(HTML(f"<p>{html.escape(password)}</p>"), Markdown(password), JSON({password: [password]}))
display({"application/x+json": {"a": [password]}}, raw=True, metadata={"m": password})
display(ipywidgets.Text(value=password), ipywidgets.Password(value=password))
{"result": password}
"""
FAILS = """\
class Refused(Exception):
    pass

def connect(secret):
    raise Refused("login with " + secret)

connect(password)
"""


@pytest.fixture
def masker() -> Masker:
    """A masker of the canary."""
    known = Registry()
    known.add("canary", CANARY)
    return Masker(known)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A notebook that ran through every channel and then failed, and the error it raised."""
    folder = tmp_path_factory.mktemp("executed")
    source, output = folder / "source.ipynb", folder / "executed.ipynb"
    cells = [
        new_code_cell('password: str = ""', id="parameters", metadata={"tags": ["parameters"]}),
        new_markdown_cell(f"With **{CANARY}**", id="title"),
        new_code_cell(CHANNELS, id="channels"),
        new_code_cell(FAILS, id="fails"),
    ]
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernelspec}), source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "PRELOAD", "json")
        bare = SimpleNamespace(mask_notebook=lambda notebook: notebook, mask=lambda text: text)
        patch.setattr(manager, "MASKER", bare)
        kernel = Kernel({}, folder / "kernel.log")
        options = {"kernel": kernel, "save_to": output, "report": lambda *_, **__: None}
        serving = kernel.submit(lambda: serve(source, {"password": CANARY}, 30, **options))
        try:
            with pytest.raises(PapermillException) as caught:
                serving.result()
        finally:
            kernel.close()()
    return output, str(caught.value)


def masked_by(masker: Masker, notebook: NotebookNode) -> NotebookNode:
    """Return a masked copy as nbformat holds it."""
    copy: NotebookNode = nbformat.from_dict(masker.mask_notebook(notebook))
    return copy


def canaries(text: str) -> set[str]:
    """Return the forms of the canary that a text holds, colours ignored."""
    return {form for form in variants(CANARY) if form in text or form in strip_ansi(text)}


class TestRealNotebook:
    """One that was executed."""

    def test_every_channel_leaks(self, executed: tuple[Path, str]) -> None:
        """Without masking the canary is all over it, or the tests below prove nothing."""
        text = executed[0].read_text()

        assert len(canaries(text)) >= 8
        assert canaries(executed[1])

    def test_nothing_is_left(self, executed: tuple[Path, str], masker: Masker) -> None:
        """Not one form is left in the file, nor in any text of it as its reader sees it."""
        notebook = masked_by(masker, nbformat.read(executed[0], 4))
        text = nbformat.writes(notebook)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        streams = {n: "".join(o.text for o in outputs if o.get("name") == n) for n in STREAMS}
        error = outputs[-1]

        assert canaries(text) == set()
        assert all(streams.values())
        assert [canaries(stream) for stream in streams.values()] == [set(), set()]
        assert text.count("[masked:") > 20
        assert error.evalue == "login with [masked:canary]"
        assert canaries("\n".join(error.traceback)) == set()
        nbformat.validate(notebook)

    def test_parameters(self, executed: tuple[Path, str], masker: Masker) -> None:
        """The injected cell and papermill's own list of parameters hold the placeholder."""
        notebook = masked_by(masker, nbformat.read(executed[0], 4))
        (injected,) = [c for c in notebook.cells if c.id == "injected-parameters"]

        assert notebook.metadata.papermill.parameters == {"password": "[masked:password]"}
        assert "[masked:" in injected.source

    def test_unknown_value(self, executed: tuple[Path, str]) -> None:
        """Where nobody knows the value, its key masks it in parameters and injected cell."""
        notebook = masked_by(Masker(Registry()), nbformat.read(executed[0], 4))
        (injected,) = [c for c in notebook.cells if c.id == "injected-parameters"]

        assert notebook.metadata.papermill.parameters == {"password": "[masked:password]"}
        assert 'password = "[masked:password]"' in injected.source

    def test_error_for_the_command_line(self, executed: tuple[Path, str], masker: Masker) -> None:
        """The text of papermill's error, which repeats cell and traceback, is masked as text."""
        assert canaries(masker.mask(executed[1])) == set()
        assert "Refused: login with [masked:canary]" in strip_ansi(masker.mask(executed[1]))

    def test_the_gate_agrees(
        self, executed: tuple[Path, str], masker: Masker, tmp_path: Path
    ) -> None:
        """It finds the canary in what ran, and nothing in the masked copy."""
        masked = masked_by(masker, nbformat.read(executed[0], 4))
        nbformat.write(masked, tmp_path / "masked.ipynb")

        assert {leak.secret for leak in gate(executed[0].parent, masker)} == {"canary"}
        assert gate(tmp_path, masker) == ()

    def test_masked_again(self, executed: tuple[Path, str], masker: Masker) -> None:
        """A second masking changes nothing, and the notebook itself was not touched."""
        notebook = nbformat.read(executed[0], 4)
        masked = masked_by(masker, notebook)

        assert masked_by(masker, masked) == masked
        assert notebook == nbformat.read(executed[0], 4)


def stream(name: str, text: str) -> Any:
    """Return a chunk of a stream."""
    return new_output("stream", name=name, text=text)
