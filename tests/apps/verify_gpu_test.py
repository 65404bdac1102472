"""Rehearses scripts/verify-gpu.sh with programs that are built: verify_gpu_test.py SOURCES BUILD

A call is ended in the middle of a step, another goes on after it, and a third repeats that step.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SOURCES, BUILD = pathlib.Path(sys.argv.pop(1)), pathlib.Path(sys.argv.pop(1))
# Enough for a machine that does much else.
PATIENCE = {"EELSVAE_VERIFY_SECONDS": "1200"}
STEPS = ["environment", "kernel-tests", "engine-tests", "program-tests", "same-bits", "bench-bf16", "bench-fp32",
         "bench-tf32", "memcheck", "racecheck", "initcheck", "bench-bf16-batch64", "compare-pytorch"]
ALL_DONE, FAILED, NOTHING_RUNS, MORE = range(4)


def kill_session(leader):
    """As a machine that is taken away: the script first, and at once all that it started."""
    for process in [leader, *(int(entry) for entry in os.listdir("/proc") if entry.isdigit())]:
        try:
            if os.getsid(process) == leader:
                os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            pass  # ended meanwhile


class Rehearsal(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = pathlib.Path(folder.name, "out")
        self.carried = pathlib.Path(folder.name, "carried")
        (self.carried / "bin").mkdir(parents=True)
        for program in [*BUILD.glob("eelsvae-*"), *BUILD.glob("tests/*_test")]:
            (self.carried / "bin" / program.name).symlink_to(program)
        for part in ("scripts", "benchmarks", "configs", "tests"):
            (self.carried / part).symlink_to(SOURCES / part)

    def start(self, *arguments, **environment):
        command = [self.carried / "scripts" / "verify-gpu.sh", self.out, "--carried", self.carried, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                                env=dict(os.environ, **environment))

    def call(self, *arguments, **environment):
        """Status and output of a call."""
        process = self.start(*arguments, **environment)
        said, _ = process.communicate()
        return process.returncode, said

    def summary(self):
        """{step: [state, seconds, reason...]}"""
        lines = (self.out / "summary.txt").read_text().replace("not yet", "not-yet").splitlines()
        return {line.split()[0]: line.split()[1:] for line in lines[1:]}

    def states(self):
        return {step: line[0] for step, line in self.summary().items()}

    def measured(self, folder):
        return json.loads((self.out / folder / "bench.json").read_text())

    def test_goes_on_after_a_killed_step(self):
        # What does not fit into the time is left to the next call.
        status, said = self.call("--rehearse", EELSVAE_VERIFY_SECONDS="1")
        self.assertEqual(status, MORE, said)
        self.assertEqual(self.states(), {step: "done" if step == "environment" else "not-yet" for step in STEPS})

        process = self.start("--rehearse", **PATIENCE)
        begun = self.out / "bench-bf16.part" / "bench.json"
        while not (begun.exists() and json.loads(begun.read_text())["measurements"]):
            self.assertIsNone(process.poll(), "the call came to its end too early")
            time.sleep(0.01)
        kill_session(process.pid)
        process.communicate()
        self.assertEqual(process.returncode, -signal.SIGKILL)
        self.assertFalse((self.out / "bench-bf16").exists())
        before = STEPS[:STEPS.index("bench-bf16")]
        self.assertEqual([self.states()[step] for step in before], ["done"] * len(before))
        times = {step: (self.out / step / "result").stat().st_mtime_ns for step in before}

        for _ in range(3):  # on a slow machine the last two steps are left to a call each
            status, said = self.call("--rehearse", **PATIENCE)
            if status != MORE:
                break
        self.assertEqual(status, FAILED, said)
        states = self.states()
        self.assertEqual(list(states), STEPS)
        self.assertEqual(states.pop("bench-bf16"), "killed")
        torch = states.pop("compare-pytorch")
        self.assertEqual(set(states.values()), {"done"}, states)
        self.assertEqual({step: (self.out / step / "result").stat().st_mtime_ns for step in before}, times)  # not again
        left = self.measured("bench-bf16.killed")
        self.assertFalse(left["complete"])
        self.assertGreater(left["measurements"][0]["step_seconds"]["median"], 0)
        for step in ("bench-fp32", "bench-tf32", "bench-bf16-batch64"):
            self.assertTrue(self.measured(step)["complete"])
            self.assertIn("ceilings: ", (self.out / step / "bench.txt").read_text())
        self.assertEqual(self.measured("bench-bf16-batch64")["device"], "emulated:0")
        for step in ("kernel-tests", "engine-tests", "program-tests", "memcheck", "racecheck", "initcheck"):
            self.assertGreater(json.loads((self.out / step / "tests.json").read_text())["tests"], 0)
        if torch == "done":
            self.assertTrue(json.loads((self.out / "compare-pytorch" / "pytorch.json").read_text())["rows"])
        else:  # there need not be a PyTorch
            self.assertIn("no PyTorch", " ".join(self.summary()["compare-pytorch"]))
        self.assertEqual(list(self.out.glob("*.part")), [])
        # Choices are kept there; with a single set of kernels there is none, for the emulated device measures nothing.
        if "avx512dq" in pathlib.Path("/proc/cpuinfo").read_text() and os.environ.get("EELSVAE_MAX_ISA") != "avx2":
            self.assertTrue((self.out / "cache" / "eelsvae" / "plans.json").exists())

        status, said = self.call("--rehearse", "--step", "bench-bf16", **PATIENCE)
        self.assertEqual(status, ALL_DONE if torch == "done" else FAILED, said)
        self.assertEqual(self.states()["bench-bf16"], "done")
        self.assertTrue(self.measured("bench-bf16")["complete"])
        self.assertFalse((self.out / "bench-bf16.killed").exists())

    def test_says_what_is_wrong(self):
        for arguments, line in ((["--step", "tea"], "no step tea; there are environment "), (["--fast"], "there is no --fast; see --help")):
            status, said = self.call(*arguments)
            self.assertEqual(status, NOTHING_RUNS)
            self.assertEqual(said.count("\n"), 1, said)
            self.assertIn(line, said)
        (self.carried / "bin" / "engine_test").unlink()
        status, said = self.call("--rehearse", "--step", "bench-bf16")
        self.assertEqual(status, NOTHING_RUNS)
        self.assertIn("engine_test is missing", said)
        self.assertEqual(self.states()["bench-bf16"], "not-yet")  # it is not the step's fault


if __name__ == "__main__":
    unittest.main()
