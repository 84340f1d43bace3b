"""A simulated disk: calls to the file system in, and out what a power cut may leave of them.

What POSIX promises, and no more: the content of a file survives from the last fsync of the file on, and a
name from the last fsync of its folder on. Everything later may be there, or not, or in part, in any order.
Only a single rename, exchange, making or removing is whole.
"""

import os
import random
from pathlib import Path


class File:
    """A file: what its process sees, and what is flushed."""

    def __init__(self, data=b""):
        self.data, self.flushed = data, data


class Folder:
    """A folder: the names that its process sees, those that are flushed, and the changes since then."""

    def __init__(self):
        self.names, self.flushed, self.pending = {}, {}, []

    def change(self, number, name, node):
        """Let `name` lead to `node` (None: it is removed), as part of the call with this number."""
        if node is None:
            self.names.pop(name, None)
        else:
            self.names[name] = node
        self.pending.append((number, name, node))


class Disk:
    """The tree below one folder."""

    def __init__(self, root, start):
        """root: the folder's path in the calls; start: a real folder with its content, which is flushed."""
        self.root, self.number = os.path.realpath(root), 0
        self.top = _read(Path(start))

    def apply(self, call, *arguments):
        """One call, as `shim.Shim` records it."""
        self.number += 1
        act = getattr(self, f"_{call}", None)
        if act is not None:
            act(*arguments)

    def find(self, path):
        """The node of a path, or None."""
        node = self.top
        for part in self._parts(path):
            node = node.names.get(part) if isinstance(node, Folder) else None
        return node

    def relative(self, path):
        """A path as `seen` and `after_power_cut` name it."""
        return os.path.relpath(path, self.root)

    def _parts(self, path):
        return [] if path == self.root else self.relative(path).split(os.sep)

    def _place(self, path):
        """(folder, name) of a path."""
        *_, name = self._parts(path)
        return self.find(os.path.dirname(path)), name

    def _create(self, path):
        folder, name = self._place(path)
        folder.change(self.number, name, File())

    def _mkdir(self, path):
        folder, name = self._place(path)
        folder.change(self.number, name, Folder())

    def _truncate(self, path, size):
        node = self.find(path)
        node.data = node.data[:size].ljust(size, b"\0")

    def _write(self, path, offset, data):
        node = self.find(path)
        if node is not None:  # else it was removed while it was open
            node.data = node.data[:offset].ljust(offset, b"\0") + data + node.data[offset + len(data) :]

    def _unlink(self, path):
        folder, name = self._place(path)
        folder.change(self.number, name, None)

    _rmdir = _unlink

    def _rename(self, source, target):
        (folder, name), (other, new) = self._place(source), self._place(target)
        node = folder.names[name]
        folder.change(self.number, name, None)
        other.change(self.number, new, node)

    def _exchange(self, a, b):
        (folder, name), (other, new) = self._place(a), self._place(b)
        first, second = folder.names[name], other.names[new]
        folder.change(self.number, name, second)
        other.change(self.number, new, first)

    def _fsync(self, path):
        node = self.find(path)
        if isinstance(node, File):
            node.flushed = node.data
        elif node is not None:
            node.flushed, node.pending = dict(node.names), []

    def seen(self):
        """{path from the root: content} as a living process sees it; the content of a folder is None."""
        return dict(_walk(self.top, "", lambda folder: folder.names, lambda file: file.data))

    def after_power_cut(self, how, seed=0):
        """{path from the root: content} as a power cut may leave it.

        how: "nothing" of what is not flushed is there; "names" only, their files empty; "zeros": likewise,
        but the files have their length; "everything" but the last bytes; "any" part of it, chosen by `seed`.
        """
        choose = random.Random(seed)
        survived = {}

        def made(number):
            if how == "nothing":
                return False
            return how != "any" or survived.setdefault(number, choose.random() < 0.5)

        def names(folder):
            found = dict(folder.flushed)
            for number, name, node in folder.pending:
                if made(number):
                    found[name] = node
            return {name: node for name, node in found.items() if node is not None}

        def data(file):
            if file.data == file.flushed or how == "nothing":
                return file.flushed
            common = len(file.flushed) if file.data.startswith(file.flushed) else 0
            end = len(file.data)
            kind = choose.choice(("cut", "zeros", "old", "new")) if how == "any" else how
            if kind == "names" or kind == "old":
                return file.flushed
            if kind == "zeros":
                return file.data[:common].ljust(end, b"\0")
            if kind == "cut":
                return file.data[: choose.randint(common, end)]
            return file.data[: max(common, end - 1)] if how == "everything" else file.data

        return dict(_walk(self.top, "", names, data))


def _read(path):
    """A real folder or file as a node, flushed."""
    if not path.is_dir():
        return File(path.read_bytes())
    folder = Folder()
    folder.names = {child.name: _read(child) for child in path.iterdir()}
    folder.flushed = dict(folder.names)
    return folder


def _walk(node, path, names, data):
    if isinstance(node, File):
        yield path, data(node)
        return
    if path:
        yield path, None
    for name, child in names(node).items():
        yield from _walk(child, f"{path}/{name}" if path else name, names, data)


def write(tree, folder):
    """Make a tree {path: content} real, below an empty folder."""
    for path, content in tree.items():
        place = Path(folder) / path
        if content is None:
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(content)
