"""What CMake says of a CUDA toolkit and a cuDNN that are too old: gpu_libraries_test.py SOURCES NVCC [Old.test_...]

The toolkit is a program that tells the version of an old nvcc. The cuDNN is a header of an old version; CMake comes to
look for it only with a real nvcc.
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SOURCES = pathlib.Path(sys.argv.pop(1))
NVCC = sys.argv.pop(1)

OLD_NVCC = """#!/bin/sh
echo "nvcc: NVIDIA (R) Cuda compiler driver"
echo "Cuda compilation tools, release 12.6, V12.6.85"
"""
OLD_CUDNN = """#define CUDNN_MAJOR 9
#define CUDNN_MINOR 7
#define CUDNN_PATCHLEVEL 1
"""


class Old(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def line_about_cuda(self, *settings):
        done = subprocess.run(["cmake", "-S", SOURCES, "-B", self.folder / "build", "-DEELSVAE_KERNELS_ONLY=ON",
                               "-DEELSVAE_TESTS=OFF", *settings], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)  # the rest is built without the GPU
        lines = [line for line in done.stdout.splitlines() if "CUDA backend" in line]
        self.assertEqual(len(lines), 1, done.stdout)
        return lines[0]

    def test_cuda(self):
        nvcc = self.folder / "nvcc"
        nvcc.write_text(OLD_NVCC)
        nvcc.chmod(0o755)
        self.assertEqual(self.line_about_cuda(f"-DEELSVAE_NVCC={nvcc}"),
                         f"-- CUDA backend: not built (CUDA 12.6.85 of {nvcc} is older than 12.8, the first for compute "
                         "capability 10.0; -DEELSVAE_NVCC=... names a newer nvcc)")

    def test_cudnn(self):
        include, library = self.folder / "include", self.folder / "lib" / "libcudnn.so.9"
        for file, text in ((include / "cudnn_backend.h", ""), (include / "cudnn_version.h", OLD_CUDNN), (library, "")):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        self.assertEqual(self.line_about_cuda(f"-DEELSVAE_NVCC={NVCC}", f"-DcuDNN_ROOT={self.folder}"),
                         f"-- CUDA backend: not built (cuDNN 9.7.1 in {include} is older than 9.8, the first that plans for a "
                         "GPU from its description; -DcuDNN_ROOT=... names the folder of a newer one)")


if __name__ == "__main__":
    unittest.main()
