"""HAProxy's side of a gateway: its configuration, its maps and its servers. Pure: text out, nothing written.

What a request meets is the same for every Model: a handful of rules that look its Model up in maps. So the
configuration grows with the Models only by their backends, which HAProxy cannot get without a reload; limits, host
names and servers change while it runs.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from littoral.api.latencyslo import Overflow
from littoral.api.quantity import parse_duration
from littoral.api.routing import (
    UNLIMITED,
    GatewayConfig,
    ModelRoute,
    ServerSet,
    Upstream,
)
from littoral.render.gateway_rules import COUNTERS, DEMAND_TABLE, OUTSTANDING_TABLE, SET_TABLE, request_rules

HAPROXY_ENVIRONMENT: Final = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "67108864"}
"""Environment of HAProxy's process. glibc would give a buffer of 128 KiB back to the kernel after each request and
fetch it for the next, which takes more time than all the rest: 413 against 153 us for each request (mallopt(3))."""

_NAMES_TOLD = 50  # in the answer to an unknown host name
_MOST_WEIGHT = 256
_CHECKS_OVER_UPLINK: Final = 5  # in a second, about: each is a handshake of 4 KB
_LONGEST_INTERVAL: Final = 30  # Seconds between checks.
_UNANSWERED: Final = 5  # Seconds until a connection over an uplink that has fallen silent is given up.


class Place(StrEnum):
    """Which of a Model's servers a backend holds."""

    LOCAL = "local"
    NEXT = "next"


class Protocol(StrEnum):
    """What a backend speaks to its servers."""

    HTTP = "http"
    GRPC = "grpc"


@dataclass(frozen=True, kw_only=True)
class HaproxySettings:
    """Where HAProxy finds its files and listens.

    Attributes:
        directory: shared by HAProxy and the agent; holds configuration, maps, sockets and certificates.
        listen: addresses for HTTP and gRPC alike.
        secure_listen: addresses for other gateways, which must show a certificate of `peers_ca`; none without TLS.
        certificate: PEM file with certificate and key of this gateway; None without TLS: then servers that want it are
            left out.
        peers_ca: PEM file with the authorities of other gateways.
        peers_digest: of that file's content: other authorities need a reload.
        threads: of HAProxy; None for one for each core that it may use.
        max_connections: client connections at the same time.
        compress_uplink: whether bodies over HTTP are compressed on their way to gateways of other clusters; HAProxy 2.8
            or later.
    """

    directory: str
    listen: tuple[str, ...] = (":8000", ":8001")
    secure_listen: tuple[str, ...] = ()
    certificate: str | None = None
    peers_ca: str | None = None
    peers_digest: str = ""
    threads: int | None = None
    max_connections: int = 8192
    compress_uplink: bool = False

    @property
    def plain(self) -> HaproxySettings:
        """The same without TLS."""
        return replace(self, secure_listen=(), certificate=None, peers_ca=None)

    @property
    def configuration(self) -> str:
        """HAProxy's configuration file."""
        return f"{self.directory}/haproxy.cfg"

    @property
    def worker_socket(self) -> str:
        """Unix socket of the process that takes new connections."""
        return f"{self.directory}/worker.sock"

    @property
    def master_socket(self) -> str:
        """Unix socket of the process that starts the others."""
        return f"{self.directory}/master.sock"

    @property
    def hosts_map(self) -> str:
        """Host name -> Model."""
        return f"{self.directory}/hosts.map"

    @property
    def routes_map(self) -> str:
        """Model -> `limit|most|set|limit of the set|own servers|other servers`."""
        return f"{self.directory}/routes.map"

    @property
    def known_map(self) -> str:
        """The one key `known` -> the names that an unknown host name is answered with, as JSON."""
        return f"{self.directory}/known.map"


@dataclass(frozen=True, kw_only=True)
class HaproxyServer:
    """One server of a backend. Its name holds its address: with another address it is another server.

    Attributes:
        weight: 1 to 256.
        ready: False while it gets no new requests.
        options: what stands behind the address, but for weight and slow start.
        static: whether some of them cannot be given to a process that runs: HAProxy then needs a reload.
    """

    backend: str
    name: str
    address: str
    options: str
    weight: int
    ready: bool
    static: bool = False

    @property
    def key(self) -> str:
        """What the commands of the socket call it."""
        return f"{self.backend}/{self.name}"


