"""Signatures, and who may make them."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from archives import (
    ALICE,
    BOB,
    CAROL,
    RUNS,
    allow,
    archive_in,
    by_both,
    by_script,
    edit,
    key,
    run,
    scratch,
    signer,
    team,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from runbook.errors import BadInput, Refused
from runbook.records.archive.archive import Archive
from runbook.records.signing import allowed_signers, sign, sshsig
from runbook.records.signing.allowed_signers import AllowedSigners, matches
from runbook.records.signing.sign import Signer
from runbook.records.signing.sshsig import Unverified
from runbook.records.signing.trust import Verify
from runbook.records.verify.verify import Options
from runbook.records.verify.verify import verify as verify_archive
from runbook.waiting import until

CONTENT = b'{"x": "\xc3\xbc"}\n'
NOW = datetime(2026, 11, 23, 13, 0, tzinfo=UTC)
KINDS = {
    "ed25519": ("ed25519",),
    "rsa": ("rsa", "-b", "2048"),
    "nistp256": ("ecdsa", "-b", "256"),
    "nistp384": ("ecdsa", "-b", "384"),
    "nistp521": ("ecdsa", "-b", "521"),
}
VERIFIERS = pytest.mark.parametrize("verify", [sign.verify, sign.verify_independently])


def allowed(folder: Path, *lines: str) -> AllowedSigners:
    allow(folder, lines)
    return allowed_signers.read(folder / "allowed_signers", folder / "revoked_keys")


def line(principal: str, options: str = "", of: Signer | None = None) -> str:
    return " ".join(filter(None, (principal, options, (of or signer(ALICE)).public_line)))


class TestSignature:
    """One signature of some bytes."""

    @pytest.mark.parametrize("kind", KINDS)
    @VERIFIERS
    def test_kinds_of_key(self, tmp_path: Path, kind: str, verify: Verify) -> None:
        """Every kind of key that OpenSSH makes signs and is verified, also by ssh-keygen."""
        own = Signer(key("kinds", *KINDS[kind]), ALICE)
        known = allowed(tmp_path, line(ALICE, of=own))
        armored = own.sign(CONTENT, sshsig.RECORD)

        signature = verify(CONTENT, armored, sshsig.RECORD, known, (ALICE, NOW))

        assert signature.key == own.public
        with pytest.raises(Unverified):
            verify(CONTENT + b" ", armored, sshsig.RECORD, known, (ALICE, NOW))

    @VERIFIERS
    def test_namespace(self, tmp_path: Path, verify: Verify) -> None:
        """A signature made for an approval is worth nothing as one of a record."""
        armored = signer(ALICE).sign(CONTENT, sshsig.APPROVAL)

        with pytest.raises(Unverified, match="namespace"):
            verify(CONTENT, armored, sshsig.RECORD, allowed(tmp_path, line(ALICE)), (ALICE, NOW))

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda _text: "", "not an SSH signature"),
            (lambda text: text.replace("BEGIN", "BEGUN"), "not an SSH signature"),
            (lambda text: text.replace("U1NIU0lH", "U1NIU0lI"), "of version 1"),
            (lambda text: text[:120] + text[160:], "not a whole SSH signature|malformed"),
            (lambda text: text.replace("\n", "\n!", 2), "not a whole SSH signature"),
            (lambda text: text.replace(text.split("\n")[4][:8], "AAAAAAAA"), "of this content"),
        ],
    )
    def test_malformed(self, tmp_path: Path, spoil: object, said: str) -> None:
        """Whatever a file holds, it is a signature or the reason why not is said."""
        text = spoil(signer(ALICE).sign(CONTENT, sshsig.RECORD))  # type: ignore[operator]

        with pytest.raises(Unverified, match=said):
            sign.verify(CONTENT, text, sshsig.RECORD, allowed(tmp_path, line(ALICE)), (ALICE, NOW))

    def test_cut_off_anywhere(self, tmp_path: Path) -> None:
        """A signature cut off at any byte is refused and raises nothing else."""
        text = signer(ALICE).sign(CONTENT, sshsig.RECORD)
        raw = base64.b64decode("".join(text.split("\n")[1:-2]))
        for size in range(len(raw)):
            cut = base64.b64encode(raw[:size]).decode()
            with pytest.raises(Unverified):
                sshsig.check(
                    sshsig.parse(f"{sshsig.BEGIN}\n{cut}\n{sshsig.END}\n"), CONTENT, sshsig.RECORD
                )


class TestForSshKeygen:
    """Signatures that only ssh-keygen verifies."""

    def token(self, content: bytes, namespace: str) -> tuple[bytes, str]:
        """Return key and signature as a FIDO token makes them; here without one.

        Source: OpenSSH PROTOCOL.u2f, SSH U2F Signatures.
        """
        private = load_ssh_private_key(key("token").read_bytes(), password=None)
        assert isinstance(private, Ed25519PrivateKey)
        kind, application = b"sk-ssh-ed25519@openssh.com", b"ssh:"
        (_, point) = sshsig.strings(Signer(key("token"), ALICE).public)
        blob = b"".join(map(sshsig.string, (kind, point, application)))
        fields = (namespace.encode(), b"", b"sha512")
        digest = hashlib.sha512(content).digest()
        signed = b"SSHSIG" + b"".join(map(sshsig.string, (*fields, digest)))
        flags_and_counter = b"\x01\x00\x00\x00\x07"
        over = hashlib.sha256(application).digest() + flags_and_counter
        made = private.sign(over + hashlib.sha256(signed).digest())
        signature = sshsig.string(kind) + sshsig.string(made) + flags_and_counter
        raw = b"SSHSIG\0\0\0\1" + sshsig.string(blob)
        raw += b"".join(map(sshsig.string, (*fields, signature)))
        return blob, f"{sshsig.BEGIN}\n{base64.b64encode(raw).decode()}\n{sshsig.END}\n"

    def test_token(self, tmp_path: Path) -> None:
        """A token's signature is handed to ssh-keygen and not called a bad one."""
        blob, armored = self.token(CONTENT, sshsig.RECORD)
        encoded = base64.b64encode(blob).decode()
        known = allowed(tmp_path, f"{ALICE} sk-ssh-ed25519@openssh.com {encoded}")

        assert sign.verify(CONTENT, armored, sshsig.RECORD, known, (ALICE, NOW)).key == blob
        with pytest.raises(Unverified, match="ssh-keygen refuses it"):
            sign.verify(b"other", armored, sshsig.RECORD, known, (ALICE, NOW))

    def test_certificate(self, tmp_path: Path) -> None:
        """An archive may be signed with a certified key, and its authority be allowed."""
        own = tmp_path / "id"
        for suffix in ("", ".pub"):
            source = key("certified").with_name(key("certified").name + suffix)
            own.with_name(f"id{suffix}").write_bytes(source.read_bytes())
            own.with_name(f"id{suffix}").chmod(0o600)
        argv = ["ssh-keygen", "-q", "-s", str(key("authority")), "-I", "id", "-n", ALICE]
        subprocess.run([*argv, str(own)], check=True)
        records = tmp_path / "records"
        authority = Signer(key("authority"), ALICE)
        allow(records, [line("*@example", "cert-authority", authority)])
        run(Archive(records, Signer(tmp_path / "id-cert.pub", ALICE)), RUNS[0])

        assert by_both(records) == (0, [])
        with pytest.raises(Refused, match="may not sign records here"):
            Archive(records, Signer(tmp_path / "id-cert.pub", BOB)).begin()


