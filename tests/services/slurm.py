"""Slurm with two nodes on this machine, without systemd; the Debian packages slurmctld, slurmd and munge bring it."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import signal
import socket
import subprocess
import sysconfig
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.ports import free_ports
from services.programs import require_program

__all__ = ["PROGRAMS", "SlurmCluster", "start"]

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo", "mpirun")
ROOT = Path(__file__).parents[2]
NODES = ("node1", "node2")
PROCESSORS = 2
START_SECONDS = 60
JOB_SECONDS = 300
ENDED = {"COMPLETED", "CANCELLED", "FAILED", "NODE_FAIL", "TIMEOUT"}

CONFIGURATION = """
ClusterName=zdbtest
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/data/state
SlurmdSpoolDir={folder}/data/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
ReturnToService=2
KillWait=2
MinJobAge=600
MailProg=/bin/true
SlurmdParameters=config_overrides
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={processors} RealMemory=4000\n"


@dataclass(frozen=True)
class SlurmCluster:
    """A running cluster of two nodes with two processors each."""

    configuration: str

    @property
    def environment(self) -> dict[str, str]:
        """What its commands and jobs need: `python` and `zdb` are those that run the tests."""
        return {
            **os.environ,
            "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "SLURM_CONF": self.configuration,
            # Both nodes are this machine: messages take the loopback, where Open MPI would share memory of two nodes.
            "OMPI_MCA_btl": "self,tcp",
            "OMPI_MCA_btl_tcp_if_include": "lo",
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        }

    def run(self, *command: str, folder: Path) -> str:
        """Run a command in a folder, and return what it prints.

        Raises
        ------
        AssertionError
            It fails; the message has its output and that of all jobs that were started there.
        """
        done = subprocess.run(command, cwd=folder, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, "\n".join([f"{command} failed:", done.stdout, done.stderr, _outputs(folder)])
        return done.stdout

    def submit(self, *options: str, folder: Path) -> int:
        """Submit a job and return its id."""
        return int(self.run("sbatch", "--parsable", *options, folder=folder))

    def complete(self, *options: str, folder: Path) -> None:
        """Submit a job and wait for its end; ``sbatch --wait`` looks every half minute only.

        Raises
        ------
        AssertionError
            It fails; the message has the output of all jobs that were started there.
        """
        job = self.submit(*options, folder=folder)
        end = time.monotonic() + JOB_SECONDS
        while not (states := self.states(job, folder)) or not set(states.values()) <= ENDED:
            assert time.monotonic() < end, f"job {job} does not end: {states}\n{_outputs(folder)}"
            time.sleep(0.1)
        assert set(states.values()) == {"COMPLETED"}, f"job {job}: {states}\n{_outputs(folder)}"

    def states(self, job: int, folder: Path) -> dict[str, str]:
        """State of each task of a job array by its number, or of a job under the empty name."""
        listed = self.run(
            "squeue", "--noheader", "--array", "--states=all", f"--jobs={job}", "--format=%K %T", folder=folder
        )
        return {name.replace("N/A", ""): state for name, state in map(str.split, listed.splitlines())}


def _outputs(folder: Path) -> str:
    return "\n".join(f"{file.name}:\n{file.read_text()}" for file in sorted(folder.glob("*.out")))


class Daemons:
    """The processes of a cluster, handled as one."""

    def __init__(self, cluster: SlurmCluster, folder: Path) -> None:
        self.environment = cluster.environment
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, program: str, *options: str) -> None:
        with (self.folder / "log").open("ab") as log:
            command = [require_program(program), *options]
            self.processes.append(
                subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            )

    def poll(self) -> int | None:
        """Return None as long as all of them run."""
        return next((code for code in (one.poll() for one in self.processes) if code is not None), None)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
        # Jobs and what they started have no daemon above them any more; their environment tells whose they are.
        own = f"SLURM_CONF={self.environment['SLURM_CONF']}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if int(entry.name) != os.getpid() and own in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)

    def wait(self) -> None:
        for process in self.processes:
            process.wait()


def start(folder: Path) -> tuple[dict[str, Any], Daemons]:
    """Start the cluster; what its users need are the fields of :class:`SlurmCluster`."""
    cluster = SlurmCluster(str(folder / "slurm.conf"))
    _configure(cluster, folder)
    daemons = Daemons(cluster, folder)
    try:
        _start_munge(daemons)
        daemons.start("slurmctld", "-D", "-i")
        for name in NODES:
            daemons.start("slurmd", "-D", "-N", name)
        _wait_until(daemons, lambda: _are_idle(daemons))
    except BaseException:
        daemons.kill()
        raise
    return asdict(cluster), daemons


def _configure(cluster: SlurmCluster, folder: Path) -> None:
    host, user = socket.gethostname().partition(".")[0], pwd.getpwuid(os.getuid()).pw_name
    first, *ports = free_ports(1 + len(NODES))
    folder.chmod(0o755)
    (folder / "data" / "state").mkdir(parents=True, exist_ok=True)
    text = CONFIGURATION.format(host=host, user=user, port=first, folder=folder)
    for name, port in zip(NODES, ports, strict=True):
        text += NODE.format(name=name, host=host, port=port, processors=PROCESSORS)
    Path(cluster.configuration).write_text(text)


def _start_munge(daemons: Daemons) -> None:
    private = daemons.folder / "munge"
    private.mkdir(mode=0o700, exist_ok=True)
    key, munge = private / "key", daemons.folder / "munge.socket"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    places = {"key-file": key, "socket": munge, "pid-file": private / "pid", "seed-file": private / "seed"}
    options = [f"--{name}={place}" for name, place in places.items()]
    daemons.start("munged", "--force", "--foreground", f"--log-file={private / 'log'}", *options)
    _wait_until(daemons, munge.is_socket)


def _are_idle(daemons: Daemons) -> bool:
    found = subprocess.run(
        ["sinfo", "--noheader", "--Node", "--format=%t"], env=daemons.environment, capture_output=True, check=False
    )
    return found.stdout.split() == [b"idle"] * len(NODES)


def _wait_until(daemons: Daemons, is_ready: Any) -> None:
    end = time.monotonic() + START_SECONDS
    while not is_ready():
        if daemons.poll() is not None or time.monotonic() > end:
            raise TimeoutError(f"Slurm is not ready after {START_SECONDS} s, or a part of it ended")
        time.sleep(0.05)
