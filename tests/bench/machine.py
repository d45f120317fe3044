"""What a benchmark needs beside a server: a receiver, a load generator, and the clocks of processes."""

import contextlib
import ipaddress
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import urllib.request

from cryptography import x509
from harness.certificates import authority, pem, private_key

NGINX = "/usr/sbin/nginx"
TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Nginx:
    """Debian's nginx with one worker, no access log, answering 200 to everything."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.port, self.tls_port = free_port(), free_port()
        #: By whom its certificate is signed: itself.
        self.ca_file = self.folder / "certificate.pem"
        signed = authority("nginx", [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        self.ca_file.write_bytes(pem(signed))
        (self.folder / "key.pem").write_bytes(private_key(signed))
        (self.folder / "nobody").write_text("")
        (self.folder / "conf").write_text(f"""
            worker_processes 1; worker_rlimit_nofile 20000; daemon on; pid {self.folder}/pid; error_log {self.folder}/error;
            # With fewer it would close idle ones under whoever is about to use them: each endpoint of a thousand keeps some.
            events {{ worker_connections 16384; }}
            http {{
                access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; client_body_buffer_size 64k;
                client_body_temp_path {self.folder}/body; proxy_temp_path {self.folder}/proxy;
                fastcgi_temp_path {self.folder}/fastcgi; uwsgi_temp_path {self.folder}/uwsgi;
                scgi_temp_path {self.folder}/scgi;
                server {{
                    listen 127.0.0.1:{self.port} backlog=4096;
                    listen 127.0.0.1:{self.tls_port} backlog=4096 ssl;
                    ssl_certificate {self.ca_file}; ssl_certificate_key {self.folder}/key.pem;
                    client_max_body_size 0;
                    location /status {{ stub_status; }}
                    location / {{ return 200 "ok"; }}
                    location /away {{ return 503; }}
                    # An endpoint that refuses events is not taken for one that is away.
                    location /refuses {{ return 422; }}
                    # A tenth of a second for each request.
                    location /slow {{
                        auth_basic "nobody"; auth_basic_user_file {self.folder}/nobody; auth_delay 100ms; error_page 401 =200 /;
                    }}
                }}
            }}""")
        subprocess.run([NGINX, "-c", self.folder / "conf"], check=True, capture_output=True)

    def url(self, path="/", host="127.0.0.1"):
        return f"http://{host}:{self.port}{path}"

    def tls_url(self, path="/"):
        return f"https://127.0.0.1:{self.tls_port}{path}"

    def requests(self):
        """Requests so far, without those that ask for this."""
        with urllib.request.urlopen(self.url("/status")) as answer:
            self._asked = getattr(self, "_asked", 0) + 1
            return int(answer.read().split()[9]) - self._asked

    def pids(self):
        master = int((self.folder / "pid").read_text())
        children = subprocess.run(["pgrep", "-P", str(master)], capture_output=True, text=True).stdout
        return [int(pid) for pid in children.split()]

    def wrk(self, seconds, bytes=350):
        """Requests per second of `wrk -t1 -c64` with a body of the same size, as rows of the benchmark make it where not said."""
        script = self.folder / "post.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {bytes})\n'
                          'wrk.headers["Content-Type"] = "application/json"\n')
        done = subprocess.run(
            ["wrk", "-t1", "-c64", f"-d{seconds}", "-s", script, self.url()],
            capture_output=True, text=True, check=True,
        )
        return float(re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)[1])

    def cost(self, seconds, bytes=350):
        """Requests per second of `wrk`, and microseconds of processor time of one: its own, and the receiver's. Nobody sends with less."""
        children = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        before, sent = (children(), cpu(*self.pids())), self.requests()
        rate = self.wrk(seconds, bytes)
        used, requests = (children() - before[0], cpu(*self.pids()) - before[1]), self.requests() - sent
        return rate, *(each / requests * 1e6 for each in used)

    @contextlib.contextmanager
    def stopped(self):
        """It neither reads nor answers; the kernel goes on taking connections for it."""
        pids = self.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def stop(self):
        subprocess.run([NGINX, "-c", self.folder / "conf", "-s", "stop"], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def cpu(*pids):
    """Seconds of processor time that processes have used."""
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICK


def cpu_of_ended(parent):
    """Seconds of processor time that the ended children of a process have used."""
    fields = pathlib.Path(f"/proc/{parent}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / TICK


def cpu_of_all():
    """Seconds of processor time that have been used on this machine."""
    fields = list(map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]))
    # Not those in which there was nothing to do, or a disk was waited for.
    return (sum(fields) - fields[3] - fields[4]) / TICK


def memory(pid, what="VmRSS"):
    """MiB of a process: VmRSS now, VmHWM at most."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"{what}:\s*(\d+)", status)[1]) / 1024


def describe():
    """The machine, in one line."""
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    total = re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())
    return (f"{os.cpu_count()} cores, {model[1] if model else 'unknown processor'}, "
            f"{int(total[1]) // 1024**2} GiB, Linux {os.uname().release}")
