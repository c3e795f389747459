"""HAProxy's sockets: what it has, what it counts, what it is told (HAProxy 2.6 management guide, sections 9.3, 9.4)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from littoral.gateway.errors import HaproxyError
from littoral.gateway.reconcile import Admin, Command, Seen, SeenServer
from littoral.render.gateway_haproxy import HaproxySettings
from littoral.render.gateway_rules import DEMAND_TABLE, OUTSTANDING_TABLE

_TIMEOUT = 10.0
_PROMPT = b"\n> "
_FORCED_MAINTENANCE, _FORCED_DRAIN = 0x01, 0x08  # SRV_ADMF_FMAINT, SRV_ADMF_FDRAIN


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A process that has connections.

    Attributes:
        started: seconds since 1970: with the pid, no other process is the same.
        base: hash that its configuration carries.
        connections: of clients.
    """

    pid: int
    started: int
    version: str
    base: str
    connections: int

    @property
    def identity(self) -> str:
        """Names this process among all that were."""
        return f"{self.pid}@{self.started}"


@dataclass(frozen=True, kw_only=True)
class ServerFigures:
    """What HAProxy says of one server.

    Attributes:
        status: `UP`, `DOWN`, `DRAIN`, `MAINT`, with a fraction while it changes.
        check: milliseconds that the last health check took; None before it.
    """

    backend: str
    name: str
    status: str
    sessions: int
    check: int | None


