"""Power cuts at every call: what was announced as saved must be there, whole, and the command must go on."""

import contextlib
import os
import shutil
from pathlib import Path

from . import disk
from .shim import product_modules

HOW = ("nothing", "names", "zeros", "everything", "any")


def announce(shim):
    """Record what the writing room announces as saved: the files that are there when a write returns."""
    from minielectra.formats import files

    def contents(path):
        path = Path(path)
        found = [path] if path.is_file() else [child for child in path.rglob("*") if child.is_file()]
        return {os.path.abspath(child): child.read_bytes() for child in found}

    def announcing(original):
        @contextlib.contextmanager
        def wrapped(path, *arguments, **options):
            with original(path, *arguments, **options) as temporary:
                yield temporary
            shim.note("promise", contents(path))

        return wrapped

    def appending(path, text):
        append(path, text)
        shim.note("promise", contents(path))

    append = files.append_text
    wrapped = {name: announcing(getattr(files, name)) for name in ("replacing", "replacing_folder")}
    wrapped["append_text"] = appending
    originals = {name: getattr(files, name) for name in wrapped}
    for module in product_modules():
        for name, original in originals.items():
            if getattr(module, name, None) is original:
                setattr(module, name, wrapped[name])


class PowerCuts:
    """The record of one scenario, replayed up to each call."""

    def __init__(self, bench, scenario):
        self.bench, self.scenario = bench, scenario
        self.record = bench.records[scenario.name]
        self.calls = sum(call[0] != "promise" for call in self.record)

    def check(self, seeds=2):
        """Cut the power after every call, in every way -> (number of power cuts, what is wrong, or "")."""
        count = 0
        for number, simulated, promised in self._replay():
            seen = simulated.seen()
            for how in HOW:
                for seed in range(seeds if how == "any" else 1):
                    count += 1
                    left = simulated.after_power_cut(how, seed * 1000 + number)
                    if fault := _broken(promised, seen, left):
                        return count, f"power cut after call {number} ({how}): {fault}"
        return count, ""

    def go_on_after(self, number, how):
        """Cut the power after a call, make what is left real, and go on with the command -> what is wrong."""
        for reached, simulated, _ in self._replay():
            if reached == number:
                self.bench.begin(self.scenario)
                shutil.rmtree(self.bench.work)
                self.bench.work.mkdir()
                disk.write(simulated.after_power_cut(how, number), self.bench.work)
                fault = self.bench.go_on(self.scenario)
                return fault and f"power cut after call {number} ({how}): {fault}"
        raise ValueError(number)

    def _replay(self):
        """Yields (calls so far, Disk, {path: content} that was promised) after each call."""
        simulated = disk.Disk(self.bench.work, self.bench.start_of(self.scenario))
        promised, number = {}, 0
        yield number, simulated, promised
        for name, *arguments in self.record:
            if name == "promise":
                named = {simulated.relative(path): data for path, data in arguments[0].items()}
                promised |= {path: data for path, data in named.items() if ".partial/" not in path}
            else:
                number += 1
                simulated.apply(name, *arguments)
            yield number, simulated, promised


def _broken(promised, seen, left):
    """What is not as promised, or "".

    A file that is being replaced or removed may be old or new. One that grows has at least what was promised.
    """
    for path, content in promised.items():
        found, now = left.get(path), seen.get(path)
        grows = (now or b"").startswith(content) and (found or b"").startswith(content)
        if not (found in (content, now) or grows):
            kind = "lost" if found is None else f"damaged ({len(found)} of {len(content)} bytes)"
            return f"{path} was announced as saved, and is {kind}"
    return ""
