"""Two labs as a hub and a member site of it, with Littoral on both: for tests and benchmarks."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from examples.quickstart import setting_up
from examples.quickstart.cluster import Cluster
from lab import links
from lab.cluster import Lab
from lab.state import LabFiles, cache_directory

MEMBER: Final = "store-12"
NODE: Final = "store"
"""The site's only node."""

NODE_OPTION: Final = f"{NODE}@edge/{MEMBER}"
"""As `python -m lab up --node` has it."""

_NAMESPACE: Final = "littoral-system"
_ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class MemberLab:
    """A hub and its member site: the names of two labs that are up, and their clusters."""

    hub_lab: str
    site_lab: str
    hub: Cluster
    site: Cluster

    def mend(self) -> None:
        """Link the site's lab to the hub's, or mend their link."""
        links.link(site=_lab(self.site_lab), hub=_lab(self.hub_lab))

    def cut(self) -> None:
        """Cut the link: nothing passes any more, and nobody is told."""
        links.cut(site=_lab(self.site_lab), hub=_lab(self.hub_lab))

    def unlink(self) -> None:
        """Remove the link."""
        links.unlink(site=_lab(self.site_lab), hub=_lab(self.hub_lab))

    def install_site(self, *, images: setting_up.Images, more: dict[str, Any] | None = None) -> None:
        """Install the chart at the site: the role `site`, under the member's name."""
        values = {"roles": ["site"], "member": MEMBER} | (more or {})
        ca_crt = setting_up.prepare_namespace(self.hub)
        setting_up.install(self.site, images=images, ca_crt=ca_crt, timeout=180, more=values)

    def join(self) -> None:
        """Invite the site at the hub, and join at the site with what that prints."""
        token = littoral(self.hub, "invite", MEMBER, f"--namespace={_NAMESPACE}")
        littoral(self.site, "join", "-", f"--namespace={_NAMESPACE}", stdin=token)

    def pool(self) -> dict[str, Any]:
        """The NodePool of the site, as it is applied at the hub."""
        return {
            "apiVersion": "littoral.dev/v1alpha1",
            "kind": "NodePool",
            "metadata": {"name": MEMBER},
            "spec": {
                "tier": "edge",
                "site": MEMBER,
                "member": MEMBER,
                "nodeSelector": {"matchLabels": {"littoral.dev/site": MEMBER}},
                # What could as well run elsewhere does so: artifacts of the hub's cluster are not had at the site.
                "accelerators": [{"class": "cpu", "costPerHour": "10"}],
            },
        }

    def operator(self) -> dict[str, Any]:
        """The Pod of the site's operator."""
        selector = "--selector=app.kubernetes.io/name=littoral"
        pods = self.site.items("pods", f"--namespace={_NAMESPACE}", selector)
        (pod,) = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return dict(pod)


def littoral(cluster: Cluster, *arguments: str, stdin: str | None = None) -> str:
    """Run `littoral` with access to a cluster, and return what it prints on stdout."""
    command = [sys.executable, "-m", "littoral.cli.main", *arguments]
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run(command, cwd=_ROOT, env=environment, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"littoral {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def _lab(name: str) -> Lab:
    return Lab(files=LabFiles(name=name, cache=cache_directory()))
