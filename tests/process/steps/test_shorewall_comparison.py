"""The snippets for the gateway, run here beside a stand-in for Shorewall."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from runbook.steps.shorewall.comparison import Compared, probe, read
from runbook.steps.shorewall.reload import _RELOAD

# It compiles one rule, which says where it stands if shorewall.conf asks for that, and reads the
# settings as Shorewall does: a line that is two settings in one is an error.
SHOREWALL = r"""#!/bin/sh
conf=$2/shorewall.conf
if grep -q '=.*=' "$conf"; then echo "   ERROR: Invalid value"; exit 1; fi
grep -q '^TRACK_RULES=File' "$conf" && place="# $2/rules:1"
grep -q '^TRACK_RULES=Yes' "$conf" && told="-m comment --comment \"@@@ $2/rules:1 @@@\" "
cat > "$3" <<END
initialize() { :; }
detect_configuration() { :; }
run_init_exit() {
    progress_message2 Processing init ...
    $(cat "$SITE/init" 2>/dev/null)
}
define_firewall() {
    : startup_error "Invalid value (\$EXT) for address variable EXT"
}
setup_netfilter() { cat > "\$VARDIR/.iptables-restore-input" <<RULES
*nat
:PREROUTING ACCEPT [0:0]
$place
-A PREROUTING \${EXT:+-d \$EXT }-p tcp ${told}-j DNAT --to-destination 10.0.0.2:80
COMMIT
RULES
}
# Code imported from prog.footer
END
"""
UNSHARE = '#!/bin/sh\nshift; namespace=.own exec "$@"\n'
RESTORE = '#!/bin/sh\ncat > "$0d$namespace"\n'
SAVE = '#!/bin/sh\ncat "${0%-save}-restored$namespace"\n'
RULE = "-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.2:80"


@pytest.fixture
def gateway(tmp_path: Path) -> Path:
    """Return the folder of a gateway: its programs, configuration and state."""
    for name in ("bin", "etc", "var", "run"):
        (tmp_path / name).mkdir()
    programs = {"shorewall": SHOREWALL, "unshare": UNSHARE, "ip": "#!/bin/sh\n"}
    for name in ("iptables", "iptables-legacy"):
        programs |= {f"{name}-restore": RESTORE, f"{name}-save": SAVE}
        (tmp_path / "bin" / f"{name}-restored").write_text("")
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def compared(gateway: Path, conf: str) -> Compared:
    """Return what the snippet prints with these settings, with the places of the real gateway."""
    (gateway / "etc/shorewall.conf").write_text(conf)
    script = probe("DNAT net loc:10.0.0.2 tcp 80\n", "10.0.0.2").replace("/proc", f"{gateway}/proc")
    places = {r"(?<!\$d)/etc/shorewall": "etc", "/var/lib/shorewall": "var", "/run /dev/shm": "run"}
    for place, folder in places.items():
        script = re.sub(place, str(gateway / folder), script)
    ran = subprocess.run(
        ["/bin/sh", "-s"],
        input=script,
        env={"PATH": f"{gateway / 'bin'}:/usr/bin:/bin", "SITE": str(gateway / "etc")},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return read(ran.stdout.replace(str(gateway / "etc"), "/etc/shorewall"))


def rules(seen: Compared) -> list[str]:
    """Return the planned rules of the one chain."""
    return seen.planned["nat", "PREROUTING"][1:]


def install(gateway: Path, name: str, text: str) -> None:
    """Put another program on the gateway."""
    (gateway / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
    (gateway / "bin" / name).chmod(0o755)


class TestSettings:
    """What shorewall.conf may say, and how it may be written."""

    def test_places(self, gateway: Path) -> None:
        """Of each rule it is said where it stands, without a word of it in the rule."""
        seen = compared(gateway, "STARTUP_ENABLED=Yes\n")

        assert rules(seen) == [RULE]
        assert seen.origins["nat", "PREROUTING"] == ["/etc/shorewall/rules:1"]

    def test_last_line_without_an_end(self, gateway: Path) -> None:
        """What is added is a line of its own."""
        seen = compared(gateway, "STARTUP_ENABLED=Yes\nZONE_BITS=0")

        assert seen.refusal == ""
        assert rules(seen) == [RULE]

    def test_places_in_the_rules(self, gateway: Path) -> None:
        """Under TRACK_RULES=Yes a rule names the file that it will be in, not a passing copy."""
        seen = compared(gateway, "TRACK_RULES=Yes\n")

        assert rules(seen) == [
            RULE.replace("-j", '-m comment --comment "@@@ /etc/shorewall/rules:1 @@@" -j')
        ]
        assert seen.origins["nat", "PREROUTING"] == ["/etc/shorewall/rules:1"]

    @pytest.mark.parametrize("quote", ["", '"'])
    def test_iptables_of_its_own(self, gateway: Path, quote: str) -> None:
        """What is live is asked of the iptables that Shorewall is set to use."""
        live = f"*nat\n:PREROUTING ACCEPT [0:0]\n{RULE}\nCOMMIT\n"
        (gateway / "bin/iptables-legacy-restored").write_text(live)
        seen = compared(gateway, f"IPTABLES={quote}{gateway / 'bin/iptables-legacy'}{quote}\n")

        assert rules(seen) == [RULE]
        assert seen.live.own == seen.planned

    def test_address_that_init_sets(self, gateway: Path) -> None:
        """It is in the rules (``&{EXT}``), and nothing else of what init does is done."""
        done = gateway / "done"
        lines = (f"touch {done}", "EXT=$(echo 203.0.113.2)", f"EXTRA=$(touch {done})")
        (gateway / "etc/init").write_text("\n".join(lines))
        seen = compared(gateway, "STARTUP_ENABLED=Yes\n")

        assert rules(seen) == [RULE.replace("-p", "-d 203.0.113.2 -p")]
        assert not done.exists()


class TestPath:
    """Where Shorewall looks for its files."""

    @pytest.mark.parametrize(
        ("path", "read"),
        [
            (":{site}/local:${{CONFDIR}}/shorewall:{etc}", "{site}/local/rules"),
            ("{site}/empty:{site}/local/:{etc}:/usr/share/shorewall", "{site}/local/rules"),
            ("{site}/empty:/usr/share/shorewall", "nothing"),
        ],
    )
    def test_other_rules(self, gateway: Path, path: str, read: str) -> None:
        """Where it would not read the file that the step writes, that is the cause."""
        seen = self._compared(gateway, path)

        assert seen.planned == {}
        assert seen.failure.startswith(
            f"Shorewall reads {read.format(site=gateway)} instead of /etc/shorewall/rules "
        )

    @pytest.mark.parametrize(
        "path",
        [
            "",
            "{etc}:{site}/local",
            ":{etc}/:/usr/share/shorewall",
            "{site}/empty::{etc}:{site}/local",
            "{site}/linked:/usr/share/shorewall",
            "{site}/same:{etc}",
        ],
    )
    def test_the_rules(self, gateway: Path, path: str) -> None:
        """A folder behind it, one without rules, and one that has the very file are well."""
        seen = self._compared(gateway, path)

        assert (seen.failure, rules(seen)) == ("", [RULE])

    def _compared(self, gateway: Path, path: str) -> Compared:
        for name in ("local", "empty", "same"):
            (gateway / name).mkdir()
        (gateway / "etc/rules").touch()
        (gateway / "local/rules").touch()
        (gateway / "same/rules").symlink_to(gateway / "etc/rules")
        (gateway / "linked").symlink_to(gateway / "etc")
        path = path.format(site=gateway, etc=gateway / "etc")
        return compared(gateway, f'CONFIG_PATH="{path}"\n')


class TestBeside:
    """What is asked of other firewalls."""

    SAVED = "cat <<END\n*filter\n:FORWARD DROP [0:0]\nCOMMIT\nEND\ntouch $SITE/asked"

    @pytest.mark.parametrize(
        ("used", "other", "tables", "asked"),
        [
            ("iptables v1.8.9 (nf_tables)", "iptables-legacy", "filter\n", True),
            ("iptables v1.8.9 (nf_tables)", "iptables-legacy", "", False),
            ("iptables v1.8.9 (nf_tables)", "iptables-nft", "filter\n", False),
            ("iptables v1.8.9 (legacy)", "iptables-nft", "", True),
            ("iptables v1.8.9 (legacy)", "iptables-legacy", "filter\n", False),
        ],
    )
    def test_other_iptables(
        self, gateway: Path, used: str, other: str, tables: str, asked: bool
    ) -> None:
        """It is the one that Shorewall does not use; tables that are not there stay away."""
        (gateway / "proc/net").mkdir(parents=True)
        (gateway / "proc/net/ip_tables_names").write_text(tables)
        install(gateway, "iptables", f"echo '{used}'")
        install(gateway, f"{other}-save", self.SAVED)
        seen = compared(gateway, "")

        assert [base.place for base in seen.beside] == (
            [f"{other}, table filter, chain FORWARD"] if asked else []
        )
        assert (gateway / "etc/asked").exists() == asked

    @pytest.mark.parametrize(
        ("table", "chain", "hook", "asked"),
        [
            ("inet x", "PREROUTING", "prerouting", True),
            ("ip filter", "forward", "forward", True),
            ("ip filter", "FORWARD", "forward", False),
            ("ip6 x", "forward", "forward", False),
            ("bridge x", "forward", "forward", False),
            ("inet f2b-table", "f2b-chain", "input", False),
            ("ip libvirt", "post", "postrouting", False),
        ],
    )
    def test_native_tables(
        self, gateway: Path, table: str, chain: str, hook: str, asked: bool
    ) -> None:
        """Only those through which forwarded packets come are read."""
        family, name = table.split()
        chains = (
            f"table {table} {{\n\tchain {chain} {{\n"
            f"\t\ttype filter hook {hook} priority filter; policy drop;\n\t}}\n}}"
        )
        listed = (
            '{"nftables": [{"chain": {"family": "FAMILY", "table": "TABLE", "name": "CHAIN", '
            '"type": "filter", "hook": "HOOK", "prio": 0, "policy": "drop"}}]}'
        )
        for word, value in zip(
            ("FAMILY", "TABLE", "CHAIN", "HOOK"), (family, name, chain, hook), strict=True
        ):
            listed = listed.replace(word, value)
        install(
            gateway,
            "nft",
            f"""case $* in
            "list chains") echo '{chains}' ;;
            "-j list table {table}") touch $SITE/asked; echo '{listed}' ;;
            *) exit 1 ;; esac""",
        )
        seen = compared(gateway, "")

        assert (gateway / "etc/asked").exists() == asked
        assert [base.place for base in seen.beside] == (
            [f"nftables, table {table}, chain {chain}"] if asked else []
        )

    def test_native_chains_in_its_own_tables(self, gateway: Path) -> None:
        """They are told from what iptables-save says of them."""
        said = "contains incompatible base-chains, use 'nft' tool to list them."
        (gateway / "bin/iptables-restored").write_text(f"# Table `nat' {said}\n*nat\nCOMMIT\n")

        assert compared(gateway, "").mixed == ["nat"]

    def test_neither_is_there(self, gateway: Path) -> None:
        """No tool is no error."""
        seen = compared(gateway, "")

        assert (seen.failure, seen.beside, seen.mixed) == ("", [], [])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Compiling...\n   ERROR: no such zone", "ERROR: no such zone"),
        ("Running /sbin/iptables-restore --wait 60...\n   ERROR: away", "ERROR: away"),
        ("Processing\niptables-restore: line 12 failed", "iptables-restore: line 12 failed"),
        ("Shorewall is not running", "Shorewall is not running"),
        ("Compiling...\n   ERROR: f\udcfcr", "ERROR: f\udcfcr"),
    ],
)
def test_reload_that_fails(gateway: Path, said: str, told: str) -> None:
    """Whatever Shorewall says of it comes back, errors before all else."""
    programs = {
        "shorewall": f"case $1 in save) cp firewall $2;; *) printf '%s\\n' '{said}'; exit 1;; esac",
        "systemctl": "case $* in *is-active*) exit 3;; esac",
        "systemd-run": "",
    }
    for name, text in programs.items():
        program = f"#!/bin/sh\n{text}\n".encode("utf-8", "surrogateescape")
        (gateway / "bin" / name).write_bytes(program)
        (gateway / "bin" / name).chmod(0o755)
    (gateway / "var/firewall").write_text("before")
    (gateway / "var/runbook-new").write_text("after")
    (gateway / "etc/shorewall.conf").write_text("")
    (gateway / "etc/rules").write_text("")
    script = _RELOAD.replace("/var/lib/shorewall", str(gateway / "var"))
    script = script.replace("/etc/shorewall", str(gateway / "etc"))
    ran = subprocess.run(
        ["/bin/sh", "-c", script, "guarded", "true"],
        env={"PATH": f"{gateway / 'bin'}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        timeout=30,
    )

    assert ran.returncode == 65
    assert ran.stderr.strip().splitlines()[-1].strip() == told
