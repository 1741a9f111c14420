"""Two hosts as network namespaces, a training across them over gloo, and its cable cut in between:
for ten seconds, which it survives, and for good, which ends it on both hosts in bounded time."""

import os
import shutil
import subprocess
import time

import pytest

from tests.ranks.launched import Job, arguments, await_iteration, reached, write_cfg

pytestmark = pytest.mark.long
SILENCE = 30  # seconds that a rank is waited for
RETRIES = 8  # after which TCP gives up, in about 100 seconds
BOUND = SILENCE + 100 + 120  # torchrun's own patience is the last


def ip(*words):
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True)


class Hosts:
    """Namespaces NAME0 and NAME1 with addresses 10.77.0.1 and .2 on a bridge between them."""

    def __init__(self, name="yolo"):
        self.name = name
        self.hosts = [f"{name}{i}" for i in range(2)]

    def __enter__(self):
        ip("link", "add", self.name, "type", "bridge")
        ip("link", "set", self.name, "up")
        for i, host in enumerate(self.hosts):
            ip("netns", "add", host)
            ip("link", "add", f"{host}p", "type", "veth", "peer", "name", "eth0", "netns", host)
            ip("-n", host, "addr", "add", f"10.77.0.{i + 1}/24", "dev", "eth0")
            for interface in ("eth0", "lo"):
                ip("-n", host, "link", "set", interface, "up")
            ip("link", "set", f"{host}p", "up")
            # torchrun on the host without the store waits for TCP to give up: 15 minutes, or less
            ip("netns", "exec", host, "sysctl", "-w", f"net.ipv4.tcp_retries2={RETRIES}")
        self.join()
        return self

    def __exit__(self, *_):
        for host in self.hosts:
            subprocess.run(["ip", "netns", "del", host], check=False)
        subprocess.run(["ip", "link", "del", self.name], check=False)

    def join(self):
        for host in self.hosts:
            ip("link", "set", f"{host}p", "master", self.name)

    def cut(self):
        """Between the hosts, whose own interfaces notice nothing."""
        ip("link", "set", f"{self.hosts[1]}p", "nomaster")

    def start(self, i, command, log):
        """torchrun on one host."""
        rendezvous = ("--rdzv-backend=c10d", "--rdzv-endpoint=10.77.0.1:29500", "--rdzv-id=cable")
        host = f"--rdzv-conf=is_host={1 - i}"  # torchrun would ask a name server, and there is none
        here = (host, f"--local-addr=10.77.0.{i + 1}", "--nnodes=2", f"--node-rank={i}")
        within = ("ip", "netns", "exec", self.hosts[i], "env", "GLOO_SOCKET_IFNAME=eth0")
        return Job(command, log, ranks=1, options=(*rendezvous, *here), before=within)


@pytest.fixture
def hosts():
    if not shutil.which("ip") or os.geteuid() != 0:
        pytest.skip("network namespaces need iproute2 and root")
    try:
        with Hosts() as made:
            yield made
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")


def start(hosts, folder, iterations):
    out, cfg = folder / "out", write_cfg(folder)
    command = arguments(cfg, out, iterations, "--rank-timeout", SILENCE)
    return out, [hosts.start(i, command, folder / f"log{i}") for i in range(2)]


def test_a_cable_cut_for_ten_seconds(hosts, tmp_path):
    out, jobs = start(hosts, tmp_path, 400)
    with jobs[0], jobs[1]:
        await_iteration(out, 10, jobs[0])
        hosts.cut()
        time.sleep(1)
        before = reached(out)
        time.sleep(9)
        assert reached(out) <= before + 5  # nothing moves, nothing has ended
        assert [job.process.poll() for job in jobs] == [None, None]
        hosts.join()
        codes = [job.end(200) for job in jobs]
    logs = [job.log.read_text() for job in jobs]
    assert codes == [0, 0], logs
    assert reached(out) == 400
    assert "going on" not in logs[0]  # the same processes went on


def test_a_cable_cut_for_good(hosts, tmp_path):
    out, jobs = start(hosts, tmp_path, 10**6)
    with jobs[0], jobs[1]:
        await_iteration(out, 10, jobs[0])
        hosts.cut()
        codes = [job.end(BOUND) for job in jobs]
    assert 0 not in codes
    assert "has not answered in time" in jobs[0].log.read_text()
    assert reached(out) >= 10
