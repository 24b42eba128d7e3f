"""A private machine: a real systemd in fresh namespaces, with an /etc, /opt, /run and /var/lib of its own.

It tries the units in `init/` unchanged, in the places where an administrator puts them. Only root can make one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from .conftest import eventually

CHECKOUT = Path(__file__).parents[2]
_CGROUPS = Path("/sys/fs/cgroup")
SYSTEMD = "/lib/systemd/systemd"
_MINIMAL_TARGETS = "sysinit basic shutdown sockets network network-online multi-user"
_NAMESPACES = ("--pid", "--mount", "--ipc", "--uts", "--net", "--cgroup", "--fork", "--mount-proc")

_BOOT = """
set -e
mount --make-rprivate /
cp -a /etc/. "$STASH/etc/"
rm -rf "$STASH/etc/systemd"
mount -t tmpfs -o mode=755 none /opt
mkdir /opt/python /opt/checkout /opt/packages
mount --bind "$BASE_PYTHON" /opt/python
mount --bind "$CHECKOUT" /opt/checkout
mount --bind "$PACKAGES" /opt/packages
mount --bind "$STASH/etc" /etc
for folder in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 none $folder; done

# The product, as if it were installed in /opt/gearman-manager; homes are hidden from the services.
mkdir -p /opt/gearman-manager/bin
for name in manager server; do
    program=/opt/gearman-manager/bin/gearman-$name
    cat >$program <<END
#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH=/opt/checkout/client:/opt/checkout/process:/opt/checkout/server:/opt/checkout/manager:/opt/packages
exec /opt/python/bin/python3 -c "from gearman_$name.command.command_line import main; main()" "\\$@"
END
    chmod +x $program
done

units=/etc/systemd/system
mkdir -p $units
cp /opt/checkout/init/*.service /opt/checkout/init/*.socket $units
for name in manager server; do
    mkdir $units/gearman-$name.service.d
    printf '[Service]\\nStandardOutput=append:%s\\nStandardError=append:%s\\n' \\
        "$STASH/$name.log" "$STASH/$name.log" >$units/gearman-$name.service.d/output.conf
done
for target in $TARGETS; do printf '[Unit]\\nDefaultDependencies=no\\n' >$units/$target.target; done
cp /opt/checkout/init/gearman-manager.default /etc/default/gearman-manager
systemd-sysusers /opt/checkout/init/gearman.sysusers
mkdir -p /etc/gearman-manager/workers /var/lib/logrotate

if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then
    umount -R /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
else
    umount -R /sys/fs/cgroup
    mount -t tmpfs none /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd,xattr none /sys/fs/cgroup/systemd
    mount -t cgroup2 none /sys/fs/cgroup/unified
fi
export container=test SYSTEMD_UNIT_PATH=$units SYSTEMD_GENERATOR_PATH=/nowhere
exec "$SYSTEMD" --system --unit=multi-user.target --log-target=null --default-standard-output=null
"""


class PrivateMachine:
    """A machine that runs."""

    def __init__(self, stash: Path, outer: int) -> None:
        self.stash = stash
        self.etc = stash / "etc"
        self._outer = outer

    @property
    def _first(self) -> str:
        """The pid of its process 1, as seen from here."""
        return Path(f"/proc/{self._outer}/task/{self._outer}/children").read_text().split()[0]

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine."""
        enter = ["nsenter", "--target", self._first, "--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup"]
        return subprocess.run([*enter, *command], capture_output=True, text=True, timeout=60, check=check)

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """Output of its systemctl."""
        result = self.run("systemctl", "--no-pager", *arguments, check=False)
        assert result.returncode == 0 or not check, f"{arguments}: {result.stderr}\n{self.log('manager')}"
        return result.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", unit, "--property", name, "--value")

    def log(self, service: str) -> str:
        """The journal of a service."""
        file = self.stash / f"{service}.log"
        return file.read_text() if file.exists() else ""

    def install(self, source: str, target: str) -> None:
        """Copy a file of `init/` to its place below /etc."""
        (self.etc / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / "init" / source, self.etc / target)


@contextmanager
def private_machine(stash: Path) -> Iterator[PrivateMachine]:
    """Boot a machine whose files lie below `stash`, which every user may enter; nothing is left of it afterwards."""
    (stash / "etc").mkdir()
    cgroups = [_CGROUPS / name for name in ("systemd", "unified") if (_CGROUPS / name).is_dir()] or [_CGROUPS]
    groups = [cgroup / f"gearman-manager-test-{os.getpid()}" for cgroup in cgroups]
    for group in groups:
        group.mkdir()
    join = "".join(f"echo $$ >{group}/cgroup.procs; " for group in groups)
    outer = subprocess.Popen(
        [
            "sh",
            "-ec",
            f'{join}exec "$@"',
            *("sh", "unshare", *_NAMESPACES, "--fork", "--mount-proc", "--kill-child"),
            *("sh", "-c", _BOOT),
        ],
        env=os.environ | _paths(stash),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(stash / "boot.log").open("wb"),
    )
    try:
        machine = PrivateMachine(stash, outer.pid)
        eventually(lambda: _is_booted(machine, outer), "systemd has booted")
        yield machine
    finally:
        outer.kill()
        outer.wait()
        for group in groups:
            eventually(partial(_removed, group), "its control groups are empty")


def _paths(stash: Path) -> dict[str, str]:
    return {
        "STASH": str(stash),
        "CHECKOUT": str(CHECKOUT),
        "BASE_PYTHON": sys.base_prefix,
        "PACKAGES": sysconfig.get_path("purelib"),
        "TARGETS": _MINIMAL_TARGETS,
        "SYSTEMD": SYSTEMD,
    }


def _is_booted(machine: PrivateMachine, outer: subprocess.Popen[bytes]) -> bool:
    assert outer.poll() is None, (machine.stash / "boot.log").read_text()
    with suppress(IndexError):  # it has no process 1 yet
        return machine.systemctl("is-system-running", check=False) in ("running", "degraded")
    return False


def _removed(group: Path) -> bool:
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            os.rmdir(folder)
    return not group.exists()
