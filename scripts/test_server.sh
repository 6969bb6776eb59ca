#!/usr/bin/env bash
# Builds compress-serve under AddressSanitizer and UBSan, without LibTorch, and holds it to what clients do: a minute of abuse
# (tests/serve/abuse.py), the clients of Text Embeddings Inference and OpenAI (tests/serve/clients.py), and schemathesis against the
# OpenAPI page. Exits with 77 where the packages for the last two can't be had.
# usage: scripts/test_server.sh [SECONDS]      (of abuse, and of schemathesis; 60)
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
build=build/server
server=$build/bin/compress-serve
export ASAN_OPTIONS=quarantine_size_mb=16:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
scripts/build.sh server
python3 tests/serve/abuse.py "$server" tests/goldens "$seconds"

python=$build/clients/bin/python
packages=(huggingface_hub==2.4.0 numpy==2.4.6 openai==3.57.0 schemathesis==4.32.5)
[ -x "$python" ] || python3 -m venv "$build/clients"
if ! "$python" -m pip install -q "${packages[@]}" 2> "$build/pip.log"; then
  echo "test_server: clients and schemathesis left out: no packages from here" >&2
  exit 77
fi
"$python" tests/serve/clients.py "$server" tests/goldens
"$python" tests/serve/openapi_test.py "$server" tests/goldens "$seconds"
