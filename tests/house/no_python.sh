#!/bin/sh
# Stands for the tests of the Python package where that is not built, and says why.
# Usage: no_python.sh SOURCE_FOLDER
if [ -e "$1/build/writers/no-index" ]; then echo "no package index"; else echo "EELSVAE_PYTHON is off"; fi
exit 77
