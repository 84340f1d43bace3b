"""Damage for the fuzzer: functions from the bytes of a sound file and a random generator to other bytes."""

import bz2
import gzip
import io
import json
import lzma
import struct
import zipfile

import numpy as np

LONG = 100_000
# What a JSON value may become: as text, because some of it no JSON library would write.
HOSTILE_JSON = [
    *("null", "true", "false", "0", "-1", "1", "7", "0.5", "-0.0", "1e-320", "1e308", "1e400", "NaN"),
    *("Infinity", "-Infinity", "1000000000", "2147483648", "9223372036854775807", "9223372036854775808"),
    *("-9223372036854775809", "9" * 5000, "1" + "0" * 400, "1" * 25 + ".0"),
    *('""', '"a"', '"7"', '"NaN"', '"\\u0000"', '"\\ud800"', '"x\\udfffy"', '"\\u001b[31mred"', '"\\n\\r"'),
    *('"\\u2028"', '"\\u202egnp"', '"../../x"', '"/etc/passwd"', '"é"', '"' + "x" * LONG + '"'),
    *("[]", "{}", "[[]]", '{"a": 1}', "[null]", "[1, 2]", '["a", "a"]', "[" * 900 + "]" * 900),
    *("[" * LONG + "]" * LONG, '{"a":' * 3000 + "1" + "}" * 3000, "[" + "0," * LONG + "0]", "["),
]
HOSTILE_TEXT = [
    *(b"", b"\0", b"\t", b"\r", b"\x1b[31m", b"\x85", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b'"'),
    *(b"\xe2\x80\xa8", b"\xe2\x80\xae", b"\xf0\x9f\x98\x80", b"{", b"[", b"#", b"-DOCSTART-", b"NaN"),
    *(b"9" * 5000, b"x" * LONG, b"\t" * 1000, b"\n" * 1000, b"e\xcc\x81" * 3000, b"1e999", b"-1", b"_"),
]
COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def damaged_bytes(raw, random):
    """Flip, delete, insert, repeat, move or zero some bytes, or cut the end."""
    raw = bytearray(raw)
    for _ in range(random.choice((1, 1, 2, 8))):
        if not raw:
            break
        start = random.randrange(len(raw))
        stop = min(len(raw), start + random.choice((1, 1, 2, 4, 16, 100)))
        kind = random.randrange(8)
        if kind <= 1:
            raw[start] ^= 1 << random.randrange(8)
        elif kind == 2:
            raw[start:stop] = random.randbytes(stop - start)
        elif kind == 3:
            del raw[start:stop]
        elif kind == 4:
            raw[start:start] = random.choice(HOSTILE_TEXT)
        elif kind == 5:
            raw[start:start] = raw[start:stop] * random.choice((1, 2, 50))
        elif kind == 6:
            raw[start:stop] = bytes(stop - start)
        else:
            del raw[start:]
    return bytes(raw)


def damaged_json(raw, random):
    """Change, remove or repeat some values of a JSON file, or of one of its lines; or damage its bytes."""
    if random.random() < 0.15:
        return damaged_bytes(raw, random)
    lines = raw.decode().rstrip("\n").split("\n")
    try:
        values = [json.loads(raw)]
    except ValueError:  # JSON lines
        number = random.randrange(len(lines))
        lines[number] = _damaged_value(json.loads(lines[number]), random)
        return "\n".join(lines).encode("utf-8", "surrogatepass")
    return _damaged_value(values[0], random).encode("utf-8", "surrogatepass")


def _damaged_value(value, random):
    """A JSON value with damage -> text."""
    marks = []
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        places = list(_places(value))
        if not places:
            return random.choice(HOSTILE_JSON)
        holder, key = random.choice(places)
        kind = random.randrange(10)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, holder[random.randrange(len(holder))])
        elif kind == 1:
            holder[random.choice(list(holder)) + random.choice(("", "_", "\ud800", "\x1b", "\n"))] = holder[
                key
            ]
        elif kind == 2:
            other, other_key = random.choice(places)
            holder[key] = json.loads(json.dumps(other[other_key])) if other_key in _keys(other) else None
        else:
            marks.append(random.choice(HOSTILE_JSON))
            holder[key] = f"\N{SNOWMAN}{len(marks) - 1}"
    text = json.dumps(value)
    for number, token in enumerate(marks):
        text = text.replace(json.dumps(f"\N{SNOWMAN}{number}"), token)
    return text


def _places(value):
    """(holder, key) of every value inside a JSON value."""
    for key in _keys(value):
        yield value, key
        yield from _places(value[key])


def _keys(value):
    return list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()


def damaged_lines(raw, random):
    """Change, remove, repeat, join or swap lines and their fields; or damage the bytes."""
    if random.random() < 0.3:
        return damaged_bytes(raw, random)
    lines = raw.split(b"\n")
    for _ in range(random.choice((1, 1, 2, 4))):
        a, b = random.randrange(len(lines)), random.randrange(len(lines))
        fields = lines[a].split(b"\t")
        f = random.randrange(len(fields))
        kind = random.randrange(9)
        if kind == 0:
            lines[a] = random.choice(HOSTILE_TEXT)
        elif kind == 1:
            lines[a] = lines[a] + random.choice(HOSTILE_TEXT)
        elif kind == 2:
            lines[a], lines[b] = lines[b], lines[a]
        elif kind == 3:
            lines.insert(a, lines[b])
        elif kind == 4:
            lines[a] = b"\t".join([*fields[:f], random.choice(HOSTILE_TEXT), *fields[f + 1 :]])
        elif kind == 5:
            lines[a] = b"\t".join([*fields[:f], *fields[f + 1 :]])
        elif kind == 6:
            lines[a] = lines[a] + b"\t" + lines[b]
        elif kind == 7:
            lines[a] = json.dumps({"text": lines[b].decode("latin-1"), "label": 1}).encode()
        else:
            lines[a] = random.choice(HOSTILE_JSON).encode()
    return b"\n".join(lines)


