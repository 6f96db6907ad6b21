"""Run a command that cannot outlive the process that asked for it: ``python tied.py TERM|KILL PARENT COMMAND...``.

On Linux the kernel sends the signal when the parent goes, however it goes, kill -9 included; the setting survives the
exec that follows. It is set here, in a process of one's own, because code between fork and exec (``preexec_fn``) is not
safe in a parent that may have threads. Elsewhere the command is run as it is.

Started by path and without ``site``, so that it costs milliseconds: it must import nothing of rqk.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Does not return: becomes the command, or exits if the parent is gone already."""
    name, parent, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.Signals[f"SIG{name}"]), 0, 0, 0)
        if os.getppid() != int(parent):  # it went between its fork and our asking
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
