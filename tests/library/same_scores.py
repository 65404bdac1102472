"""Holds what an example printed, and the scores that it wrote, against a folder of eelsvae-detect.

    same_scores.py FOUND SCORES PRINTED     SCORES: float32 (y, x), or - for none
"""
import json
import sys

import numpy

folder, scores, printed = sys.argv[1:]
summary = json.load(open(f"{folder}/summary.json"))
lines = open(printed).read().splitlines()
expected = [f"{summary['anomalous_pixels']} of {summary['pixels']} spectra do not fit (score above {summary['threshold']:.9g})"]
if scores != "-":
    regions = open(f"{folder}/regions.csv", newline="").read().split("\r\n")[1:-1]
    texts = {e["region"]: e["text"] for e in summary["explanations"]}
    for number, region in enumerate(regions[:3], 1):
        fields = region.split(",")
        expected.append(f"{fields[1]} pixels around ({fields[5]}, {fields[6]}): {texts.get(number, '')}")
expected += [f"Not to be trusted: {reason}" for reason in summary["reasons"]]
if lines != expected:
    sys.exit("\n".join([f"{folder}: an example says", *lines, "and eelsvae-detect found", *expected]))
if scores != "-":
    theirs = numpy.load(f"{folder}/scores.npy")
    ours = numpy.fromfile(scores, "<f4").reshape(theirs.shape)
    if theirs.tobytes() != ours.tobytes():
        sys.exit(f"{folder}: scores differ by up to {numpy.nanmax(abs(theirs - ours))}")
