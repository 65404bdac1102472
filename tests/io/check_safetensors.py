"""Reads a safetensors file independently of the engine and prints it as JSON (BF16 as bit patterns).

    /usr/bin/python3 tests/io/check_safetensors.py FILE.safetensors

Exit status 77 if NumPy is not installed. Where the safetensors package is there, it must read the file, too.
"""
import json
import sys

try:
    import numpy as np
except ImportError:
    sys.exit(77)

TYPES = {"F32": "<f4", "F64": "<f8", "BF16": "<u2", "I64": "<i8"}

with open(sys.argv[1], "rb") as file:
    content = file.read()
length = int.from_bytes(content[:8], "little")
assert length % 8 == 0, length
header = json.loads(content[8:8 + length])
metadata = header.pop("__metadata__", {})
tensors = {}
for name, entry in header.items():
    begin, end = entry["data_offsets"]
    values = np.frombuffer(content[8 + length + begin:8 + length + end], TYPES[entry["dtype"]])
    tensors[name] = {"dtype": entry["dtype"], "shape": entry["shape"],
                     "values": values.reshape(entry["shape"]).ravel().tolist()}

try:
    import safetensors
except ImportError:
    safetensors = None
if safetensors:
    parsed = {name: entry for name, entry in safetensors.deserialize(content)}
    assert parsed.keys() == tensors.keys(), parsed.keys()
    for name, entry in parsed.items():
        assert entry["dtype"] == tensors[name]["dtype"] and list(entry["shape"]) == tensors[name]["shape"], name
        values = np.frombuffer(bytes(entry["data"]), TYPES[entry["dtype"]])
        assert values.tolist() == tensors[name]["values"], name
    with safetensors.safe_open(sys.argv[1], "np") as opened:
        assert opened.metadata() == (metadata or None), opened.metadata()
print(json.dumps({"metadata": metadata, "tensors": tensors, "package": bool(safetensors)}))
