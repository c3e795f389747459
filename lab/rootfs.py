"""The file system of a machine, built by its init inside the machine's own mount namespace.

The machine sees the host's programs and libraries, an overlay of its /etc, and /var, /tmp and /run of its own, so
that fixed paths such as /var/lib/littoral or /var/log/containers never touch the host. All of it vanishes with the
namespace. Standard library only.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from lab.spec import MachineSpec

_SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt", "nix")

# The kubelet insists on these kernel settings and would change them for the whole host. It leaves them alone when
# they already read as it wants, so each machine gets files that do.
_KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}


def enter(spec: MachineSpec) -> None:
    """Build the machine's root and make it the root of this process and its children."""
    directory = Path(spec.directory)
    staging = directory / "root"
    staging.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", "mode=755", "lab", str(staging))
    for name in _SYSTEM:
        _take_over(Path("/") / name, staging)
    _etc(spec, staging)
    for name in ("var", "tmp"):
        (staging / name).mkdir()
        _mount("--bind", str(directory / name), str(staging / name))
    for name, mode in (("run", 0o755), ("root", 0o700), ("home", 0o755), ("mnt", 0o755)):
        (staging / name).mkdir(mode=mode)
    for path in spec.visible:
        target = staging / path.lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        _mount("--rbind", path, str(target))
    _kernel_file_systems(staging)
    _pivot(staging)


def _take_over(source: Path, root: Path) -> None:
    if source.is_symlink():
        (root / source.name).symlink_to(os.readlink(source))
    elif source.is_dir():
        (root / source.name).mkdir()
        _mount("--rbind", str(source), str(root / source.name))


def _etc(spec: MachineSpec, root: Path) -> None:
    upper, work, merged = root / ".etc", root / ".etc-work", root / "etc"
    for path in (upper, work, merged):
        path.mkdir()
    _mount("-t", "overlay", "-o", f"lowerdir=/etc,upperdir={upper},workdir={work}", "lab", str(merged))
    names = {"127.0.0.1": "localhost", **spec.hosts}
    for name, text in (
        ("hostname", f"{spec.name}\n"),
        ("hosts", "".join(f"{address}\t{name}\n" for address, name in names.items())),
        ("resolv.conf", ""),
        ("machine-id", hashlib.sha256(spec.directory.encode()).hexdigest()[:32] + "\n"),
    ):
        (merged / name).unlink(missing_ok=True)
        (merged / name).write_text(text)


def _kernel_file_systems(root: Path) -> None:
    for name in ("dev", "proc", "sys"):
        (root / name).mkdir()
    _mount("--rbind", "/dev", str(root / "dev"))
    _mount("-t", "proc", "proc", str(root / "proc"))
    # A fresh sysfs shows the machine's own network devices; it also hides the cgroups, which come back below,
    # rooted at the machine's own cgroup because init runs in a cgroup namespace.
    _mount("-t", "sysfs", "sysfs", str(root / "sys"))
    _cgroups(root / "sys/fs/cgroup")
    settings = root / "run/kernel-settings"
    settings.mkdir()
    for name, value in _KERNEL_SETTINGS.items():
        target = root / "proc/sys" / name
        if target.exists():
            source = settings / name.replace("/", ".")
            source.write_text(f"{value}\n")
            _mount("--bind", str(source), str(target))


def _cgroups(target: Path) -> None:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    if any(kind == "cgroup2" and where == "/sys/fs/cgroup" for _, where, kind, *_ in mounts):
        _mount("-t", "cgroup2", "cgroup2", str(target))
        return
    _mount("-t", "tmpfs", "-o", "mode=755", "lab", str(target))
    for _, where, kind, options, *_ in mounts:
        if kind != "cgroup" or not where.startswith("/sys/fs/cgroup/"):
            continue
        generic = {"rw", "ro", "relatime", "nosuid", "nodev", "noexec", "xattr"}
        controllers = [
            option for option in options.split(",") if option not in generic and not option.startswith("release_agent")
        ]
        name = Path(where).name
        (target / name).mkdir()
        named = any(controller.startswith("name=") for controller in controllers)
        _mount(
            "-t",
            "cgroup",
            "-o",
            ",".join((["none"] if named else []) + controllers),
            "cgroup",
            str(target / name),
        )
        for controller in controllers:
            if not named and controller != name:
                (target / controller).symlink_to(name)


def _pivot(root: Path) -> None:
    old = root / "mnt/host"
    old.mkdir()
    # The program changes the root of every process in the namespace that had the old one: this one, too.
    subprocess.run(["pivot_root", str(root), str(old)], check=True)
    os.chdir("/")
    subprocess.run(["umount", "-l", "/mnt/host"], check=True)
    Path("/mnt/host").rmdir()
    # Mounts that the kubelet makes must appear in containers that ask for mount propagation.
    subprocess.run(["mount", "--make-rshared", "/"], check=True)


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
