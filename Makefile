# Everything a newcomer needs. Each target, or its script, only calls CMake presets and
# the programs they build.
.PHONY: demo test test-long build programs packages install package wheel docs clean

PREFIX ?= /usr/local

# The demo runs on the CPU everywhere; compiling the GPU's code would take most of its time.
demo: packages
	cmake --preset cpu
	cmake --build --preset cpu
	scripts/demo.sh build/cpu demo

test:
	scripts/test.sh

# What continuous integration has no time or no quiet machine for: ratios of times, all tests under sanitizers, fuzzing.
test-long:
	scripts/test-long.sh

programs: packages
	cmake --preset release
	cmake --build --preset release --target programs

build: packages
	cmake --preset release
	cmake --build --preset release

packages:
	scripts/install-packages.sh

# Without the tests, which bring a device of their own into the library.
install: packages
	cmake --preset install -DCMAKE_INSTALL_PREFIX=$(PREFIX)
	cmake --build --preset install
	cmake --install build/install --prefix $(PREFIX)

# The same as a Debian package, without the GPU, in build/package: `apt install ./build/package/eelsvae_*.deb`.
package: packages
	cmake --preset package
	cmake --build --preset package
	cd build/package && cpack

# The Python package, without the GPU, in build/wheel/wheels; `pip install .` does without the environment of the tests.
wheel:
	scripts/install-packages.sh --python
	scripts/install-writers.sh
	cmake --preset wheel
	cmake --build --preset wheel
	scripts/wheel.sh build/wheel

# The documentation as a site, with the Python package's functions and the C header, in build/site.
docs:
	scripts/install-packages.sh --docs
	scripts/docs.sh

clean:
	rm -rf build demo