class Attached:
    """A conversation with one process, which does not end before it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, socket: str) -> Attached:
        """
        Raises:
            HaproxyError: there is no answer.
        """
        try:
            attached = cls(*await asyncio.open_unix_connection(socket))
            await attached.ask("prompt")
        except OSError as error:
            raise HaproxyError(f"HAProxy does not answer: {error.strerror}") from error
        return attached

    async def ask(self, command: str) -> str:
        """The answer to a command.

        Raises:
            HaproxyError: there is no answer.
        """
        try:
            async with asyncio.timeout(_TIMEOUT):
                self._writer.write(command.encode() + b"\n")
                answer = await self._reader.readuntil(_PROMPT)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise HaproxyError(f"HAProxy does not answer: {type(error).__name__}") from error
        return answer.removesuffix(_PROMPT).decode(errors="replace").strip()

    def close(self) -> None:
        """End the conversation."""
        self._writer.close()


class Haproxy:
    """Asks and tells HAProxy by its two sockets: that of the current worker, and that of the master for the others.

    Raises:
        HaproxyError: from every method, when there is no answer.
    """

    def __init__(self, settings: HaproxySettings) -> None:
        self._settings = settings
        self._attached: dict[str, Attached] = {}

    async def hold(self, worker: Worker) -> None:
        """Keep the current worker from ending, until `release`: what it counts last would be lost."""
        if worker.identity not in self._attached:
            self._attached[worker.identity] = await Attached.open(self._settings.worker_socket)

    def release(self, worker: Worker) -> None:
        """Let a process end that was held."""
        if attached := self._attached.pop(worker.identity, None):
            attached.close()

    @property
    def held(self) -> frozenset[str]:
        """Identities of the processes that are held."""
        return frozenset(self._attached)

    async def worker(self) -> Worker:
        """The process that takes new connections."""
        return _worker(await self._ask("show info"))

    async def workers(self) -> list[Worker]:
        """All processes that have connections, also those that only finish what they have."""
        answer = await self._ask_master("show proc")
        pids = re.findall(r"^(\d+)\s+worker\s", answer, re.MULTILINE)
        workers = []
        for pid in pids:
            try:
                workers.append(_worker(await self._ask_master(f"@!{pid} show info")))
            except HaproxyError:  # it was about to end
                continue
        return workers

    async def counters(self, worker: Worker) -> dict[str, list[int]]:
        """The elements of the demand table by Model, of one process."""
        return _table(await self._ask_worker(worker, f"show table {DEMAND_TABLE}"), r"gpc\d+=(\d+)")

    async def outstanding(self, worker: Worker) -> dict[str, int]:
        """Requests that own servers have now, by Model, of one process."""
        table = _table(await self._ask_worker(worker, f"show table {OUTSTANDING_TABLE}"), r"conn_cur=(\d+)")
        return {model: values[0] for model, values in table.items() if values}

    async def figures(self) -> list[ServerFigures]:
        """Every server of the current worker."""
        answer = await self._ask("show stat -1 4 -1")
        header, *lines = answer.removeprefix("# ").splitlines() or [""]
        at = {name: index for index, name in enumerate(header.split(","))}
        figures = []
        for line in lines:
            cells = line.split(",")
            if len(cells) < len(at):
                continue
            figures.append(
                ServerFigures(
                    backend=cells[at["pxname"]],
                    name=cells[at["svname"]],
                    status=cells[at["status"]],
                    sessions=int(cells[at["scur"]] or 0),
                    check=int(cells[at["check_duration"]]) if cells[at["check_duration"]] else None,
                )
            )
        return figures

    async def seen(self, *, maps: Sequence[str]) -> Seen:
        """What the current worker has; `maps` are files."""
        worker = await self.worker()
        # Sessions are read after states: what is 0 of a server that drained before stays 0.
        states = (await self._ask("show servers state")).splitlines()
        sessions = {f"{it.backend}/{it.name}": it.sessions for it in await self.figures()}
        backends = frozenset((await self._ask("show backend")).split("\n")[1:])
        servers: dict[str, SeenServer] = {}
        for line in states:
            cells = line.split()
            if len(cells) < 8 or line.startswith("#"):
                continue
            key = f"{cells[1]}/{cells[3]}"
            servers[key] = SeenServer(admin=_admin(int(cells[6])), weight=int(cells[7]), sessions=sessions.get(key, 0))
        return Seen(
            base=worker.base,
            backends=backends,
            servers=servers,
            maps={file: _map(await self._ask(f"show map {file}")) for file in maps},
        )

    async def tell(self, command: Command) -> None:
        """Have the current worker do this.

        Raises:
            HaproxyError: also when the answer is not the one that was expected.
        """
        answer = await self._ask(";".join(command.lines))
        if command.expected not in answer:
            raise HaproxyError(f"{command.lines[-1]}: {' '.join(answer.split()) or 'no answer'}")

    async def reload(self) -> None:
        """Have the master start new processes; the old ones finish what they have. It returns before that is done."""
        await self._ask_master("reload")

    async def fingerprint(self, file: str) -> str:
        """SHA-1 of the certificate (DER, hexadecimal) that the current worker uses for this file."""
        match = re.search(r"^SHA1 FingerPrint: ([0-9A-F]+)$", await self._ask(f"show ssl cert {file}"), re.MULTILINE)
        return match[1].lower() if match else ""

    async def replace_certificate(self, file: str, pem: str) -> None:
        """Use this certificate and key from now on, for clients and servers; open connections go on."""
        # The payload ends with the first empty line.
        answer = await self._ask(f"set ssl cert {file} <<\n{pem.strip()}\n")
        if "transaction" in answer.lower():
            answer = await self._ask(f"commit ssl cert {file}")
        if "Success" not in answer:
            await self._ask(f"abort ssl cert {file}")
            raise HaproxyError(f"the certificate in {file} is refused: {' '.join(answer.split())}")

    async def _ask(self, command: str) -> str:
        return await _ask(self._settings.worker_socket, command)

    async def _ask_worker(self, worker: Worker, command: str) -> str:
        if attached := self._attached.get(worker.identity):
            try:
                return await attached.ask(command)
            except HaproxyError:
                self.release(worker)
                raise
        return await self._ask_master(f"@!{worker.pid} {command}")

    async def _ask_master(self, command: str) -> str:
        # The master, unlike a worker, waits for another command.
        return await _ask(self._settings.master_socket, f"{command};quit")


async def _ask(socket: str, command: str) -> str:
    try:
        async with asyncio.timeout(_TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(command.encode() + b"\n")
                await writer.drain()
                return (await reader.read()).decode(errors="replace").strip()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise HaproxyError(f"HAProxy does not answer: {reason}") from error


def _worker(answer: str) -> Worker:
    fields = dict(line.split(": ", 1) for line in answer.splitlines() if ": " in line)
    try:
        return Worker(
            pid=int(fields["Pid"]),
            started=int(fields["Start_time_sec"]),
            version=fields["Version"],
            base=fields.get("description", "").removeprefix("base="),
            connections=int(fields["CurrConns"]),
        )
    except (KeyError, ValueError):
        raise HaproxyError("HAProxy does not answer: it is being replaced") from None


def _admin(flags: int) -> Admin:
    if flags & _FORCED_MAINTENANCE:
        return Admin.MAINTENANCE
    return Admin.DRAIN if flags & _FORCED_DRAIN else Admin.READY


def _table(answer: str, pattern: str) -> dict[str, list[int]]:
    rows = {}
    for line in answer.splitlines():
        if match := re.search(r" key=(\S+) ", line):
            rows[match[1]] = [int(value) for value in re.findall(pattern, line)]
    return rows


def _map(answer: str) -> dict[str, str]:
    entries = {}
    for line in answer.splitlines():
        cells = line.split(" ", 2)
        if len(cells) == 3:
            entries[cells[1]] = cells[2]
    return entries
