#!/usr/bin/env bash
# The main job on a fresh machine: installs what is missing, builds, brings a real model and real texts, runs
# recipes/quickstart.yaml. Arguments go to `compress run`.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
scripts/build.sh release compress_command
scripts/fetch_models.sh
scripts/fetch_data.sh
build/release/bin/compress run recipes/quickstart.yaml "$@"
