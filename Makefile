# Everything a newcomer needs. Each target, or its script, only calls CMake presets and
# the programs they build.
.PHONY: demo test test-long build programs packages install clean

PREFIX ?= /usr/local

demo: programs
	scripts/demo.sh build/release demo

test:
	scripts/test.sh

# What continuous integration has no time for: all tests under sanitizers and without optimisation, and fuzzing.
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

install: build
	cmake --install build/release --prefix $(PREFIX)

clean:
	rm -rf build demo