@dataclass(frozen=True, kw_only=True)
class HaproxyState:
    """All that HAProxy is to have.

    Attributes:
        base: hash of the configuration without Models; another one needs a reload.
        backends: names; a missing one needs a reload.
        servers: by key.
        maps: file -> its entries.
        slow_start: seconds.
        configuration: the file that a new process starts from.
    """

    base: str
    backends: tuple[str, ...]
    servers: dict[str, HaproxyServer]
    maps: dict[str, dict[str, str]]
    slow_start: float
    configuration: str


def backend_name(model: str, place: Place, protocol: Protocol) -> str:
    """The backend of a Model; `model` is its key."""
    return f"{model}:{place}:{protocol}"


def upstream_of(server: str) -> tuple[str, str]:
    """The pool (empty for own servers) and the name of the Upstream that a HAProxy server's name stands for."""
    pool, _, rest = server.partition(":")
    return pool, rest.partition(":")[0]


def address_of(server: str) -> str:
    """The address, in HAProxy's writing, that a HAProxy server's name stands for."""
    return server.split(":")[2]


def render_haproxy(config: GatewayConfig, *, settings: HaproxySettings) -> HaproxyState:
    """What HAProxy is to have for this desired state."""
    if settings.certificate is None:
        config = _without_tls(config)
    sets = {it.name: it for it in config.server_sets}
    shares = _shares(config)
    uplink = _uplink_checks(config)
    servers: dict[str, HaproxyServer] = {}
    backends: list[str] = []
    body: list[str] = []
    for model in sorted(config.models, key=lambda it: it.key):
        for place in Place:
            for protocol in Protocol:
                name = backend_name(model.key, place, protocol)
                backends.append(name)
                theirs = _servers(model, place, protocol, settings=settings, uplink=uplink)
                servers |= {it.key: it for it in theirs}
                far = place is Place.NEXT and bool(theirs) and all(it.static for it in theirs)
                compress = settings.compress_uplink and protocol is Protocol.HTTP and far
                body += _backend(name, model, place, theirs, slow_start=config.slow_start, compress=compress)
    base = "\n".join(_base(config, settings=settings))
    revision = hashlib.sha256(base.encode()).hexdigest()[:16]
    head = base.replace("\n", f"\n    description base={revision}\n", 1)
    return HaproxyState(
        base=revision,
        backends=tuple(backends),
        servers=servers,
        maps={
            settings.hosts_map: {host: it.key for it in config.models for host in _hosts(it, domains=config.domains)},
            settings.routes_map: {it.key: _route(it, sets=sets, share=shares[it.key]) for it in config.models},
            settings.known_map: {"known": _known(config)},
        },
        slow_start=parse_duration(config.slow_start),
        configuration="\n".join([head, *body, ""]),
    )


def map_file(entries: dict[str, str]) -> str:
    """The content of a map's file."""
    return "".join(f"{key} {value}\n" for key, value in sorted(entries.items()))


def _without_tls(config: GatewayConfig) -> GatewayConfig:
    """What can be reached without a certificate."""

    def plain(servers: tuple[Upstream, ...]) -> tuple[Upstream, ...]:
        return tuple(it for it in servers if it.tls_name is None)

    def reached(model: ModelRoute) -> ModelRoute:
        pools = tuple(pool.model_copy(update={"servers": plain(pool.servers)}) for pool in model.next)
        return model.model_copy(update={"servers": plain(model.servers), "next": pools})

    return config.model_copy(update={"models": tuple(map(reached, config.models))})


def _hosts(model: ModelRoute, *, domains: tuple[str, ...]) -> list[str]:
    return [model.key, *(f"{model.key}.{domain}" for domain in domains), *model.hosts]


def _known(config: GatewayConfig) -> str:
    names = sorted(it.key for it in config.models)
    told = names[:_NAMES_TOLD] + ([f"and {len(names) - _NAMES_TOLD} more"] if len(names) > _NAMES_TOLD else [])
    # No blanks: they would end the value on HAProxy's socket.
    return json.dumps(told, separators=(",", ":")).replace(" ", "\\u0020")


def _shares(config: GatewayConfig) -> dict[str, float]:
    """The part of a shared set's limit that each Model may see filled before its own requests go elsewhere.

    The highest priority of a set may fill it; the lowest finds it full at half. So under pressure those with a
    lower priority are out first, and what they leave is room for the others.
    """
    shares: dict[str, float] = {}
    for model in config.models:
        classes = sorted({it.priority for it in config.models if it.server_set == model.server_set})
        above = sum(priority > model.priority for priority in classes)
        shares[model.key] = 1 - 0.5 * above / max(len(classes) - 1, 1)
    return shares


