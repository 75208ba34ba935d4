"""A wire between two network namespaces that delays, reorders, loses and doubles packets.

`relay.py SPACE:ADDR SPACE:ADDR --delay MS --jitter MS --loss PERCENT --twice PERCENT` makes a TUN
device `wire` in each namespace and prints `ready`. Each packet is held for the delay and up to the
jitter besides, by chance, so that packets overtake each other.
"""

import argparse
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000
# What a link of its own would keep in its queue; what is above is lost, as it would be there.
QUEUE = 2000


def enter(space):
    """This thread is then in that namespace, and so are those that it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{space}") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {space}")


def tun(space, addr):
    enter(space)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"wire", IFF_TUN | IFF_NO_PI))
    for command in (f"addr add {addr}/24 dev wire", "link set wire mtu 1500 up"):
        subprocess.run(["ip", *command.split()], check=True)
    return device


def relay(ends, args):
    chance = random.Random(args.seed)
    held = []  # (when, number, device, packet)
    number = 0
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else None
        ready, _, _ = select.select(list(ends), [], [], wait)
        now = time.monotonic()
        for device in ready:
            for _ in range(64):
                try:
                    packet = os.read(device, 65536)
                except BlockingIOError:
                    break
                copies = 1 + (chance.random() * 100 < args.twice)
                if chance.random() * 100 < args.loss or len(held) > QUEUE:
                    copies = 0
                for _ in range(copies):
                    number += 1
                    due = now + (args.delay + chance.random() * args.jitter) / 1000
                    heapq.heappush(held, (due, number, ends[device], packet))
        while held and held[0][0] <= now:
            _, _, device, packet = heapq.heappop(held)
            try:
                os.write(device, packet)
            except BlockingIOError:
                pass  # lost


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ends", nargs=2, metavar="SPACE:ADDR")
    for name in ("delay", "jitter", "loss", "twice", "seed"):
        parser.add_argument(f"--{name}", type=float, default=0)
    args = parser.parse_args()
    one, other = (tun(*end.split(":")) for end in args.ends)
    print("ready", flush=True)
    relay({one: other, other: one}, args)


if __name__ == "__main__":
    main()
