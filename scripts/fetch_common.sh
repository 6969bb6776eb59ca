# What fetch_models.sh and fetch_data.sh share; they set root, sums and work.

fail() { echo "$(basename "$0" .sh): $*" >&2; exit 1; }

is_right() { (cd "$1" && sha256sum --check --status <<< "$sums") 2> /dev/null; }

# A Python with pip: that of .venv, the system's, or one in $work for this run.
find_python() {
  local python
  for python in "$root/.venv/bin/python" python3; do
    if "$python" -m pip --version > /dev/null 2>&1; then echo "$python"; return; fi
  done
  python3 -m venv "$work/venv" > /dev/null || fail "needs Python 3 with pip or venv (apt-get install python3-venv)"
  echo "$work/venv/bin/python"
}
