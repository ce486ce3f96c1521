"""What papermill gets wrong of parameters: injected, and the record tells the truth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from archives import allow, key, team
from fakes import TOP
from headless import NOTEBOOKS, Workplace
from papermills import Program, ended, engine, run

from runbook.errors import BadInput
from runbook.notebook import open_step
from runbook.records.journal.entries import OfStep
from runbook.site import load
from runbook.site.problems import SiteInvalid

pytestmark = pytest.mark.usefixtures("quick_kernels")

SITE = TOP / "tests" / "data" / "sites" / "valid.yml"


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """A folder for a site, its steps and its records, which the team signs."""
    place = Workplace(tmp_path)
    allow(place.records, team())
    return place


class TestSecretParameter:
    """papermill writes parameters into the notebook, twice, before the first cell runs."""

    def test_is_not_taken(self, program: Program, tmp_path: Path) -> None:
        """The notebooks declare none, so one that is given is refused and written nowhere."""
        output = tmp_path / "out.ipynb"
        words = ("-p", "token", "correct-horse-battery")
        status, said = ended(program(NOTEBOOKS / "completes.ipynb", output, *words))

        assert (status, output.exists()) == (1, False)
        assert "unknown parameter token; the notebook declares mode, site" in said

    def test_is_masked_where_a_notebook_declares_it(self, place: Workplace) -> None:
        """A notebook of one's own keeps it out of every version of the file."""
        place.cells("own", "1 + 1")
        path, output = place.folder / place.steps[0].notebook, place.folder / "out.ipynb"
        path.write_text(path.read_text().replace("mode: str =", "token: str ="))
        seen: list[str] = []

        def report(_entry: OfStep) -> None:
            seen.append(output.read_text())

        parameters = {"token": "correct-horse-battery"}
        engine(path, output, parameters=parameters, report=report)
        seen.append(output.read_text())

        assert len(seen) > 3
        assert not [text for text in seen if "correct-horse-battery" in text]
        assert json.loads(seen[-1])["metadata"]["papermill"]["parameters"] == {
            "token": "[masked:token]"
        }


class TestNumbersInYaml:
    """papermill's parameter files are YAML 1.1: 051 becomes 41, and 51 on its command line."""

    def test_leading_zero(self, tmp_path: Path) -> None:
        """A site in which two readers would see two numbers is refused, with the one to write."""
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {SITE}\nkeepalived: {{virtual_router_id: 051}}\n")
        with pytest.raises(SiteInvalid, match=r"051 starts with a zero.*write 51"):
            load(site)

        site.write_text(f"extends: {SITE}\nkeepalived: {{virtual_router_id: 51}}\n")
        assert load(site).site.keepalived.virtual_router_id == 51

    def test_parameter_file(self, program: Program, tmp_path: Path) -> None:
        """A parameter file brings none of the site's values into a notebook."""
        (tmp_path / "parameters.yml").write_text("vrid: 051\n")
        output = tmp_path / "out.ipynb"
        words = ("-f", tmp_path / "parameters.yml")
        status, said = ended(program(NOTEBOOKS / "completes.ipynb", output, *words))

        assert (status, output.exists()) == (1, False)
        assert "unknown parameter vrid" in said


class TestWordsInYaml:
    """papermill's parameter files turn 22:22, no and 3.10 into 1342, False and 3.1."""

    @pytest.mark.parametrize(
        ("setting", "said"),
        [
            ("traefik: {dashboard: {port: 22:22}}", '"22:22"'),
            ("records: {witness: no}", 'must be true or false, not "no"'),
            ("traefik: {image: 3.10}", "3.1"),
        ],
    )
    def test_are_refused_as_they_were_written(
        self, tmp_path: Path, setting: str, said: str
    ) -> None:
        """None of them is taken for something else: the message has what was written."""
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {SITE}\n{setting}\n")
        with pytest.raises(SiteInvalid) as refused:
            load(site)

        assert said in str(refused.value)

    def test_mode(self) -> None:
        """A mode that YAML 1.1 made a flag of is no mode; nothing is applied."""
        with pytest.raises(BadInput, match="mode is False"):
            open_step("traefik", str(SITE), False)  # type: ignore[arg-type]


class TestMisspeltParameter:
    """papermill warns of a parameter that the notebook does not know, and runs its default."""

    def test_is_refused(self, tmp_path: Path) -> None:
        """It is an error that names the known ones, before anything ran."""
        output = tmp_path / "out.ipynb"
        with pytest.raises(BadInput, match=r"unknown parameter moode.* mode, site"):
            engine(NOTEBOOKS / "completes.ipynb", output, parameters={"moode": "apply"})

        assert not output.exists()

    @pytest.mark.parametrize("kind", ["str | None", "Literal['plan', 'apply']", "None | str"])
    def test_annotation_does_not_matter(self, place: Workplace, kind: str) -> None:
        """A declared one is known however it is annotated."""
        place.cells("network", "mode")
        path = place.folder / place.steps[0].notebook
        declared = path.read_text().replace("mode: str", f"from typing import *\\nmode: {kind}")
        path.write_text(declared)
        result = run(place, mode="apply")
        executed = json.loads(next(place.records.glob("2*/*.ipynb")).read_text())

        assert result["steps"][0]["cells"][-1]["status"] == "unchanged"
        assert executed["cells"][-1]["outputs"][0]["data"]["text/plain"] == ["'apply'"]

    def test_in_a_run(self, place: Workplace) -> None:
        """A notebook that misspells what a run gives it is refused before there is a record."""
        place.cells("network", "mode")
        path = place.folder / place.steps[0].notebook
        path.write_text(path.read_text().replace("mode: str", "moode: str"))
        with pytest.raises(BadInput, match="does not declare the parameter mode"):
            place.run(key=key("alice"))

        assert [path.name for path in place.records.iterdir()] == ["allowed_signers"]
