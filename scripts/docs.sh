#!/bin/sh
# Builds the documentation as a site, in build/site, by an environment of its own, build/docs/tools. A broken link is an error.
set -eu
cd "$(dirname "$0")/.."
list=docs/site/requirements.txt
tools=build/docs/tools
if ! cmp -s $list $tools/installed.txt; then
  rm -rf $tools
  mkdir -p build/docs
  /usr/bin/python3 -m venv $tools
  # A complete list: nothing but what stands there is installed.
  $tools/bin/python -m pip install --quiet --no-deps --no-compile --requirement $list
  cp $list $tools/installed.txt
fi
$tools/bin/python docs/site/stage.py . build/docs/pages
$tools/bin/python -m mkdocs build --strict --clean --config-file docs/site/mkdocs.yml
echo "build/site/index.html"
