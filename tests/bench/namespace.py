"""A network and a view of the file system of a benchmark's own, where the resolver answers nothing."""

import ctypes
import dataclasses
import fcntl
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile

#: What /etc/hosts is in there.
_hosts = None

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
MS_BIND = 4096


class Refused(Exception):
    """The system gives us no namespaces."""


def rows(name):
    """What the measurement `name` of the adversaries returns in there, as dictionaries."""
    # An ordinary user becomes the master of a namespace by way of one of users.
    user = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    unshare = ["unshare", *user, "--mount", "--propagation", "private", "--net"]
    tried = subprocess.run([*unshare, "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        raise Refused(tried.stderr.strip())
    done = subprocess.run(
        [*unshare, sys.executable, __file__, name], stdout=subprocess.PIPE, text=True, check=True, timeout=600,
    )
    return json.loads(done.stdout)


def raise_loopback():
    with socket.socket() as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def know(*names):
    """Only these are loopback from now on; each other name waits for an answer."""
    _hosts.seek(0)
    _hosts.truncate()
    _hosts.write(f"127.0.0.1 localhost {' '.join(names)}\n")
    _hosts.flush()


def cover(path):
    """An empty file that all processes of this namespace see as `path`."""
    libc = ctypes.CDLL(None, use_errno=True)
    file = tempfile.NamedTemporaryFile("w")
    os.chmod(file.name, 0o644)
    if libc.mount(file.name.encode(), os.path.realpath(path).encode(), None, MS_BIND, None) != 0:
        raise OSError(ctypes.get_errno(), f"mounting over {path}")
    return file


def swallow():
    """Sockets that take queries and answer none."""
    datagrams = socket.socket(type=socket.SOCK_DGRAM)
    datagrams.bind(("127.0.0.1", 53))
    streams = socket.socket()
    streams.bind(("127.0.0.1", 53))
    streams.listen(1024)
    return datagrams, streams


def main(name):
    global _hosts
    raise_loopback()
    _hosts = cover("/etc/hosts")
    know()
    with cover("/etc/resolv.conf") as resolv_conf:
        resolv_conf.write("nameserver 127.0.0.1\n")
        resolv_conf.flush()
        silent = swallow()
        import adversaries
        import bench
        measured = bench.measure([getattr(adversaries, name)], bool(os.environ.get("QUICK")))
        print(json.dumps([dataclasses.asdict(row) for row in measured]))
    for listener in silent:
        listener.close()


if __name__ == "__main__":
    here = pathlib.Path(__file__).parent
    sys.path[:0] = [str(here), str(here.parent / "e2e")]
    import namespace  # the module that the adversaries see, which this script is not

    namespace.main(sys.argv[1])
