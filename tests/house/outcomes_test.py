#!/usr/bin/env python3
"""Tests outcomes.py: failures are printed; a skip that the list does not have is found and named, whatever it looks like."""
import pathlib
import subprocess
import sys
import tempfile

script = pathlib.Path(__file__).with_name("outcomes.py")
passed = '<testcase name="A.Passes" status="run"><system-out>[  PASSED  ] 1 test.</system-out></testcase>'


def skipped(name, reason):
    return (f'<testcase name="{name}" status="notrun"><skipped message="SKIP_REGULAR_EXPRESSION_MATCHED"/><system-out>'
            f"[ RUN      ] {name}\n/a/b_test.cpp:48: Skipped\n{reason}\n[  SKIPPED ] {name} (0 ms)\n</system-out></testcase>")


def run(*cases, allowed="# a comment\n\nno GPU: device 'cuda' .*\nroot: permissions do not bind root\n"):
    with tempfile.TemporaryDirectory() as folder:
        listed, junit = pathlib.Path(folder, "allowed.txt"), pathlib.Path(folder, "junit.xml")
        listed.write_text(allowed)
        junit.write_text('<?xml version="1.0"?><testsuite>' + "".join(cases) + "</testsuite>")
        result = subprocess.run([sys.executable, script, listed, junit], capture_output=True, text=True)
        return result.returncode, result.stdout


def expect(condition, what):
    if not condition:
        sys.exit(f"outcomes_test.py: wrong: {what}")


status, text = run(passed, skipped("A.B/cuda", "device 'cuda' is not there"), skipped("A.C/cuda", "device 'cuda' is old"))
expect(status == 0 and "2 of 3 tests skipped" in text and "2  no GPU" in text, text)
expect("root" not in text, "a reason that never came up is printed")
status, text = run(skipped("A.B/cuda", "device 'cuda' is not there"), skipped("A.D", "there is no\nPython"))
expect(status == 1 and "A.D: there is no Python" in text and "1  no GPU" in text, text)
status, text = run(skipped("A.D", "but permissions do not bind root"))
expect(status == 1, "half a message matched")
status, text = run('<testcase name="house.E" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/></testcase>')
expect(status == 1 and "house.E" in text, "a skip without a reason passed")
status, text = run('<testcase name="A.DISABLED_F" status="disabled"/>')
expect(status == 1 and "A.DISABLED_F" in text, "a disabled test passed")
status, text = run(passed, '<testcase name="A.G" status="fail" time="3.2"><failure message=""/><system-out>a_test.cpp:7: Failure\nValue of: b'
                   "</system-out></testcase>")
expect(status == 0 and "failed: A.G (3 s)" in text and "Value of: b" in text, "a failed test is not printed: " + text)
expect(run()[0] == 1, "a run without tests passed")
with tempfile.NamedTemporaryFile() as listed:
    result = subprocess.run([sys.executable, script, listed.name, listed.name + "-not"], capture_output=True, text=True)
    expect(result.returncode == 1 and result.stderr.count("\n") == 1, "a missing file is not said in one line")
