"""The agent's report over HTTP: `/v1/status` for the site role, `/healthz` and `/readyz` for the kubelet,
`/metrics`, and `/v1/artifacts` for other agents."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from littoral.agent.metrics import Metrics
from littoral.agent.sharing import Sharing
from littoral.agent.status import Board

LONGEST_WAIT = 60.0
"""Seconds that a long poll may ask for."""

STUCK = 60.0
"""Seconds without a look at the world after which the agent should be restarted; one look takes 15 at most."""


class Report:
    """The handlers. They only read: nothing that the agent does can be asked for over the network."""

    def __init__(self, *, board: Board, metrics: Metrics, sharing: Sharing | None = None) -> None:
        """
        Args:
            sharing: gives artifacts to other agents; None: nobody is given any.
        """
        self._sharing = sharing
        self._board = board
        self._metrics = metrics

    def application(self) -> web.Application:
        """The application, ready to be served."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/v1/status", self._status),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._exposition),
            ]
        )
        if self._sharing is not None:
            app.add_routes(self._sharing.routes())
        return app

    async def _status(self, request: web.Request) -> web.Response:
        status = self._board.status
        if "after" in request.query:
            try:
                after, wait = int(request.query["after"]), float(request.query.get("wait", "25"))
            except ValueError:
                raise web.HTTPBadRequest(text="after is a generation, wait a number of seconds\n") from None
            status = await self._board.after(after, wait=min(wait, LONGEST_WAIT))
        return web.json_response(status.dump())

    async def _healthz(self, request: web.Request) -> web.Response:
        if self._board.silence > STUCK:
            return web.Response(status=503, text=f"nothing was looked at for {self._board.silence:.0f} s\n")
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        lost = self._board.lost
        if not self._board.status.triton.ready:
            return web.Response(status=503, text="Triton does not answer\n")
        if lost:
            return web.Response(status=503, text=f"no longer ready: {', '.join(lost)}\n")
        return web.Response(text="ok\n")

    async def _exposition(self, request: web.Request) -> web.Response:
        body = self._metrics.exposition(self._board.status)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
