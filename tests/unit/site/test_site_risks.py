"""Risks that a run refuses until the site accepts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook.site import Site, load, unaccepted_risks

VALID = Path(__file__).parents[2] / "data" / "sites" / "valid.yml"
OPEN = "traefik: {dashboard: {insecure: true, port: 8080}}\n"


def site_with(folder: Path, text: str) -> Site:
    """Return a valid site with these lines."""
    path = folder / "site.yml"
    path.write_text(f"extends: {VALID}\n{text}")
    return load(path).site


def forwarding(rule: str) -> str:
    """Return an open dashboard with this rule beside that of the web port."""
    return f"{OPEN}shorewall: {{forward: [{{port: 80}}, {rule}]}}\n"


class TestRisks:
    """Which sites take which risk."""

    def test_none(self, tmp_path: Path) -> None:
        """Without a dashboard there is no risk."""
        assert unaccepted_risks(site_with(tmp_path, "traefik: {dashboard: {}}\n")) == ()

    def test_password_over_plain_http(self, tmp_path: Path) -> None:
        """A guarded dashboard gives its password to whoever is on the way."""
        guarded = "traefik: {dashboard: {host: a.test, users_secret: users}}\n"
        accepted = "accepted_risks: [{risk: plain-http-password, reason: only through a VPN}]\n"
        (risk,) = unaccepted_risks(site_with(tmp_path, guarded))

        assert (risk.name, risk.setting) == ("plain-http-password", "traefik.dashboard.host")
        assert "http://a.test over plain HTTP" in risk.what
        assert unaccepted_risks(site_with(tmp_path, guarded + accepted)) == ()

    def test_insecure_dashboard(self, tmp_path: Path) -> None:
        """An API without a password is a risk by itself."""
        (risk,) = unaccepted_risks(site_with(tmp_path, OPEN))

        assert (risk.name, risk.setting) == ("insecure-dashboard", "traefik.dashboard.insecure")
        assert risk.what == "Traefik's API and dashboard answer on port 8080 without a password"
        assert "reads every router" in risk.why
        assert "accept insecure-dashboard under accepted_risks" in risk.todo

    @pytest.mark.parametrize(
        "rule",
        [
            "{port: 8080}",
            "{port: 9000, to_port: 8080}",
            "{port: 8080, source: [0.0.0.0/0]}",
            "{port: 8080, source: [0.0.0.0/1, 128.0.0.0/1]}",
        ],
    )
    def test_public_dashboard(self, tmp_path: Path, rule: str) -> None:
        """Forwarding it to everybody, however that is written, is a second risk."""
        first, second = unaccepted_risks(site_with(tmp_path, forwarding(rule)))

        assert (first.name, second.name) == ("insecure-dashboard", "public-dashboard")
        assert second.setting == "shorewall.forward[1]"
        assert second.what.endswith("to that dashboard for everybody")

    def test_forwarded_to_some(self, tmp_path: Path) -> None:
        """A rule with sources is not public."""
        rule = "{port: 8080, source: [203.0.113.0/24]}"
        names = [risk.name for risk in unaccepted_risks(site_with(tmp_path, forwarding(rule)))]

        assert names == ["insecure-dashboard"]

    def test_accepted(self, tmp_path: Path) -> None:
        """What is accepted by name is not refused; the other still is."""
        accepted = "accepted_risks: [{risk: insecure-dashboard, reason: only on the LAN}]\n"
        site = site_with(tmp_path, forwarding("{port: 8080}") + accepted)

        assert [risk.name for risk in unaccepted_risks(site)] == ["public-dashboard"]
