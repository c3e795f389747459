"""How a command for people reaches the cluster: as kubectl does, and reading only, but for the few that write."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from littoral.cli import style
from littoral.cli.failures import Failure, not_found, refused, unreachable

if TYPE_CHECKING:
    from littoral.api.meta import Resource as Kind
    from littoral.cluster.client import Client
    from littoral.cluster.resources import Resource

T = TypeVar("T")
K = TypeVar("K", bound="Kind")

Object = dict[str, Any]

_SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

# The client's library logs what it then raises, and that is told in one line.
logging.getLogger("kubernetes").addHandler(logging.NullHandler())


class Reader:
    """Lists objects, and can do nothing else: a command that holds no more than this cannot write."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def objects(
        self, resource: Resource, *, namespace: str | None = None, label_selector: str = ""
    ) -> list[Object]:
        """All objects of a collection, or those that a label selector selects, each with its apiVersion and kind.

        Raises:
            Failure: it cannot be read; the message says what to do.
        """
        from littoral.cluster.client import UNREACHABLE, ApiError

        try:
            items, _ = await self._client.list(resource, namespace=namespace, label_selector=label_selector)
        except ApiError as error:
            plural = f"{resource.plural}.{resource.group}" if resource.group else resource.plural
            raise refused(status=error.status, message=str(error), plural=plural) from error
        except UNREACHABLE as error:
            raise unreachable(error) from error
        # Lists of built-in kinds leave out what the collection says anyway.
        return [{"apiVersion": resource.api_version, "kind": resource.kind} | item for item in items]

    async def objects_if_allowed(
        self, resource: Resource, *, namespace: str | None = None, label_selector: str = ""
    ) -> list[Object] | None:
        """As `objects`, or None where that is forbidden: a tenant may see Models, but no cluster-scoped object."""
        try:
            return await self.objects(resource, namespace=namespace, label_selector=label_selector)
        except Failure as failure:
            if getattr(failure.__cause__, "status", None) == 403:
                return None
            raise


def parsed(kind: type[K], bodies: Sequence[Object]) -> list[K]:
    """The objects that can be read. One that cannot slipped by validation, and is passed over with a word about it."""
    from littoral.api import InvalidObject

    objects = []
    for body in bodies:
        try:
            objects.append(kind.parse(body))
        except InvalidObject as error:
            name = body["metadata"]["name"]
            click.echo(f"{style.warn('passed over')}: {kind.KIND} {name}: {error}", err=True)
    return objects


@dataclass(frozen=True, kw_only=True)
class Access:
    """Which cluster, as which user, and in which namespace.

    Attributes:
        kubeconfig: path of a kubeconfig; None for `$KUBECONFIG`, `~/.kube/config`, or a Pod's service account.
        context: context of the kubeconfig; None for its current one.
        namespace: namespace that was asked for; None for that of the context.
    """

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None

    def read(self, job: Callable[[Reader], Awaitable[T]]) -> T:
        """Connect, do what the job does, and disconnect.

        Raises:
            Failure: there is no such cluster, or what the job raised.
        """
        return self.act(lambda client: job(Reader(client)))

    def act(self, job: Callable[[Client], Awaitable[T]]) -> T:
        """As `read`, for the commands that write.

        Raises:
            Failure: there is no such cluster, or what the job raised.
        """
        import asyncio

        return asyncio.run(self._act(job))

    async def _act(self, job: Callable[[Client], Awaitable[T]]) -> T:
        from littoral.cluster.client import Client, NoCluster

        try:
            client = await Client.connect(kubeconfig=self.kubeconfig, context=self.context)
        except NoCluster as error:
            raise self._no_cluster(error) from error
        except Exception as error:  # The library reads what people wrote, and raises whatever comes of it.
            files = ", ".join(map(str, self._paths()))
            said = f"{type(error).__name__}: {error}"
            raise Failure(f"the kubeconfig {files} cannot be used: {said}: correct it, or name another one") from error
        async with client:
            return await job(client)

    def _no_cluster(self, error: Exception) -> Failure:
        paths = self._paths()
        if not any(path.exists() for path in paths):
            return Failure(
                f"no cluster to talk to: there is no kubeconfig at {', '.join(map(str, paths))}: set KUBECONFIG, or "
                "name one with --kubeconfig"
            )
        names = [str(context["name"]) for context in self.contexts()]
        if self.context and self.context not in names:
            return not_found("context", name=self.context, known=names, where="in the kubeconfig")
        return Failure(str(error))

    def _paths(self) -> list[Path]:
        given = self.kubeconfig or os.environ.get("KUBECONFIG") or "~/.kube/config"
        return [Path(path).expanduser() for path in given.split(os.pathsep) if path]

    def contexts(self) -> list[Object]:
        """The contexts of the kubeconfig, the current one first; none where it cannot be read."""
        from kubernetes.aio.config import list_kube_config_contexts

        try:
            contexts, current = list_kube_config_contexts(os.pathsep.join(map(str, self._paths())))
            return sorted(contexts, key=lambda context: bool(context["name"] != current["name"]))
        except Exception:  # Connecting tells what is wrong.
            return []

    @property
    def in_pod(self) -> bool:
        """Whether the cluster is the one that this process runs in."""
        return "KUBERNETES_SERVICE_HOST" in os.environ and not (self.kubeconfig or self.context)

    def default_namespace(self) -> str:
        """The namespace that was asked for, or that of the context, or `default`."""
        if self.namespace:
            return self.namespace
        if self.in_pod and _SERVICE_ACCOUNT.exists():
            return _SERVICE_ACCOUNT.read_text("utf-8").strip()
        contexts = self.contexts()
        current = contexts[0] if contexts else {"context": {}}
        chosen = next((context for context in contexts if context["name"] == self.context), current)
        return str(chosen["context"].get("namespace") or "default")
