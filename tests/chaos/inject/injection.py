"""Cuts one command or request of a run, below everything that the product has of its own.

Wraps paramiko: what a session channel is told to execute, what is written to it, and what the
transport hands back to it. It reads from the environment

    CHAOS_LOG   a file that gets a JSON line for everything sent, and one for the cut
    CHAOS_CUT   the cut as JSON: what (a name, or a pattern to search for), moment, fault,
                fraction of the usual duration for the moment "running", and that duration

The moments of a command, in order: ``before`` it is sent; ``no input``: it runs and was given none
of its input; ``half input``; ``running``, with all of it; ``after`` it ended there. A request to
the Engine API is what is written to a channel that runs ``dial-stdio``.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from typing import Any

import faults
import naming
import paramiko
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_DATA,
    MSG_CHANNEL_EOF,
    MSG_CHANNEL_EXTENDED_DATA,
    MSG_CHANNEL_REQUEST,
)

SLICE_S = 0.2

_REQUEST = re.compile(rb"(GET|POST|PUT|DELETE|HEAD) (\S+) HTTP/1")

_exec_command = paramiko.Channel.exec_command
_send = paramiko.Channel.send
_shutdown = paramiko.Channel.shutdown
_recv = paramiko.Channel.recv
_open_channel = paramiko.Transport.open_channel

_lock = threading.RLock()
_numbering = naming.Numbering()
_cut: dict[str, Any] = {}


class Sent:
    """One command or request on its way."""

    def __init__(self, channel: paramiko.Channel, name: naming.Name, text: str, kind: str) -> None:
        self.channel, self.name, self.text, self.kind = channel, name, text, kind
        self.begun = time.monotonic()
        self.input_bytes = 0
        self.ended = False
        self.chosen = _is_chosen(name, text)

    @property
    def moment(self) -> str | None:
        """When it is to be cut; ``None`` where it is not."""
        return _cut["moment"] if self.chosen and not _claimed() else None

    def end(self) -> None:
        """Note that its answer has come."""
        if not self.ended:
            self.ended = True
            log(
                "sent",
                name=str(self.name),
                kind=self.kind,
                text=self.text[:4000],
                input_bytes=self.input_bytes,
                seconds=round(time.monotonic() - self.begun, 3),
            )


class Conversation:
    """What the injection knows of a session channel."""

    def __init__(self, command: str) -> None:
        self.command: str | None = command  # until it is sent
        self.dials = False
        self.sent: Sent | None = None
        self.awaits_body = False
        self.muted = False


def install() -> None:
    """Wrap paramiko in this process."""
    os.environ.setdefault("CHAOS_RUNNER", str(os.getpid()))  # the kernels inherit it
    _cut.update(json.loads(os.environ.get("CHAOS_CUT") or "{}"))
    paramiko.Channel.exec_command = exec_command  # type: ignore[method-assign]
    paramiko.Channel.send = send  # type: ignore[method-assign]
    paramiko.Channel.shutdown = shutdown  # type: ignore[method-assign]
    paramiko.Channel.recv = recv  # type: ignore[method-assign]
    paramiko.Transport.open_channel = open_channel  # type: ignore[method-assign]
    table = paramiko.Transport._channel_handler_table
    for kind in (
        MSG_CHANNEL_DATA,
        MSG_CHANNEL_EXTENDED_DATA,
        MSG_CHANNEL_REQUEST,
        MSG_CHANNEL_EOF,
        MSG_CHANNEL_CLOSE,
    ):
        table[kind] = _heard(kind, table[kind])


def log(event: str, **particulars: Any) -> None:
    """Append a line to the log; one write, so that processes do not mix theirs."""
    entry = {"event": event, "time": time.time(), "pid": os.getpid(), **particulars}
    line = json.dumps(entry) + "\n"
    with open(os.environ["CHAOS_LOG"], "a", encoding="utf-8") as file:
        file.write(line)


def open_channel(
    self: paramiko.Transport, kind: str, dest_addr: Any = None, *rest: Any, **options: Any
) -> paramiko.Channel:
    """Open a channel, and remember where it leads to."""
    channel = _open_channel(self, kind, dest_addr, *rest, **options)
    if dest_addr:
        channel._chaos_leads_to = dest_addr[0]
    return channel


def exec_command(self: paramiko.Channel, command: Any) -> None:
    """Keep the command until its input comes, which is a part of its name."""
    text = command.decode() if isinstance(command, bytes) else command
    self._chaos = Conversation(text)


def send(self: paramiko.Channel, data: bytes) -> int:
    """Send what is written, unless this is where it is cut."""
    told = _told(self)
    if told is None:
        return _send(self, data)
    data = bytes(data)
    if told.command is not None and b"dial-stdio" in data:
        # The script that turns into the engine's socket; what follows it are requests.
        told.dials, command, told.command = True, told.command, None
        _exec_command(self, command)
        return _send(self, data)
    if told.dials:
        return _send_request(self, told, data)
    if told.command is not None:
        _begin(self, told, data)
    if told.muted:
        return len(data)
    sent = told.sent
    if sent is not None:
        sent.input_bytes = max(sent.input_bytes, len(data))
        if sent.moment in ("no input", "half input"):
            _send_part(self, data, sent.moment)
            strike(sent)
            part = _part(data, _cut["moment"])
            return len(data) if told.muted else part + _send(self, data[part:])
    return _send(self, data)


def shutdown(self: paramiko.Channel, how: int) -> None:
    """End the input; a command without one is sent now."""
    told = _told(self)
    if told is not None:
        if told.command is not None:
            _begin(self, told, b"")
        if told.muted:
            return
        sent = told.sent
        if sent is not None and not told.dials and sent.moment in ("no input", "half input"):
            strike(sent)
            if told.muted:
                return
        _shutdown(self, how)
        if sent is not None and not told.dials:
            _await_running(sent)
        return
    _shutdown(self, how)


def recv(self: paramiko.Channel, size: int) -> bytes:
    """Read; on a channel whose answer never comes, no longer than the bound."""
    told = _told(self)
    if told is None:
        return _recv(self, size)
    if told.command is not None and not told.dials:
        _begin(self, told, b"")
    longest = self.timeout
    end = None if longest is None else time.monotonic() + longest
    while True:
        self.timeout = SLICE_S if end is None else max(min(SLICE_S, end - time.monotonic()), 0)
        try:
            return _recv(self, size)
        except TimeoutError:
            if told.muted:
                time.sleep(faults.bound_s())
                raise
            if end is not None and time.monotonic() >= end:
                raise
        finally:
            self.timeout = longest


def _told(channel: paramiko.Channel) -> Conversation | None:
    told: Conversation | None = channel.__dict__.get("_chaos")
    return told


def _begin(channel: paramiko.Channel, told: Conversation, data: bytes) -> None:
    """Name a command, and send it unless it is cut before."""
    command, told.command = str(told.command), None
    text = naming.readable(f"{command} <<< {data.decode(errors='replace')}".strip())
    with _lock:
        sent = Sent(channel, _numbering.name(_host(channel), text), text, "command")
    told.sent = sent
    if sent.moment == "before":
        strike(sent)
    if not told.muted:
        _exec_command(channel, command)


def _send_request(channel: paramiko.Channel, told: Conversation, data: bytes) -> int:
    head = _REQUEST.match(data)
    if head:
        text = f"{head[1].decode()} {head[2].decode()}"
        with _lock:
            sent = Sent(channel, _numbering.name(_host(channel), text), text, "request")
        told.sent = sent
        if sent.moment == "before":
            strike(sent)
        told.awaits_body = _has_body(data)
    if told.muted:
        return len(data)
    now = told.sent
    if now is None:
        return _send(channel, data)
    if not head:
        now.input_bytes = len(data)
    if now.moment in ("no input", "half input") and not (head and told.awaits_body):
        _send_part(channel, data, "half input" if head else str(now.moment))
        strike(now)
        part = _part(data, "half input" if head else _cut["moment"])
        return len(data) if told.muted else part + _send(channel, data[part:])
    count = _send(channel, data)
    if not (head and told.awaits_body):
        _await_running(now)
    return count


def _has_body(head: bytes) -> bool:
    length = re.search(rb"(?i)content-length: *(\d+)", head)
    return bool(length and int(length[1]) and head.endswith(b"\r\n\r\n"))


def _part(data: bytes, moment: str) -> int:
    # Whole groups of four: half of a base64 text must be one that decodes.
    return 0 if moment == "no input" else len(data) // 2 // 4 * 4


def _send_part(channel: paramiko.Channel, data: bytes, moment: str) -> None:
    part = data[: _part(data, moment)]
    while part:
        part = part[_send(channel, part) :]


def _await_running(sent: Sent) -> None:
    if sent.moment == "running":
        delay = float(_cut.get("usual_s", 0.1)) * float(_cut.get("fraction", 0.5))
        timer = threading.Timer(delay, _strike_running, (sent,))
        timer.daemon = True
        timer.start()


def _strike_running(sent: Sent) -> None:
    if not sent.ended:
        strike(sent)


def _heard(kind: int, handle: Any) -> Any:
    """Wrap what takes a message from the host."""

    def hear(channel: paramiko.Channel, message: Any) -> Any:
        told = _told(channel)
        if told is None:
            return handle(channel, message)
        sent = told.sent
        if sent is not None and not told.muted and _is_answer(kind, message, told):
            if sent.moment in ("after", "running"):  # it ended sooner than usual
                strike(sent, moment="after")
            sent.end()
        return None if told.muted else handle(channel, message)

    return hear


def _is_answer(kind: int, message: Any, told: Conversation) -> bool:
    if told.dials:
        return kind in (MSG_CHANNEL_DATA, MSG_CHANNEL_EOF)
    if kind == MSG_CHANNEL_EOF:  # comes before the status or after it
        return True
    if kind == MSG_CHANNEL_REQUEST:
        word = message.get_text()
        message.rewind()
        message.get_int()  # the number of the channel, which the transport has read
        return bool(word.startswith("exit-"))
    return kind == MSG_CHANNEL_CLOSE


def _host(channel: paramiko.Channel) -> str:
    reached = channel.get_transport().sock
    if isinstance(reached, paramiko.Channel):
        return str(reached.__dict__.get("_chaos_leads_to", "?"))
    try:
        return str(reached.getpeername()[0])
    except OSError:
        return "?"


def _is_chosen(name: naming.Name, text: str) -> bool:
    if "pattern" in _cut:
        return re.search(_cut["pattern"], text, re.DOTALL) is not None
    return _cut.get("name") == str(name)


def _claimed() -> bool:
    return bool(_cut.get("done")) or os.path.exists(os.environ["CHAOS_LOG"] + ".cut")


def strike(sent: Sent, moment: str | None = None) -> None:
    """Do the fault, once in a run."""
    try:
        os.close(os.open(os.environ["CHAOS_LOG"] + ".cut", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    log(
        "cut",
        name=str(sent.name),
        text=sent.text[:4000],
        moment=moment or _cut["moment"],
        fault=_cut["fault"],
        ran_s=round(time.monotonic() - sent.begun, 3),
        process="runner" if os.environ["CHAOS_RUNNER"] == str(os.getpid()) else "kernel",
    )
    faults.FAULTS[_cut["fault"]](sent)
