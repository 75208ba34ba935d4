"""Python's asyncio. The library is examples/hosts/c, by ctypes: host.py LIBRARY ACT.

A panic in a callback ends the process, as in C.
"""

import asyncio
import ctypes
import sys


def load(path):
    lib = ctypes.CDLL(path)
    lib.net_new.restype = ctypes.c_void_p
    for name in ("net_fd", "net_turn", "net_outside", "net_free"):
        getattr(lib, name).argtypes = [ctypes.c_void_p]
    return lib


# The glue.
async def host(lib, net):
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def on_readable():
        if lib.net_turn(net) != 0 and not over.done():
            over.set_result(None)

    async def ticks():
        while True:
            await asyncio.sleep(0.005)
            lib.net_outside(net)

    loop.add_reader(lib.net_fd(net), on_readable)
    ticking = asyncio.create_task(ticks())
    await over
    ticking.cancel()
    loop.remove_reader(lib.net_fd(net))
# End of the glue.


def main():
    lib = load(sys.argv[1])
    net = lib.net_new(sys.argv[-1].encode())
    if net is None:
        sys.exit("no such act")
    asyncio.run(host(lib, net))
    lib.net_free(net)


main()