class TestAgent:
    """A key that the agent holds."""

    @pytest.fixture
    def agent(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """An agent with one key, whose file is gone."""
        socket = scratch() / "agent"
        argv = ["ssh-agent", "-D", "-a", str(socket)]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        until(socket.exists, holds=bool, timeout_s=10, every_s=0.02)
        yield
        process.terminate()
        process.wait(10)

    def test_public_half_suffices(self, tmp_path: Path, agent: None) -> None:
        """The .pub file names the key, and the agent signs."""
        private = key("agent")
        subprocess.run(["ssh-add", "-q", str(private)], check=True, timeout=10)
        public = tmp_path / "id.pub"
        public.write_bytes(private.with_name(private.name + ".pub").read_bytes())
        records = tmp_path / "records"

        run(Archive(records, Signer(public, ALICE)), RUNS[0])

        assert by_both(records) == (0, [])

    def test_locked(self, tmp_path: Path) -> None:
        """A key that cannot be used is refused before the run, with what to do."""
        public = tmp_path / "id.pub"
        public.write_text(signer(ALICE).public_line + "\n")
        archive = Archive(tmp_path / "records", Signer(public, ALICE))

        with pytest.raises(Refused, match="did not sign") as refused:
            archive.begin()
        assert "ssh-add" in refused.value.todo

    def test_no_public_half(self, tmp_path: Path) -> None:
        """Without a public key beside the private one, how to write it is said."""
        with pytest.raises(BadInput, match="no public key") as refused:
            _ = Signer(tmp_path / "id", ALICE).public
        assert "ssh-keygen -y" in refused.value.todo


REFUSED = {
    "another's key": ([line(BOB)], "gives it to bob@example, not to alice@example"),
    "unknown key": ([], "is not in allowed_signers"),
    "namespace": (
        [line(ALICE, 'namespaces="file,runbook-approval"')],
        "does not permit it in the namespace runbook-record",
    ),
    "not yet": ([line(ALICE, 'valid-after="20261124Z"')], "from 2026-11-24T00:00:00"),
    "expired": ([line(ALICE, 'valid-before="202611231259Z"')], "until 2026-11-23T12:59:00"),
    "excluded": ([line("*@example,!alice@example")], "gives it to"),
    "an authority's key": ([line("*", "cert-authority")], "is not in allowed_signers"),
}
PERMITTED = {
    "by name": [line(ALICE)],
    "by pattern": [line("b*,*@exampl?")],
    "namespaces": [line(ALICE, 'namespaces="file,runbook-*"')],
    "in time": [line(ALICE, 'valid-after="20261123Z",valid-before="20261123130001Z"')],
    "on another line": [line(BOB), line(ALICE)],
    "after comments": ["# who", "", line(ALICE) + " a comment"],
    "mixed case of options": [line(ALICE, 'NAMESPACES="runbook-record"')],
}


class TestAllowedSigners:
    """Whose key may sign what, and when."""

    @pytest.mark.parametrize("name", REFUSED)
    def test_refused(self, tmp_path: Path, name: str) -> None:
        """What ssh-keygen refuses is refused, and the line that forbids it is named."""
        lines, said = REFUSED[name]
        known = allowed(tmp_path, *lines)
        armored = signer(ALICE).sign(CONTENT, sshsig.RECORD)

        with pytest.raises(Unverified, match="ssh-keygen refuses"):
            sign.verify_independently(CONTENT, armored, sshsig.RECORD, known, (ALICE, NOW))
        with pytest.raises(Unverified) as refused:
            sign.verify(CONTENT, armored, sshsig.RECORD, known, (ALICE, NOW))
        assert said in str(refused.value)

    @pytest.mark.parametrize("name", PERMITTED)
    @VERIFIERS
    def test_permitted(self, tmp_path: Path, name: str, verify: Verify) -> None:
        """What ssh-keygen permits is permitted."""
        known = allowed(tmp_path, *PERMITTED[name])
        armored = signer(ALICE).sign(CONTENT, sshsig.RECORD)

        verify(CONTENT, armored, sshsig.RECORD, known, (ALICE, NOW))

    @pytest.mark.parametrize("as_krl", [False, True], ids=["keys", "KRL"])
    @VERIFIERS
    def test_revoked(self, tmp_path: Path, as_krl: bool, verify: Verify) -> None:
        """A revoked key signs nothing, in either form of the file; others still do."""
        revoked = tmp_path / "revoked_keys"
        public = key("alice").with_name(key("alice").name + ".pub")
        if as_krl:
            subprocess.run(["ssh-keygen", "-q", "-k", "-f", str(revoked), str(public)], check=True)
        else:
            revoked.write_bytes(public.read_bytes())
        known = allowed(tmp_path, line(ALICE), line(BOB, of=signer(BOB)))

        armored = signer(BOB).sign(CONTENT, sshsig.RECORD)
        verify(CONTENT, armored, sshsig.RECORD, known, (BOB, NOW))
        armored = signer(ALICE).sign(CONTENT, sshsig.RECORD)
        with pytest.raises(Unverified, match=r"revoked|Could not verify"):
            verify(CONTENT, armored, sshsig.RECORD, known, (ALICE, NOW))

    def test_local_time(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A time without Z is local, as ssh-keygen reads it."""
        found = allowed(tmp_path, line(ALICE, 'valid-after="20261123120000"')).lines[0].after

        assert found == datetime(2026, 11, 23, 12, 0).astimezone()

    @pytest.mark.parametrize(
        "content",
        [
            "alice",
            "alice ssh-ed25519",
            "alice ssh-ed25519 !!",
            'alice x="1" ssh-ed25519 AAAA',
            "alice ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA==",
            'alice valid-after="soon" ssh-ed25519 AA',
        ],
    )
    def test_malformed(self, tmp_path: Path, content: str) -> None:
        """A line that cannot be read is named; it is never passed over."""
        with pytest.raises(BadInput, match="allowed_signers:2: not a line"):
            allowed(tmp_path, "# who", content)

    def test_patterns(self) -> None:
        """Dots are dots, a matching negation wins, and nothing matches by chance."""
        assert matches("alice@example", "bob@example,alice@*")
        assert not matches("alice@example", "alice.example")
        assert not matches("alice@example", "*,!alice*")
        assert not matches("alice@example", "!bob@example")


class TestKeysOfAnArchive:
    """Keys that change while an archive is in use."""

    def test_rotation(self, tmp_path: Path) -> None:
        """Old runs hold by the old key in its time, new ones by the new key."""
        records = archive_in(tmp_path)
        old, new = signer(ALICE), Signer(key("alice-new"), ALICE)
        closed = json.loads((records / f"ledger/{ALICE}.jsonl").read_text().splitlines()[-1])
        last = closed["time"][:19].translate(str.maketrans("", "", "-T:"))
        ended = str(int(last) + 1)
        lines = [line(ALICE, f'valid-before="{ended}Z"', old), line(ALICE, "", new), *team()[1:]]
        allow(records, lines)
        archive = Archive(records, new)
        until(lambda: f"{datetime.now(UTC):%Y%m%d%H%M%S}", holds=lambda t: t > ended, timeout_s=5)
        run(archive, "20261123T130004Z-lab-00000d")

        assert by_both(records) == (0, [])
        with pytest.raises(Refused, match="permitted it until"):
            Archive(records, old).begin()

    def test_reviewed_copy(self, tmp_path: Path) -> None:
        """With a copy of one's own, a key smuggled into the archive's file is worth nothing."""
        copy = tmp_path / "reviewed"
        copy.write_text("".join(f"{text}\n" for text in team()))
        records = tmp_path / "records"
        mallory = Signer(key("mallory"), "mallory@example")
        run(Archive(records, mallory), RUNS[0])

        assert verify_archive(records).exit_status == by_script(records)[0] == 0
        assert verify_archive(records, Options(signers=copy)).exit_status == 1
        assert by_script(records, "--signers", str(copy))[0] == 1

    def test_revoked(self, tmp_path: Path) -> None:
        """Both verifiers refuse every run of a revoked key."""
        records = archive_in(tmp_path)
        public = key("bob").with_name(key("bob").name + ".pub")
        (records / "revoked_keys").write_bytes(public.read_bytes())

        status, found = by_both(records)

        assert status == 1
        assert found == [
            f"BAD {RUNS[1]}/statement.json.sig: key {sshsig.fingerprint(signer(BOB).public)}"
            " is in revoked_keys"
        ]


class TestApproverAsOperator:
    """Namespaces keep the two roles apart."""

    def test_record_signed_by_an_approver(self, tmp_path: Path) -> None:
        """A record signed with a key for approvals is refused by both verifiers."""
        records = archive_in(tmp_path)
        edit(records / "allowed_signers", f"{BOB} namespaces=", f"{BOB}-2 namespaces=")
        edit(records / "allowed_signers", f"{CAROL} ", f"{BOB},{CAROL} ")

        status, found = by_both(records)

        assert status == 1
        assert f"{RUNS[1]}/statement.json.sig" in found[0]
