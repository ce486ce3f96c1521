"""Loading a site: files that extend others, origins, and every problem in one go."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from pydantic import ValidationError

import runbook.site
from runbook.errors import BadInput
from runbook.site import Setting, SiteFile, SiteInvalid, load

SITES = Path(__file__).parents[2] / "data" / "sites"


@pytest.fixture(autouse=True)
def _in_the_folder_of_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name files as an operator does, relative to where they work."""
    monkeypatch.chdir(SITES)


@pytest.fixture
def top() -> SiteFile:
    """A site that four files declare together."""
    return load("chain/top/top.yml")


def origins(site_file: SiteFile) -> dict[str, str]:
    """Return where each setting is declared."""
    return {setting.name: setting.origin for setting in site_file.settings}


def refusal(path: str) -> str:
    """Return the message that refuses a site file."""
    with pytest.raises(SiteInvalid) as caught:
        load(path)
    return str(caught.value)


class TestSite:
    """What a loaded site holds."""

    def test_values_are_typed(self) -> None:
        """Addresses are addresses and defaults are there."""
        site = load("valid.yml").site

        assert site.keepalived.vip == IPv4Address("10.0.0.2")
        assert (site.network.name, site.traefik.web_port) == ("frontend", 80)
        assert site.traefik.dashboard.insecure is False

    def test_is_immutable(self) -> None:
        """Nobody changes a site after it was validated."""
        site = load("valid.yml").site
        with pytest.raises(ValidationError, match="frozen"):
            site.name = "other"

    def test_hosts_in_order(self) -> None:
        """Managers come first, then workers, then the gateway."""
        hosts = load("valid.yml").site.hosts

        assert list(hosts) == ["docker01", "docker02", "docker03", "docker04", "gateway"]

    def test_managers_by_priority(self, tmp_path: Path) -> None:
        """The manager that holds the VIP first comes first, wherever the file has it."""
        changed = tmp_path / "site.yml"
        changed.write_text(
            f"extends: {SITES}/valid.yml\nmanagers: {{docker03: {{priority: 250}}}}\n"
        )

        assert list(load(changed).site.ordered_managers) == ["docker03", "docker01", "docker02"]


class TestExtends:
    """Files that add to others or replace what they say."""

    def test_nearest_file_wins(self, top: SiteFile) -> None:
        """A value comes from the first file of the chain that declares it."""
        assert (top.site.name, top.site.ssh.connect_timeout) == ("top", 30)

    def test_mappings_are_merged(self, top: SiteFile) -> None:
        """One setting of a part leaves the others of that part alone."""
        assert (top.site.shorewall.net_zone, top.site.shorewall.lan_zone) == ("out", "loc")

    def test_lists_are_replaced(self, top: SiteFile) -> None:
        """A list is taken whole, never joined with the one below."""
        assert [(f.port, f.source) for f in top.site.shorewall.forward] == [(80, ())]

    def test_null_takes_an_optional_value_away(self, tmp_path: Path) -> None:
        """A setting without a value undoes what an extended file declares."""
        changed = tmp_path / "site.yml"
        changed.write_text(f"extends: {SITES}/valid.yml\ngateway:\n  public_address:\n")

        assert load(changed).site.gateway.public_address is None

    def test_circle(self) -> None:
        """Files that extend each other are refused where the circle closes."""
        assert refusal("circle/a.yml") == (
            "circle/a.yml is not a valid site, 1 problem:\n"
            "  circle/b.yml:1:10: extends: circle/a.yml leads back to this file; "
            "a circle has no end"
        )

    def test_missing_file(self, tmp_path: Path) -> None:
        """An extended file that is not there is a problem of the line that names it."""
        site = tmp_path / "site.yml"
        site.write_text("name: x\nextends: nowhere.yml\n")

        assert f"{site}:2:10: extends: there is no file {tmp_path}/nowhere.yml" in refusal(
            str(site)
        )

    @pytest.mark.parametrize("value", ["", "[a.yml]", "12"])
    def test_not_a_file_name(self, tmp_path: Path, value: str) -> None:
        """What is extended is one file, by name."""
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {value}\n")

        assert "extends: must be the name of a file, relative to this one" in refusal(str(site))

    @pytest.mark.parametrize(
        "name",
        ['"a\\0b.yml"', "a" * 300 + ".yml", "loop.yml", "site.yml/below.yml", "~nobody-here/a.yml"],
    )
    def test_name_that_leads_to_no_file(self, tmp_path: Path, name: str) -> None:
        """So is one of a name that no file can have, or that leads nowhere."""
        (tmp_path / "loop.yml").symlink_to("loop.yml")
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {name}\n")

        assert f"{site}:1:10: extends: there is no file " in refusal(str(site))

    def test_link_that_leads_to_itself(self, tmp_path: Path) -> None:
        """The file itself may be one, and is refused with the system's reason."""
        (tmp_path / "site.yml").symlink_to("site.yml")

        assert "cannot be read: Too many levels" in refusal(str(tmp_path / "site.yml"))

    def test_broken_file_below(self, tmp_path: Path) -> None:
        """A file below that is no YAML is named, with what was found above it."""
        (tmp_path / "base.yml").write_text("a: [\n")
        (tmp_path / "site.yml").write_text("extends: base.yml\nname: 051\n")
        lines = refusal(str(tmp_path / "site.yml")).replace(f"{tmp_path}/", "").splitlines()

        assert lines[0] == "site.yml is not a valid site, 2 problems:"
        assert lines[1].startswith("  site.yml:2:7: name: 051 starts with a zero")
        assert lines[2].startswith("  base.yml:2:1: is not YAML: ")


