"""Stands in for a program that the server forks: gives it what it was given, and ends as it does.

    python -I -S stand_in.py SOCKET MODULES [-m MODULE | -c CODE] [ARGUMENT ...]

It imports next to nothing, since the time that it takes is all that is left of a start.
"""

import _socket
import marshal
import os
import signal
import sys
from array import array

_, path, modules, *arguments = sys.argv
pid = 0
early = []


def pass_on(number: int, _frame: object) -> None:
    if not pid:
        early.append(number)
        return
    try:  # noqa: SIM105
        os.kill(pid, number)
    except ProcessLookupError:
        pass


for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, pass_on)
server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
server.connect(path)
asked = (modules.split(",") if modules else [], arguments, os.getcwd(), dict(os.environ))
server.sendmsg(
    [marshal.dumps(asked)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array("i", [0, 1, 2]))]
)
pid = int(server.recv(32))
for number in early:
    os.kill(pid, number)
for descriptor in (0, 1, 2):
    os.close(descriptor)
code = int(server.recv(32) or 1)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