def damaged_text(raw, random):
    """Damaged lines, perhaps compressed; then what is compressed may be damaged too, or be a bomb."""
    raw = damaged_lines(raw, random)
    kind = random.randrange(8)
    if kind > 2:
        return raw
    compress = random.choice(list(COMPRESS.values()))
    if kind == 0 and random.random() < 0.02:
        return compress(random.choice((bytes(1 << 26), b"x" * (1 << 26), b"a " * (1 << 25))))
    packed = compress(raw)
    return damaged_bytes(packed, random) if kind == 1 else packed


# Binary formats.


def damaged_npy(raw, random):
    """Forge the header of a .npy file, its values, or its bytes."""
    kind = random.randrange(4)
    if kind == 0:
        return damaged_bytes(raw, random)
    values = np.load(io.BytesIO(raw), allow_pickle=False)
    if kind == 1:
        return _npy(_other_values(values, random))
    header = {
        "descr": np.lib.format.dtype_to_descr(values.dtype),
        "fortran_order": False,
        "shape": values.shape,
    }
    for _ in range(random.choice((1, 2))):
        header[random.choice(list(header))] = random.choice(HOSTILE_HEADER)
    return _npy_bytes(repr(header), values.tobytes())


HOSTILE_HEADER = [
    *(
        "|O",
        "<f8",
        "<f2",
        "<i8",
        "|b1",
        "|u1",
        ">i4",
        "|V7",
        "<U9",
        "<M8[s]",
        "|S0",
        "<c16",
        "x",
        "",
        None,
        True,
    ),
    *([("a", "<i4")], (), (0,), (1,), (-1,), (3, 3), (10**6, 10**6), (10**10,), (10**30,), (2**62, 4), 3),
    *((1.5,), ("a",), [5], {}, -1, 2**63, (1,) * 65, (2**31, 2**31, 2**31)),
]


def _npy_bytes(header, data):
    text = header.encode("latin-1") + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", min(len(text), 65535)) + text + data


def _npy(values):
    file = io.BytesIO()
    np.lib.format.write_array(file, values, allow_pickle=True)
    return file.getvalue()


def _other_values(values, random):
    """An array with other values, another shape or another type."""
    kind = random.randrange(9)
    if kind == 0:
        values = values.astype(random.choice(("f8", "i1", "u8", "?", "f2", "O", "c8", "S3", "U2")))
    elif kind == 1:
        values = values[: len(values) // 2] if values.ndim else values
    elif kind == 2:
        values = values.reshape(-1)
    elif kind == 3:
        values = values[None]
    elif kind == 4:
        values = np.zeros(random.choice(((0,), (1, 0), (0,) * values.ndim, (3,) * values.ndim)), values.dtype)
    elif kind == 5:
        values = np.concatenate([np.atleast_1d(values)] * 2)
    elif values.size:
        values = np.ascontiguousarray(values).copy()
        flat = values.reshape(-1)
        number = random.choice((0, -1, 1, 5, 119, 120, 1 << 14, 2**31 - 1, -(2**31), 2**63 - 1))
        if values.dtype.kind == "f":
            number = random.choice((0.0, -1.0, 2.0, np.nan, np.inf, -np.inf, 6e4))
        count = random.choice((1, 1, 5, len(flat)))
        for i in random.sample(range(len(flat)), min(count, len(flat))):
            with np.errstate(all="ignore"):
                flat[i] = np.array(number).astype(values.dtype)
    return values


def damaged_npz(raw, random):
    """Damage one array of an .npz file, its list of files, or its bytes."""
    if random.random() < 0.25:
        return damaged_bytes(raw, random)
    with zipfile.ZipFile(io.BytesIO(raw)) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    name = random.choice(list(members))
    kind = random.randrange(10)
    if kind == 0:
        del members[name]
    elif kind == 1:
        members[random.choice(("a.npy", "../../x.npy", "\x1b.npy", "steps", "/etc/x.npy"))] = members[name]
    elif kind == 2:
        members[name] = members[random.choice(list(members))]
    elif kind == 3 and random.random() < 0.1:  # a bomb
        zeros = bytes(random.choice((1 << 24, 1 << 28)))
        members[name] = _npy_bytes(
            str({"descr": "|u1", "fortran_order": False, "shape": (len(zeros),)}), zeros
        )
    else:
        members[name] = damaged_npy(members[name], random)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return file.getvalue()


def damaged_safetensors(raw, random):
    """Damage the header of a safetensors file as JSON, its numbers, or its bytes."""
    length = struct.unpack("<Q", raw[:8])[0]
    header, numbers = raw[8 : 8 + length], raw[8 + length :]
    kind = random.randrange(4)
    if kind == 0:
        return damaged_bytes(raw, random)
    if kind == 1:
        numbers = damaged_bytes(numbers, random) if random.random() < 0.5 else numbers.replace(b"\0", b"\xff")
    else:
        header = damaged_json(header.rstrip(), random)
    return struct.pack("<Q", len(header)) + header + numbers
