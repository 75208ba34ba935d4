"""What `.ci/network` and `.ci/faults` share: our servers as processes, and clients that check.

A client returns when all was right and raises `Wrong` when not: a byte that is not the right one,
an end that is not due, or nothing at all for `PATIENCE` seconds.
"""

import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))

# Longer than anything takes that goes on at all.
PATIENCE = 60.0


class Wrong(Exception):
    """What a client or a server did that it must not."""


def tools(packages):
    """Installs what is missing; `packages` maps a program to the Debian package that has it."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    os.environ["PATH"] = path
    missing = sorted({package for name, package in packages.items() if not shutil.which(name)})
    if missing:
        subprocess.run(["apt-get", "update"], check=True)
        subprocess.run(["apt-get", "install", "-y", *missing], check=True)


def build():
    """The examples, in debug: so that what overflows or breaks an assertion ends the server."""
    subprocess.run(["cargo", "build", "--examples"], cwd=ROOT, check=True)


class Server:
    """An example as a process. `wrap` is a command that runs it."""

    def __init__(self, name, *args, wrap=()):
        self.name = name
        self.log = tempfile.TemporaryFile("w+")
        program = os.path.join(TARGET, "debug", "examples", name)
        self.process = subprocess.Popen(
            [*wrap, program, *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        if "listening on " not in line:
            self.stop()
            raise Wrong(f"{name} did not start: {line!r}, {self.said()[-300:]}")
        host, port = line.split("listening on ")[1].split()[0].rsplit(":", 1)
        self.addr = (host.strip("[]"), int(port))
        self.spent_before = self.spent()

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def stat(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            return file.read().rsplit(") ", 1)[1].split()

    def spent(self):
        """Seconds of processor time."""
        fields = self.stat()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def check(self, most=None):
        """It is alive, it rests, and it has used `most` seconds of processor time at most."""
        if self.process.poll() is not None:
            raise Wrong(f"{self.name} ended with {self.process.returncode}: {self.said()[-500:]}")
        spent = self.spent() - self.spent_before
        if most is not None and spent > most:
            raise Wrong(f"{self.name} used {spent:.2f} s of processor time, {most} at most")
        end = time.monotonic() + PATIENCE
        asleep = 0
        while asleep < 10:  # a hundred milliseconds; one that spins is never asleep so long
            asleep = asleep + 1 if self.stat()[0] == "S" else 0
            if time.monotonic() > end:
                raise Wrong(f"{self.name} spins")
            time.sleep(0.01)
        return spent

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def dial(addr, buffer=None):
    """A blocking connection; `buffer` is the size of its receive buffer."""
    sock = socket.socket()
    sock.settimeout(PATIENCE)
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    try:
        sock.connect(addr)
    except ConnectionResetError as error:
        sock.close()
        raise Reset(f"connect: {error}") from None
    except OSError as error:
        sock.close()
        raise Wrong(f"connect: {error}") from None
    return sock


def reset(sock):
    """Closes it so that the peer sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Expected:
    """Compares what comes with what is due, piece by piece."""

    def __init__(self, right):
        self.right = memoryview(right)
        self.got = 0

    def take(self, piece):
        end = self.got + len(piece)
        if piece != self.right[self.got:end]:
            raise Wrong(f"wrong bytes between {self.got} and {end} of {len(self.right)}")
        self.got = end

    def read_to_end(self, sock, pace=None):
        """Until the end of the stream; by `pace` bytes a second at most."""
        start = time.monotonic()
        while True:
            piece = receive(sock, 65536 if pace is None else max(1, pace // 10), self)
            if not piece:
                break
            self.take(piece)
            if pace is not None:
                time.sleep(max(0.0, start + self.got / pace - time.monotonic()))
        if self.got != len(self.right):
            raise Ended(f"an orderly end after {self.got} of {len(self.right)} bytes")


def receive(sock, most, progress=None):
    where = f" after {progress.got} of {len(progress.right)} bytes" if progress else ""
    try:
        return sock.recv(most)
    except TimeoutError:
        raise Wrong(f"nothing for {PATIENCE:.0f} s{where}") from None
    except OSError as error:
        raise Reset(f"{error.strerror}{where}") from None


class Reset(Wrong):
    """The connection ended with an error."""


class Ended(Reset):
    """The connection ended in an orderly way, and too early."""


def answer(size):
    """What `tests/network/answer.rs` sends."""
    text = "".join(f"{line * 16:015}\n" for line in range(-(-size // 16)))
    return text[:size].encode()


def echo(addr, size, seed=0, pace=None, halfway=None, late=0):
    """Sends `size` bytes, then an end, and wants them back, then an end.

    When half of them are sent it calls `halfway`; if that answers `False`, no more are sent. (A
    send that fails takes the error, and a read after it says that there was an orderly end.)
    It reads nothing before `late` seconds are over, and then by small windows.
    """
    data = random.Random(seed).randbytes(size)
    sock = dial(addr, 16384 if late else None)
    failed = []

    def send():
        try:
            sock.sendall(data[:size // 2])
            if halfway and halfway() is False:
                return
            sock.sendall(data[size // 2:])
            sock.shutdown(socket.SHUT_WR)
        except TimeoutError:
            failed.append(Wrong(f"nothing was taken for {PATIENCE:.0f} s"))
        except OSError:
            pass  # the reader says what has happened

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    time.sleep(late)
    expected = Expected(data)
    try:
        expected.read_to_end(sock, pace)
    finally:
        if expected.got != size:
            try:
                sock.shutdown(socket.SHUT_RDWR)  # so that the sender ends
            except OSError:
                pass
        sender.join()
        sock.close()
    if failed:
        raise failed[0]


class Lines:
    """A connection that is read by lines."""

    def __init__(self, addr):
        self.sock = dial(addr)
        self.rest = b""

    def line(self):
        """The next one without its end, or `None` at the end of the stream."""
        while b"\n" not in self.rest:
            piece = receive(self.sock, 65536)
            if not piece:
                if self.rest:
                    raise Ended(f"an end within a line: {self.rest[:80]!r}")
                return None
            self.rest += piece
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode()

    def send(self, text):
        try:
            self.sock.sendall(text.encode() + b"\n")
        except TimeoutError:
            raise Wrong(f"nothing was taken for {PATIENCE:.0f} s") from None
        except OSError as error:
            raise Reset(f"{error.strerror} while sending") from None


class Member(Lines):
    """One who is in a chat. `others` are those who are still expected to say something."""

    def __init__(self, addr):
        super().__init__(addr)
        self.name = None
        self.others = {}

    def greeting(self):
        hello = self.line()
        if hello is None:
            raise Ended("an orderly end before the greeting")
        if not hello.startswith("* you are guest"):
            raise Wrong(f"no greeting but {hello!r}")
        self.name = hello.split()[3].rstrip(",")

    def talk(self, names, lines, text):
        """Says some lines, and hears as many of each other one, in their order."""
        self.others = {name: 0 for name in names if name != self.name}
        for line in range(lines):
            self.send(f"{line} {text}")
        while self.others:
            line = self.line()
            if line is None:
                raise Ended(f"an orderly end too early; heard so far {self.others}")
            if line.startswith("* "):
                name, _, what = line[2:].partition(" ")
                if what.startswith("has left"):
                    self.others.pop(name, None)  # its own thread says whether it should have
                continue
            who, _, said = line.partition(": ")
            if said != f"{self.others.get(who)} {text}":
                raise Wrong(f"not due: {line!r}, heard so far {self.others}")
            self.others[who] += 1
            if self.others[who] == lines:
                del self.others[who]

    def leave(self):
        self.send("/quit")
        while (line := self.line()) != "* goodbye":
            if line is None:
                raise Ended("an orderly end before the goodbye")
            if not line.startswith("* "):
                raise Wrong(f"no goodbye but {line!r}")
        if (line := self.line()) is not None:
            raise Wrong(f"no end but {line!r}")


def chat(addr, members=4, lines=20, text="x" * 40):
    """Members who each say some lines and hear those of all others. One who is cut off says so at
    the end, and the others are checked nevertheless."""
    together = threading.Barrier(members)
    heard = threading.Barrier(members)
    names = []

    def member():
        me, failed = None, None

        def attempt(step):
            """Not once it is cut off; but it still comes to where the others wait for it."""
            nonlocal failed
            try:
                if not failed:
                    step()
            except Reset as error:
                failed = error
                if me:
                    me.sock.close()

        try:
            try:
                me = Member(addr)
            except Reset as error:
                failed = error
            attempt(lambda: (me.greeting(), names.append(me.name)))
            together.wait(PATIENCE)
            attempt(lambda: me.talk(names, lines, text))
            heard.wait(PATIENCE)
            attempt(lambda: me.leave())
        except threading.BrokenBarrierError:
            pass  # another one has failed, and says why
        except BaseException:
            together.abort()
            heard.abort()
            raise
        finally:
            if me:
                me.sock.close()
        if failed:
            raise failed

    at_once([member] * members)


def crowd(server, members=3, lines=10, size=20_000):
    """Members of `examples/broadcast.rs`, with lines that are long enough to be shared: what
    several of them say in one turn leaves in one call. So that they do, the server is stopped while
    they begin."""
    text = "x" * size
    everybody = range(members)
    # Who are there and have not begun yet.
    silent = set()
    lock = threading.Lock()

    def stop():
        if silent:
            os.kill(server.process.pid, signal.SIGSTOP)
            stopped = 0
            while stopped < 5:  # one that is traced stops for a moment at other times, too
                time.sleep(0.001)
                stopped = stopped + 1 if server.stat()[0] in "Tt" else 0

    def has_begun(number):
        with lock:
            silent.discard(number)
            if not silent:
                os.kill(server.process.pid, signal.SIGCONT)

    together = threading.Barrier(members, stop)

    def listen(me, number, first):
        """Until all have said that they end; `first` is when each has said something."""
        due = {who: 0 for who in everybody}
        while due:
            line = me.line()
            if line is None:
                raise Ended(f"an orderly end of {number} while {due} are due")
            who, what, *more = line.split(" ", 2)
            who = int(who)
            if what == "ready":
                continue
            if what == "end":
                due.pop(who, None)
            elif due.get(who) != int(what) or more != [text]:
                raise Wrong(f"not due: {line[:40]!r}, but {due}")
            else:
                due[who] += 1
            if all(due.values()):
                first.set()

    def member(number):
        me, failed, first = None, None, threading.Event()
        try:
            try:
                me = Lines(server.addr)
                me.send(f"{number} ready")
                while (line := me.line()) != f"{number} ready":
                    if line is None:
                        raise Ended("an orderly end before all were there")
                silent.add(number)
            except Reset as error:
                failed = error
            together.wait(PATIENCE)
            if failed:
                raise failed

            def talk():
                try:
                    me.send(f"{number} 0 {text}")
                finally:
                    has_begun(number)
                first.wait(PATIENCE)
                for line in range(1, lines):
                    me.send(f"{number} {line} {text}")
                me.send(f"{number} end")

            def hear():
                try:
                    listen(me, number, first)
                finally:
                    first.set()

            at_once([talk, hear])
        except threading.BrokenBarrierError:
            pass  # another one has failed, and says why
        except Reset:
            me and me.sock.close()
            stand_in(number)
            raise
        except BaseException:
            together.abort()
            raise
        finally:
            me and me.sock.close()

    def stand_in(number):
        """Says for one who was cut off that it ends: the others wait for that."""
        while True:
            try:
                other = Lines(server.addr)
                other.send(f"{number} end")
                while other.line() not in (None, f"{number} end"):
                    pass
                other.sock.close()
                return
            except Reset:
                pass

    at_once([lambda number=number: member(number) for number in everybody])


def at_once(calls):
    """Each call in a thread of its own; raises the first of what they raise."""
    failed = []

    def run(call):
        try:
            call()
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=run, args=[call], daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def say(*words):
    print(*words, flush=True)


def give_up(text):
    say(text)
    sys.exit(1)
