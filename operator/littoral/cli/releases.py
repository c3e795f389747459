"""Where Littoral is installed, and what its operator was told to be: read from its Deployments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from littoral.cli.failures import Failure

if TYPE_CHECKING:
    from littoral.cluster.client import Client

DEFAULT_NAMESPACE: Final = "littoral-system"
_OPERATORS: Final = "app.kubernetes.io/name=littoral,app.kubernetes.io/component=operator"


@dataclass(frozen=True, kw_only=True)
class Release:
    """An installed operator.

    Attributes:
        name: name of its Deployment; empty where none was found, or none may be read.
        roles: what it is.
        member: the name under which it dials in to a hub elsewhere; empty where it does not.
    """

    namespace: str
    name: str = ""
    roles: frozenset[str] = frozenset()
    member: str = ""


def release_of(deployment: dict[str, Any]) -> Release:
    """What an operator's Deployment says of it."""
    containers = deployment["spec"]["template"]["spec"]["containers"]
    arguments = [argument for container in containers for argument in container.get("args", ())]

    def given(option: str) -> list[str]:
        return [argument.removeprefix(option) for argument in arguments if argument.startswith(option)]

    metadata = deployment["metadata"]
    return Release(
        namespace=metadata["namespace"],
        name=metadata["name"],
        roles=frozenset(given("--role=")),
        member=next(iter(given("--member=")), ""),
    )


def choose(releases: Sequence[Release], *, namespace: str | None) -> Release:
    """The release to work with: the one in the namespace that was asked for, or the only one there is.

    Raises:
        Failure: there are several.
    """
    found = [release for release in releases if namespace in (None, release.namespace)]
    if len(found) > 1 and namespace is None:
        names = ", ".join(sorted(release.namespace for release in found))
        raise Failure(f"Littoral is installed in several namespaces: {names}: name one with -n")
    return found[0] if found else Release(namespace=namespace or DEFAULT_NAMESPACE)


async def find_release(client: Client, *, namespace: str | None) -> Release:
    """The release in that namespace, or the only one of the cluster; without a name where there is none to be seen.

    Raises:
        Failure: there are several, or the cluster cannot be reached.
    """
    from littoral.cli.failures import unreachable
    from littoral.cluster.client import UNREACHABLE, ApiError
    from littoral.cluster.resources import DEPLOYMENTS

    try:
        deployments, _ = await client.list(DEPLOYMENTS, namespace=namespace, label_selector=_OPERATORS)
    except ApiError as error:
        if error.status != 403:
            raise Failure(f"the API server answered {error.status}: {error}") from error
        deployments = []
    except UNREACHABLE as error:
        raise unreachable(error) from error
    return choose([release_of(deployment) for deployment in deployments], namespace=namespace)
