"""Two checkpoints hold the same model: weights to the last bit, and all that a detection takes from the metadata.

    same_model.py FIRST SECOND
"""
import json
import struct
import sys


def read(path):
    content = open(path, "rb").read()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + length])
    metadata = header.pop("__metadata__")
    begin = 8 + length
    tensors = {name: (entry["dtype"], entry["shape"], content[begin + entry["data_offsets"][0]:begin + entry["data_offsets"][1]])
               for name, entry in header.items()}
    return tensors, {key: json.loads(text) for key, text in metadata.items() if key != "format"}


(tensors, said), (other_tensors, other_said) = read(sys.argv[1]), read(sys.argv[2])
if tensors != other_tensors:
    sys.exit("the weights differ")
for metadata in (said, other_said):
    del metadata["provenance"]  # the files that it was made of
    metadata["config"].pop("data")
    for record in metadata["history"]:
        del record["seconds"]
for key in said.keys() | other_said.keys():
    if said.get(key) != other_said.get(key):
        sys.exit(f"{key} differs: {said.get(key)} and {other_said.get(key)}")
