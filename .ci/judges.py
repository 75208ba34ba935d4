"""What `.ci/resp` and `.ci/websocket` share: servers and their processor time, other people's tools.

They are installed into `target/judges`, with the package managers that they come from.
"""

import os
import socket
import subprocess
import sys
import time

import kit

JUDGES = os.path.join(kit.TARGET, "judges")


def python_with(*packages):
    """A Python of our own that has these packages."""
    python = os.path.join(JUDGES, "python", "bin", "python")
    imports = [python, "-c", "import " + ", ".join(packages)]
    if not os.path.exists(python) or subprocess.run(imports, capture_output=True).returncode != 0:
        subprocess.run([sys.executable, "-m", "venv", os.path.dirname(os.path.dirname(python))],
                       check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
    return python


def node_with(*packages):
    """The environment in which node finds these packages."""
    modules = os.path.join(JUDGES, "node_modules")
    if any(not os.path.exists(os.path.join(modules, package)) for package in packages):
        os.makedirs(modules, exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--prefix", JUDGES, *packages], check=True)
    return {**os.environ, "NODE_PATH": modules}


def expect(what, got, wanted):
    if got != wanted:
        raise kit.Wrong(f"{what}: {got!r}, and not {wanted!r}")


def build(*args):
    subprocess.run(["cargo", "build", *args], cwd=kit.ROOT, check=True)


def example(profile, name):
    return os.path.join(kit.TARGET, profile, "examples", name)


class Process:
    """A server on ports of loopback, which it prints unless one is given."""

    def __init__(self, command, port=None, ports=1, env=None):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
        if port is None:
            lines = [self.process.stdout.readline() for _ in range(ports)]
            self.ports = [int(line.split()[-1].rsplit(":", 1)[1]) for line in lines]
        else:
            self.ports = [port]
        self.port = self.ports[0]
        end = time.monotonic() + kit.PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def cpu(self):
        """Seconds in user mode and in the kernel, so far."""
        with open(f"/proc/{self.process.pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9

    def stop(self):
        self.process.terminate()
        self.process.wait()