def _route(model: ModelRoute, *, sets: dict[str, ServerSet], share: float) -> str:
    # Where it is `Never`, nothing waits beyond the limit: the fourth figure of other Models is their queue.
    most = 0 if model.overflow is Overflow.NEVER else model.most_per_server
    shared = sets.get(model.server_set or "")
    limit = UNLIMITED if shared is None else max(1, int(shared.limit * share))
    # A Model that shares with nobody is its own set, so that the rules are the same for all.
    name = model.key if shared is None else shared.name
    own = sum(it.ready and it.weight > 0 for it in model.servers)
    others = 0 if model.overflow is Overflow.NEVER else sum(it.ready for pool in model.next for it in pool.servers)
    return f"{model.limit_per_server}|{most}|{name}|{limit}|{own}|{others}"


def _uplink_checks(config: GatewayConfig) -> str:
    """How often gateways of other clusters are checked: seldom, where many Models go there."""
    many = sum(it.tls_name is not None for model in config.models for pool in model.next for it in pool.servers)
    interval = min(max(2, math.ceil(many * len(Protocol) / _CHECKS_OVER_UPLINK)), _LONGEST_INTERVAL)
    return f"inter {interval}s fastinter 1s downinter {min(interval, 5)}s"


def _servers(
    model: ModelRoute, place: Place, protocol: Protocol, *, settings: HaproxySettings, uplink: str
) -> list[HaproxyServer]:
    backend = backend_name(model.key, place, protocol)
    if place is Place.LOCAL:
        own = [
            _server(it, backend=backend, pool="", weight=it.weight, protocol=protocol, settings=settings, uplink=uplink)
            for it in model.servers
        ]
        return own + (
            _next_servers(model, backend, protocol, settings=settings, uplink=uplink, backup=True) if own else []
        )
    return _next_servers(model, backend, protocol, settings=settings, uplink=uplink)


def _next_servers(
    model: ModelRoute,
    backend: str,
    protocol: Protocol,
    *,
    settings: HaproxySettings,
    uplink: str,
    backup: bool = False,
) -> list[HaproxyServer]:
    """Those of other pools. As `backup` they stand beside own servers, for what these had when the last of them died:
    HAProxy tries a request again in the same backend only. Other gateways are no backup, lest a request go in circles.
    """
    if model.overflow is Overflow.NEVER:
        return []
    # A pool's share is divided among its servers, and the largest gets the largest weight that there is.
    parts = [
        (pool.name, it, float(pool.weight) * it.weight / max(sum(each.weight for each in pool.servers), 1))
        for pool in model.next
        for it in pool.servers
    ]
    largest = max((part for _, _, part in parts), default=0.0) or 1.0
    return [
        _server(
            it,
            backend=backend,
            pool=pool,
            weight=max(round(_MOST_WEIGHT * part / largest), 1) if part else 0,
            protocol=protocol,
            settings=settings,
            uplink=uplink,
            backup=backup,
        )
        for pool, it, part in parts
        if not (backup and it.tls_name)
    ]


def _server(
    upstream: Upstream,
    *,
    backend: str,
    pool: str,
    weight: int,
    protocol: Protocol,
    settings: HaproxySettings,
    uplink: str,
    backup: bool = False,
) -> HaproxyServer:
    grpc = protocol is Protocol.GRPC
    port = upstream.grpc_port if grpc else upstream.http_port
    # A check asks for the model over HTTP, also on behalf of gRPC: HAProxy's own checks speak no gRPC. A refused
    # connection is believed at once, an error in an answer never: it may well be the request's fault.
    often, errors = ("inter 2s fastinter 500ms downinter 1s", 1) if upstream.tls_name is None else (uplink, 3)
    options = (
        f"check {often} rise 1 fall 3 observe layer4 error-limit {errors} on-error mark-down port {upstream.http_port}"
    )
    if upstream.tls_name is not None:
        options += (
            f" tcp-ut {_UNANSWERED}s ssl verify required verifyhost {upstream.tls_name} sni str({upstream.tls_name})"
            f" ca-file {settings.peers_ca} crt {settings.certificate}"
            f" check-ssl check-sni {upstream.tls_name} check-alpn http/1.1"
            f" alpn {'h2' if grpc else 'http/1.1'}"
        )
    elif grpc:
        options += " proto h2 check-proto h1"
    if backup:
        options += " backup"
    address = f"[{upstream.address}]" if ":" in upstream.address else upstream.address
    return HaproxyServer(
        backend=backend,
        # The pool first, then what makes it this server and no other.
        name=f"{pool}:{upstream.name}:{upstream.address.replace(':', '_')}:{port}:{upstream.tls_name or 'plain'}",
        address=f"{address}:{port}",
        options=options,
        weight=max(weight, 1),
        ready=upstream.ready and weight > 0,
        static=upstream.tls_name is not None,  # by `tcp-ut`
    )


