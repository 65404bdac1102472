# Everything a newcomer needs. Each target only calls CMake presets and the programs they build.
.PHONY: demo test build programs packages test-packages install clean

PREFIX ?= /usr/local

# The demo runs on the CPU everywhere; compiling the GPU's code would take most of its time.
demo: packages
	cmake --preset cpu
	cmake --build --preset cpu
	scripts/demo.sh build/cpu demo

# Continuous integration compiles GPU code for one architecture only; nothing runs it there.
test: test-packages
	cmake --preset release $(if $(CI),-DEELSVAE_CUDA_ARCHITECTURES=90a-real)
	cmake --build --preset release
	ctest --preset release

programs: packages
	cmake --preset release
	cmake --build --preset release --target programs

build: packages
	cmake --preset release
	cmake --build --preset release

packages:
	scripts/install-packages.sh

test-packages:
	scripts/install-packages.sh --tests

install: build
	cmake --install build/release --prefix $(PREFIX)

clean:
	rm -rf build demo
