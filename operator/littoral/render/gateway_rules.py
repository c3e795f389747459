"""What HAProxy does with each request of a gateway: the rules, in HAProxy's language. Pure.

A request's way: its host name names the Model; it is taken whole if it may have to be sent again; it goes to the
site's own servers while they have room, else to the next pool, else it waits or is refused. Each step is counted in
tables, whose counters the agent reads.
"""

from __future__ import annotations

from typing import Final

from littoral.api.routing import BUCKETS, HOP_HEADER, SEQUENCE_HEADER

ARRIVED, LOCAL, SPILLED, REFUSED, FAILED, FIRST_BUCKET = 0, 1, 2, 3, 4, 5
RECEIVED: Final = FIRST_BUCKET + len(BUCKETS) + 1
RESCUED: Final = RECEIVED + 1
"""Elements of the counters that HAProxy keeps of each Model in its table `demand`."""
COUNTERS: Final = RESCUED + 1

DEMAND_TABLE, OUTSTANDING_TABLE, SET_TABLE = "demand", "outstanding", "sets"

_INTERNAL: Final = "4 8 13 14"
"""gRPC statuses that are no fault of the request: deadline, resources, internal, unavailable (grpc/grpc,
doc/statuscodes.md)."""


def request_rules(*, hosts_map: str, routes_map: str, known_map: str, site: str) -> list[str]:
    """The rules of the frontend, in order; a map is named by its file."""
    return [
        "http-request set-var(txn.start) date(0,us)",
        # Only gateways of other clusters are let in over TLS. What they send was counted where it came from, is
        # answered here and goes nowhere else, whatever its headers say; others that say so are not believed.
        "acl is_hop ssl_fc",
        f"http-request del-header {HOP_HEADER} if !is_hop",
        "acl is_grpc req.hdr(content-type) -m beg application/grpc",
        "acl is_stream path_end /ModelStreamInfer",
        "acl is_inference path_end /infer /generate /generate_stream /ModelInfer /ModelStreamInfer",
        "http-request set-var(txn.protocol) str(grpc) if is_grpc",
        "http-request set-var(txn.protocol) str(http) unless is_grpc",
        "http-request set-var(txn.host) req.hdr(host),host_only,lower,rtrim(.)",
        f"http-request set-var(txn.model) var(txn.host),map_str({hosts_map})",
        "acl is_known var(txn.model) -m found",
        f"http-request set-var(txn.known) str(known),map_str({known_map}) if !is_known",
        *_answer(
            "if !is_known",
            status=404,
            grpc=5,
            text="no Model is reached under the host name %[var(txn.host),json(utf8s)]",
            more=', "models": %[var(txn.known)]',
        ),
        # The servers are shared, and whoever may ask a model something may not unload it.
        "acl is_control path_reg ^/v2/(repository/models/.+|.*(trace/setting|logging|sharedmemory)(/|$))",
        "acl is_control path_reg ^/inference.GRPCInferenceService/(RepositoryModel|TraceSetting|LogSettings"
        "|(System|Cuda)SharedMemory)",
        *_answer("if is_control", status=403, grpc=7, text="servers are controlled by Littoral, not by requests"),
        "http-request set-var(txn.name) var(txn.model),field(1,.)",
        "http-request set-var(txn.asked) path,field(4,/) if { path_beg /v2/models/ }",
        *_answer(
            "if { var(txn.asked) -m found } !{ var(txn.asked),strcmp(txn.name) eq 0 }",
            status=404,
            grpc=5,
            text="%[var(txn.model)] is the host of the model %[var(txn.name)], not of %[var(txn.asked),json(utf8s)]",
        ),
        # What may have to be sent again is taken whole, as far as it fits in the buffer; a stream has no end.
        "http-request wait-for-body time 10s if { method POST } !is_stream",
        "http-request set-var(txn.local) var(txn.model),concat(:local:,txn.protocol)",
        "http-request set-var(txn.next) var(txn.model),concat(:next:,txn.protocol)",
        f"http-request set-var(txn.route) var(txn.model),map_str({routes_map})",
        "http-request set-var(txn.servers) var(txn.local),nbsrv",
        "http-request set-var(txn.others) var(txn.next),nbsrv",
        # A process that is about to end, after a reload, says that its backends have no servers, and yet they do.
        "http-request set-var(txn.servers) var(txn.route),field(5,|),add(0) if { stopping }",
        "http-request set-var(txn.others) var(txn.route),field(6,|),add(0) if { stopping }",
        "http-request set-var(txn.set) var(txn.route),field(3,|)",
        # Outstanding less limit: negative while there is room.
        "http-request set-var(txn.limit) var(txn.route),field(1,|),mul(txn.servers)",
        "http-request set-var(txn.most) var(txn.route),field(2,|),mul(txn.servers)",
        "http-request set-var(txn.setlimit) var(txn.route),field(4,|),mul(txn.servers)",
        f"http-request set-var(txn.outstanding) var(txn.model),table_conn_cur({OUTSTANDING_TABLE})",
        "acl has_room var(txn.outstanding),sub(txn.limit) lt 0",
        "acl may_wait var(txn.outstanding),sub(txn.most) lt 0",
        f"acl set_has_room var(txn.set),table_conn_cur({SET_TABLE}),sub(txn.setlimit) lt 0",
        "acl has_servers var(txn.servers) -m int gt 0",
        "acl has_next var(txn.others) -m int gt 0",
        "acl decided var(txn.to) -m found",
        f"acl is_sequence req.hdr({SEQUENCE_HEADER}) -m found",
        f"http-request set-var(txn.id) req.hdr({SEQUENCE_HEADER}) if is_sequence",
        "http-request set-var(txn.sequence) var(txn.model),concat(:,txn.id) if is_sequence",
        # The second request of a sequence means something else on another server, and when it is sent twice.
        "http-request disable-l7-retry if is_sequence",
        "http-request set-var(txn.to) str(local) if is_sequence has_servers"
        " { var(txn.sequence),in_table(sequences_local) }",
        "http-request set-var(txn.to) str(next) if is_sequence has_next !is_hop"
        " { var(txn.sequence),in_table(sequences_next) }",
        "http-request set-var(txn.to) str(local) if !decided has_servers has_room set_has_room",
        "http-request set-var(txn.to) str(next) if !decided has_next !is_hop",
        "http-request set-var(txn.to) str(local) if !decided has_servers may_wait",
        # Questions such as whether the model is ready are no demand, and find their way while there is any.
        "http-request set-var(txn.to) str(local) if !decided !is_inference has_servers",
        f"http-request track-sc0 var(txn.model) table {DEMAND_TABLE} if is_inference",
        f"http-request sc-inc-gpc({RECEIVED},0) if is_inference is_hop",
        f"http-request sc-inc-gpc({ARRIVED},0) if is_inference !is_hop",
        f"http-request sc-inc-gpc({REFUSED},0) if is_inference !is_hop !decided",
        "http-request set-var(txn.refused) bool(true) if !decided",
        *_answer(
            "if !decided has_servers",
            status=503,
            grpc=14,
            text="%[var(txn.model)] has as many requests as it can answer in time",
        ),
        *_answer("if !decided", status=503, grpc=14, text="no server is ready for %[var(txn.model)]"),
        "acl to_local var(txn.to) -m str local",
        f"http-request track-sc1 var(txn.model) table {OUTSTANDING_TABLE} if is_inference to_local",
        f"http-request track-sc2 var(txn.set) table {SET_TABLE} if is_inference to_local",
        f"http-request sc-inc-gpc({LOCAL},0) if is_inference !is_hop to_local",
        f"http-request sc-inc-gpc({SPILLED},0) if is_inference !is_hop !to_local",
        f"http-request set-header {HOP_HEADER} {site} if !to_local",
        # Another gateway does not know the names and the addresses under which the Model is asked for here.
        "http-request set-header host %[var(txn.model)] if !to_local",
        "use_backend %[var(txn.local)] if to_local",
        "use_backend %[var(txn.next)]",
        *_measuring(),
    ]