def _backend(
    name: str, model: ModelRoute, place: Place, servers: list[HaproxyServer], *, slow_start: str, compress: bool
) -> list[str]:
    lines = [
        "",
        f"backend {name} from inference",
        f"    http-check send meth GET uri /v2/models/{model.name}/ready ver HTTP/1.1 hdr Host {model.key}",
        # Once assigned, and unless the server is gone: no later request of the sequence goes elsewhere.
        f"    stick on var(txn.sequence) table sequences_{place} if {{ var(txn.sequence) -m found }}",
    ]
    if compress:
        # Triton takes it as it is. gRPC compresses for itself, where the client wants it.
        lines += [
            "    compression direction request",
            "    compression algo-req gzip",
            "    compression type-req application/json application/octet-stream",
        ]
    for server in servers:
        weight = server.weight if server.ready else 0
        lines.append(
            f"    server {server.name} {server.address} weight {weight} {server.options}"
            f" slowstart {round(1000 * parse_duration(slow_start))}ms"
        )
    return lines


def _base(config: GatewayConfig, *, settings: HaproxySettings) -> list[str]:
    milliseconds = round(1000 * parse_duration(config.timeout))
    binds = [f"    bind {address}" for address in settings.listen]
    binds += [
        f"    bind {address} ssl crt {settings.certificate} ca-file {settings.peers_ca} verify required"
        " alpn h2,http/1.1 ssl-min-ver TLSv1.2"
        for address in settings.secure_listen
    ]
    return [
        "global",
        f"    stats socket {settings.worker_socket} mode 660 level admin expose-fd listeners",
        "    stats timeout 1h",
        f"    maxconn {settings.max_connections}",
        *([f"    nbthread {settings.threads}"] if settings.threads else []),
        f"    tune.bufsize {config.buffer}",
        # A body that fits in the buffer shall not wait for the window to be opened further.
        f"    tune.h2.initial-window-size {max(config.buffer, 65535)}",
        "    localpeer gateway",
        f"    # authorities: {settings.peers_digest}",
        "",
        # What is remembered of sequences outlives a reload: the old process tells the new one.
        "peers processes",
        f"    bind unix@{settings.directory}/peers.sock",
        "    server gateway",
        "",
        "defaults common",
        "    mode http",
        "    timeout connect 2s",
        f"    timeout client {milliseconds}ms",
        f"    timeout server {milliseconds}ms",
        f"    timeout tunnel {milliseconds}ms",
        "    timeout http-request 30s",
        "    timeout http-keep-alive 60s",
        "    timeout queue 10s",
        "    timeout check 2s",
        "    option http-no-delay",
        "    option idle-close-on-response",
        _error(502, "the server closed the connection before it answered"),
        _error(503, "no server took the request"),
        _error(504, "the server did not answer in time"),
        "",
        "defaults inference from common",
        "    balance leastconn",
        "    http-reuse always",
        "    option httpchk",
        "    http-check expect status 200",
        # Inference changes nothing, so it may be tried again; each time on another server.
        "    retries 3",
        "    option redispatch 1",
        "    option allbackups",
        "    retry-on conn-failure empty-response 503",
        "",
        *_table("sequences_local", 256, "peers processes"),
        *_table("sequences_next", 256, "peers processes"),
        *_table(DEMAND_TABLE, 128, f"store gpc({COUNTERS})"),
        *_table(OUTSTANDING_TABLE, 128, "store conn_cur"),
        *_table(SET_TABLE, 256, "store conn_cur"),
        "frontend models from common",
        *binds,
        *(
            f"    {line}"
            for line in request_rules(
                hosts_map=settings.hosts_map,
                routes_map=settings.routes_map,
                known_map=settings.known_map,
                site=config.site,
            )
        ),
    ]


def _table(name: str, length: int, options: str) -> list[str]:
    expire = "10m" if name.startswith("sequences") else "20d"
    return [
        f"backend {name} from common",
        f"    stick-table type string len {length} size 64k expire {expire} {options}",
        "",
    ]


def _error(status: int, message: str) -> str:
    text = json.dumps({"error": message})
    return (
        f"    http-error status {status} content-type application/json string '{text}'"
        f"{' hdr Retry-After 1' if status == 503 else ''}"
    )
