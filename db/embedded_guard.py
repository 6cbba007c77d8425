"""Ties a server's life to its parent's; run as a script by `db.embedded_process`, never imported.

`exec PARENT SIGNAL UID GID PROGRAM…`
    Linux: drops rights, asks the kernel to send SIGNAL when the parent dies, then becomes PROGRAM.
    UID -1 keeps the rights.
`watch PID SIGNAL PARENT_FD LIFE_FD`
    anywhere: waits on two pipes and sends SIGNAL to PID when the parent's end of PARENT_FD closes; leaves
    when LIFE_FD closes, which means that PID has gone.

It uses the standard library only, so that it starts in hundredths of a second with `python -I -S`.
"""

import ctypes
import os
import select
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def drop_rights(uid: int, gid: int) -> None:
    """Become `uid`:`gid` with no other group, for good."""
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def die_with_parent(parent: int, death_signal: int) -> None:
    """Ask for `death_signal` at the parent's death; leave at once if it is already dead.

    Comes after dropping rights, since a change of user clears the request (prctl(2)).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        sys.exit("the parent process has gone")


def become(parent: int, death_signal: int, uid: int, gid: int, program: list[str]) -> None:
    """Replace this process by `program`, which then dies with `parent`."""
    if uid >= 0:
        drop_rights(uid, gid)
    os.umask(0o077)
    die_with_parent(parent, death_signal)
    os.execv(program[0], program)  # noqa: S606 - no shell is wanted


def watch(pid: int, death_signal: int, parent_fd: int, life_fd: int) -> None:
    """Wait until the server has gone (do nothing) or the parent has (signal the server)."""
    readable, _, _ = select.select([parent_fd, life_fd], [], [])
    if life_fd not in readable:
        os.kill(pid, death_signal)


if __name__ == "__main__":
    mode, numbers = sys.argv[1], [int(number) for number in sys.argv[2:6]]
    if mode == "exec":
        become(numbers[0], numbers[1], numbers[2], numbers[3], sys.argv[6:])
    else:
        watch(numbers[0], numbers[1], numbers[2], numbers[3])