def _answer(condition: str, *, status: int, grpc: int, text: str, more: str = "") -> list[str]:
    """An answer of the gateway's own, to HTTP as JSON and to gRPC as a status without a message."""
    # A value that was asked for is JSON already, without its quotes; gRPC's text must not hold a line's end.
    retry = " hdr Retry-After 1" if status == 503 else ""
    return [
        f'http-request return status 200 hdr grpc-status {grpc} hdr grpc-message "{text}" {condition} is_grpc',
        f"http-request return status {status} content-type application/json"
        f""" lf-string '{{"error": "{text}"{more}}}'{retry} {condition} !is_grpc""",
    ]


def _measuring() -> list[str]:
    """Counts what was answered, in the buckets of the histogram, and what failed.

    Rules for responses cannot count, but fetching a counter with `sc_inc_gpc` does.
    """
    lines = [
        "acl is_counted sc0_tracked",
        # It was the site's own, and the server of another pool has answered it. A server's name begins with its pool.
        f"http-after-response set-var(txn.count) sc_inc_gpc({RESCUED},0) if is_counted to_local"
        " { srv_name -m found } !{ srv_name -m beg : }",
        "acl is_refused var(txn.refused) -m found",
        "acl is_failure var(txn.failed) -m found",
        # An answer without a body loses its type otherwise, and gRPC wants its own.
        "http-after-response set-header content-type application/grpc"
        " if { var(txn.protocol) -m str grpc } { status 200 } !{ res.hdr(content-type) -m found }",
        "http-after-response set-var(txn.failed) bool(true) if { status ge 500 }",
        f"http-after-response set-var(txn.failed) bool(true) if {{ res.hdr(grpc-status) -m int {_INTERNAL} }}",
        "http-after-response allow if is_refused",
        "http-after-response allow if !is_counted",
        "http-after-response allow if is_hop",
        f"http-after-response set-var(txn.count) sc_inc_gpc({FAILED},0) if is_failure",
        "http-after-response allow if is_failure",
        "http-after-response set-var(txn.took) date(0,us),sub(txn.start)",
    ]
    for index, bound in enumerate(BUCKETS):
        lines += [
            f"acl within_{index} var(txn.took) -m int le {1000 * bound}",
            f"http-after-response set-var(txn.count) sc_inc_gpc({FIRST_BUCKET + index},0) if within_{index}",
            f"http-after-response allow if within_{index}",
        ]
    lines.append(f"http-after-response set-var(txn.count) sc_inc_gpc({FIRST_BUCKET + len(BUCKETS)},0)")
    return lines
