"""A shim over the file system: it counts this process's calls below a folder, and strikes at one of them.

What counts is every call that changes something: making, writing, flushing, renaming, removing. Python's own
functions are replaced, and the two of the product that leave Python: safetensors' writer, and the exchange of
two folders.
"""

import builtins
import errno
import io
import os
import signal
import sys

SPACE = {"open", "write", "mkdir", "fsync", "symlink", "link"}  # calls that a full disk refuses


PIECE = 1 << 13  # bytes that safetensors' writer writes at a time here


class Shim:
    """Replaces the functions of this process, for good: it is meant for a process of its own."""

    def __init__(self, root, action=None, at=0, record=None):
        """root: the folder; action: None, "kill", "full", or a signal's number; at: the number of the call,
        from 1; record: a list to which every call is added, for `disk.Disk`.
        """
        self.root, self.action, self.at, self.record = os.path.realpath(root), action, at, record
        self.count, self.last = 0, ""
        self._open, self._os = io.open, {}
        builtins.open = io.open = self._opened
        for name, paths in PATHS.items():
            self._os[name] = getattr(os, name)
            setattr(os, name, self._wrapped(name, paths))
        for name in ("open", "write", "fsync", "ftruncate"):
            self._os[name] = getattr(os, name)
            setattr(os, name, getattr(self, f"_os_{name}"))
        self._replace_in_product()

    def point(self, name, half=None):
        """A call is about to be made. half: does half of it, as a kill in the middle of a write would."""
        self.count, self.last = self.count + 1, name
        if self.action == "full":
            if self.count >= self.at and name in SPACE:
                if half is not None:
                    half()
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif self.action == "kill" and self.count == self.at:
            if half is not None:
                half()
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.action is not None and self.count == self.at:
            os.kill(os.getpid(), self.action)

    def note(self, *call):
        """Record a call that was made."""
        if self.record is not None:
            self.record.append(call)

    def inside(self, path, directory=None):
        """The absolute path if it lies below the root, else ""."""
        if isinstance(path, int):
            path = self._path_of(path)
        elif directory is not None:
            path = os.path.join(self._path_of(directory), os.fsdecode(path))
        folder, name = os.path.split(os.path.abspath(os.fsdecode(path)))
        path = os.path.join(os.path.realpath(folder), name)
        return path if path.startswith(self.root + os.sep) or path == self.root else ""

    @staticmethod
    def _path_of(descriptor):
        try:
            return os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            return "/"

    def _wrapped(self, name, count):
        """A function of `os` that takes `count` paths."""

        def call(*arguments, **options):
            keys = ("src_dir_fd", "dst_dir_fd") if count == 2 else ("dir_fd", "")
            paths = [
                self.inside(path, options.get(key))
                for path, key in zip(arguments[:count], keys, strict=False)
            ]
            if not all(paths):
                return self._os[name](*arguments, **options)
            self.point(name)
            result = self._os[name](*arguments, **options)
            self.note({"replace": "rename", "remove": "unlink"}.get(name, name), *paths)
            return result

        return call

    def _os_open(self, path, flags, *arguments, **options):
        inside = self.inside(path, options.get("dir_fd"))
        writes = flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR | os.O_TRUNC)
        if not (inside and writes):
            return self._os["open"](path, flags, *arguments, **options)
        new = not os.path.lexists(inside)
        self.point("open")
        descriptor = self._os["open"](path, flags, *arguments, **options)
        if new:
            self.note("create", inside)
        elif flags & os.O_TRUNC:
            self.note("truncate", inside, 0)
        return descriptor

    def _os_write(self, descriptor, data):
        path = self.inside(descriptor)
        if not path:
            return self._os["write"](descriptor, data)
        self.point("write", lambda: self._os["write"](descriptor, data[: len(data) // 2]))
        offset = os.lseek(descriptor, 0, os.SEEK_CUR)
        count = self._os["write"](descriptor, data)
        self.note("write", path, offset, bytes(data[:count]))
        return count

    def _os_fsync(self, descriptor):
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        path = self.inside(number)
        if path:
            self.point("fsync")
        self._os["fsync"](number)
        if path:
            self.note("fsync", path)

    def _os_ftruncate(self, descriptor, size):
        path = self.inside(descriptor)
        if path:
            self.point("ftruncate")
        self._os["ftruncate"](descriptor, size)
        if path:
            self.note("truncate", path, size)

    def _opened(
        self,
        file,
        mode="r",
        buffering=-1,
        encoding=None,
        errors=None,
        newline=None,
        closefd=True,
        opener=None,
    ):
        """`open`, whose files for writing count each write that would reach the system."""
        if not set(mode) & set("wax+") or not self.inside(file):
            return self._open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        raw = _RawFile(self, file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        buffer = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw, 8192)
        if "b" in mode:
            return buffer
        text = io.TextIOWrapper(buffer, encoding, errors, newline)
        text.mode = mode
        return text

    def _replace_in_product(self):
        from safetensors.numpy import save

        from minielectra.formats import files

        def save_file(arrays, path, metadata=None):
            data = save(arrays, metadata)
            with open(path, "wb", buffering=0) as file:
                for start in range(0, len(data), PIECE):
                    file.write(data[start : start + PIECE])

        exchange = files._exchange

        def exchanging(a, b):
            self.point("exchange")
            done = exchange(a, b)
            if done:
                self.note("exchange", str(a), str(b))
            return done

        files._exchange = exchanging
        for module in product_modules():
            if hasattr(module, "save_file"):
                module.save_file = save_file


PATHS = {
    "mkdir": 1,
    "rmdir": 1,
    "unlink": 1,
    "remove": 1,
    "rename": 2,
    "replace": 2,
    "chmod": 1,
    "symlink": 1,
    "link": 2,
}


class _RawFile(io.FileIO):
    """A file that tells the shim about its opening and its writes."""

    def __init__(self, shim, file, mode, closefd, opener):
        self.shim = shim
        path = shim.inside(file)
        if not isinstance(file, int):
            new = not os.path.lexists(path)
            shim.point("open")
        super().__init__(file, mode, closefd, opener)
        if not isinstance(file, int):
            if new:
                shim.note("create", path)
            elif "w" in mode:
                shim.note("truncate", path, 0)

    def write(self, data):
        data = bytes(data)
        self.shim.point("write", lambda: io.FileIO.write(self, data[: len(data) // 2]))
        path = self.shim.inside(self.fileno())
        offset = os.fstat(self.fileno()).st_size if "a" in self.mode else self.tell()
        count = super().write(data)
        self.shim.note("write", path, offset, data[:count])
        return count

    def truncate(self, size=None):
        size = self.tell() if size is None else size
        self.shim.point("ftruncate")
        super().truncate(size)
        self.shim.note("truncate", self.shim.inside(self.fileno()), size)
        return size


def product_modules():
    """The modules of the product that are imported."""
    return [module for name, module in list(sys.modules.items()) if name.startswith("minielectra")]