class TestOrigins:
    """Where every effective value is declared."""

    def test_file_and_line(self, top: SiteFile) -> None:
        """Each value names the file and the line that won."""
        where = origins(top)

        assert where["name"] == "chain/top/top.yml:3"
        assert where["ssh.connect_timeout"] == "chain/middle.yml:4"
        assert where["ssh.config"] == "chain/base.yml:4"
        assert where["managers.docker02.priority"] == "valid.yml:12"
        assert where["shorewall.forward[0].port"] == "chain/top/top.yml:6"

    def test_defaults(self, top: SiteFile) -> None:
        """A value that no file declares says so."""
        where = origins(top)

        assert where["keepalived.instance"] == "default"
        assert where["shorewall.forward[0].source"] == "default"

    def test_values_are_plain(self, top: SiteFile) -> None:
        """Settings hold text, numbers and flags, as they would be written."""
        assert Setting("lan", "10.0.0.0/24", "valid.yml:2") in top.settings
        assert Setting("traefik.web_port", 80, "default") in top.settings
        assert Setting("accepted_risks", None, "default") in top.settings

    def test_ssh_config_is_relative_to_its_file(self, top: SiteFile) -> None:
        """The path is resolved against the file that declares it, not the one asked for."""
        assert top.ssh_config_path == Path("chain/ssh_config")
        assert load("valid.yml").ssh_config_path is None

    def test_key_is_relative_to_its_file(self, tmp_path: Path) -> None:
        """So is the key of the records; a file that extends the one with the key has the same."""
        (tmp_path / "sites").mkdir()
        base, top = tmp_path / "sites" / "base.yml", tmp_path / "top.yml"
        base.write_text(f"extends: {SITES}/valid.yml\nrecords: {{key: ../keys/id_ed25519.pub}}\n")
        top.write_text("extends: sites/base.yml\nrecords: {witness: true}\n")

        assert load(top).key_path == tmp_path / "keys" / "id_ed25519.pub"
        assert load("valid.yml").key_path is None

    def test_ssh_config_at_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A path from the home folder is left there."""
        monkeypatch.setenv("HOME", "/home/operator")
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {SITES}/valid.yml\nssh: {{config: ~/.ssh/edge}}\n")

        assert load(site).ssh_config_path == Path("/home/operator/.ssh/edge")

    @pytest.mark.parametrize("setting", ["ssh: {config", "records: {key"])
    def test_home_of_nobody(self, tmp_path: Path, setting: str) -> None:
        """The home of a user that there is not is left to whoever reads the file to complain of."""
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {SITES}/valid.yml\n{setting}: ~nobody-here/f}}\n")
        loaded = load(site)

        assert tmp_path / "~nobody-here/f" in (loaded.ssh_config_path, loaded.key_path)


class TestProblems:
    """Everything that is wrong, in one go."""

    def test_golden(self) -> None:
        """Every problem of both files is reported, in the order of files and lines."""
        assert refusal("many.yml") + "\n" == Path("many.txt").read_text()

    def test_is_bad_input(self) -> None:
        """A site that is invalid ends a program with exit status 2 and carries its problems."""
        with pytest.raises(BadInput) as caught:
            load("many.yml")

        assert caught.value.exit_code == 2
        assert isinstance(caught.value, SiteInvalid)
        assert len(caught.value.problems) == 23

    @pytest.mark.parametrize(
        ("part", "setting", "name"),
        [
            ("traefik", "stack", "edge.prod"),
            ("traefik", "stack", "edge-"),
            ("traefik", "stack", 56 * "a"),
            ("network", "name", "front.end"),
            ("network", "name", 64 * "a"),
        ],
    )
    def test_name_that_swarm_refuses(
        self, tmp_path: Path, part: str, setting: str, name: str
    ) -> None:
        """A service's or a network's name has no dots, ends as it begins, and is not too long."""
        site = tmp_path / "site.yml"
        site.write_text(f"extends: {SITES}/valid.yml\n{part}:\n  {setting}: {name}\n")

        assert f"{part}.{setting}: must" in refusal(str(site))

    def test_missing_settings_name_their_parent(self, tmp_path: Path) -> None:
        """What is missing is reported at the line of the part it is missing from."""
        site = tmp_path / "site.yml"
        site.write_text("lan: 10.0.0.0/24\nkeepalived:\n  vip: 10.0.0.2\n")
        lines = refusal(str(site)).replace(f"{site}:", "")

        assert "  1:1: managers: is missing: the Swarm's managers\n" in lines
        assert "  2:1: keepalived.virtual_router_id: is missing: VRID, unique among" in lines

    def test_misspelt_setting_is_told_once(self, tmp_path: Path) -> None:
        """A setting missing only because it is misspelt is not reported as missing too."""
        site = tmp_path / "site.yml"
        site.write_text((SITES / "valid.yml").read_text().replace("  vip:", "  vipp:"))

        assert refusal(str(site)).splitlines()[1:] == [
            f"  {site}:22:3: keepalived.vipp: is not a setting; did you mean vip?"
        ]


class TestPackage:
    """What importing the package costs and offers."""

    def test_exported_names(self) -> None:
        """The package exports each name it lists, in order."""
        names = runbook.site.__all__

        assert sorted(names) == names
        assert all(hasattr(runbook.site, name) for name in names)
