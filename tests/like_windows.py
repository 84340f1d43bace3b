"""Windows as far as Linux can play it, for a process that imports this file first.

No fork, no memfd, no fcntl, no SIGHUP; msvcrt's locks; folders cannot be opened; only files that are open for
writing can be flushed; what is open or mapped can be neither removed nor renamed, nor a folder that holds it;
renaming replaces nothing; text files must say how they end their lines and which encoding they have.
"""

import builtins
import errno
import fcntl
import io
import os
import shutil
import signal
import stat
import subprocess  # before msvcrt appears, which would make it look for the rest of Windows
import sys
import types
import warnings

__all__ = ["subprocess"]
PACKAGE = "minielectra"


def denied(path):
    return PermissionError(errno.EACCES, "Permission denied", str(path))


def in_use(path):
    """Whether this process has `path`, or something in it, open or mapped."""
    path = os.path.realpath(path)
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    with real_open("/proc/self/maps", encoding="utf-8") as maps:
        found += [line.rstrip("\n").split(maxsplit=5)[-1] for line in maps]
    return any(name == path or name.startswith(path + os.sep) for name in found)


def guarded(function, exclusive=False):
    def call(path, *arguments, **options):
        if in_use(path):
            raise denied(path)
        if arguments and os.path.lexists(arguments[0]):
            if exclusive:
                raise FileExistsError(errno.EEXIST, "File exists", str(arguments[0]))
            if in_use(arguments[0]):
                raise denied(arguments[0])
        return function(path, *arguments, **options)

    return call


def no_folders(function):
    def call(path, flags, *arguments, **options):
        if os.path.isdir(path):
            raise denied(path)
        return function(path, flags, *arguments, **options)

    return call


def only_for_writing(function):
    def call(descriptor):
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        assert not stat.S_ISDIR(os.fstat(number).st_mode)
        return function(descriptor)

    return call


def open_text(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *rest):
    """open, for which the package has to say what Windows would choose otherwise."""
    caller = sys._getframe(1)
    while caller.f_code.co_filename.endswith("pathlib.py") or "/pathlib/" in caller.f_code.co_filename:
        caller = caller.f_back
    if PACKAGE + os.sep in caller.f_code.co_filename and "b" not in mode:
        assert encoding, f"{caller.f_code.co_filename}:{caller.f_lineno}: no encoding"
        if set(mode) & set("wax+"):
            assert newline is not None, f"{caller.f_code.co_filename}:{caller.f_lineno}: no newline"
    return real_open(file, mode, buffering, encoding, errors, newline, *rest)


def locking(descriptor, mode, count):
    """msvcrt's lock of `count` bytes from the present position."""
    flags = fcntl.LOCK_EX | fcntl.LOCK_NB if mode == msvcrt.LK_NBLCK else fcntl.LOCK_UN
    try:
        fcntl.lockf(descriptor, flags, count, os.lseek(descriptor, 0, os.SEEK_CUR))
    except OSError:
        raise denied("") from None


real_open = io.open
msvcrt = types.SimpleNamespace(LK_NBLCK=2, LK_UNLCK=0, locking=locking)
sys.modules["msvcrt"] = msvcrt
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for module, names in (
    (os, ("fork", "memfd_create", "sched_getaffinity", "O_NOFOLLOW", "O_DIRECTORY", "mkfifo", "getuid")),
    (signal, ("SIGHUP", "SIGKILL", "SIGPIPE")),
):
    for name in names:
        delattr(module, name)
os.fsync = only_for_writing(os.fsync)
os.open = no_folders(os.open)
os.unlink = os.remove = guarded(os.unlink)
os.rmdir, os.replace, os.rename = guarded(os.rmdir), guarded(os.replace), guarded(os.rename, exclusive=True)
shutil._use_fd_functions = False
io.open = builtins.open = open_text
warnings.filterwarnings("error", category=EncodingWarning, module=PACKAGE)
