#!/usr/bin/env bash
# Looks for what the build needs from the system: a C++ compiler, the headers of libjpeg-turbo, libpng, libwebp and xxHash,
# and a Python with headers and venv. Where something is missing: installs it (Debian and Ubuntu, as root or with sudo), or names the packages and stops.
#
#   scripts/system_packages.sh [PYTHON]
set -euo pipefail
python=${1:-python3}

debian=() fedora=() brew=() missing=()
need() {  # need WHAT DEBIAN FEDORA MACOS
  missing+=("$1") debian+=($2) fedora+=($3) brew+=("$4")
}

look() {
  debian=() fedora=() brew=() missing=()
  if ! command -v c++ >/dev/null; then
    need "a C++17 compiler" g++ gcc-c++ "xcode-select --install"
  fi
  if ! has_jpeg; then
    # Debian's libjpeg-dev is libjpeg-turbo, under one name on Debian and Ubuntu.
    need "libjpeg-turbo's headers" libjpeg-dev libjpeg-turbo-devel "brew install jpeg-turbo"
  fi
  if ! has_header libpng16/png.h; then
    need "libpng's headers" libpng-dev libpng-devel "brew install libpng"
  fi
  if ! has_header webp/demux.h; then
    need "libwebp's headers" libwebp-dev libwebp-devel "brew install webp"
  fi
  if ! has_header xxhash.h; then
    need "xxHash's header" libxxhash-dev xxhash-devel "brew install xxhash"
  fi
  if ! command -v "$python" >/dev/null; then
    need "$python" "python3 python3-dev python3-venv" "python3 python3-devel" "brew install python"
    return
  fi
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    need "Python's venv" "$(debian_python venv)" python3 "brew install python"
  fi
  if ! "$python" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'; then
    need "Python's headers" "$(debian_python dev)" python3-devel "brew install python"
  fi
}

debian_python() {  # the package for this very Python: python3.12-venv, python3.12-dev
  echo "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-$1"
}

has_jpeg() {
  command -v c++ >/dev/null || { [[ -e /usr/include/jpeglib.h ]]; return; }
  local include=()
  for prefix in /opt/homebrew/opt/jpeg-turbo /usr/local/opt/jpeg-turbo; do
    if [[ -d $prefix/include ]]; then include+=("-I$prefix/include"); fi
  done
  printf '%s\n' '#include <cstddef>' '#include <cstdio>' '#include <jpeglib.h>' '#ifndef LIBJPEG_TURBO_VERSION' '#error' '#endif' |
    c++ ${include[@]+"${include[@]}"} -E -x c++ - >/dev/null 2>&1
}

has_header() {  # has_header NAME, where the compiler or Homebrew has it
  if ! command -v c++ >/dev/null; then [[ -e /usr/include/$1 ]]; return; fi
  local include=()
  for prefix in /opt/homebrew /usr/local; do
    if [[ -d $prefix/include ]]; then include+=("-I$prefix/include"); fi
  done
  printf '#include <%s>\n' "$1" | c++ ${include[@]+"${include[@]}"} -E -x c++ - >/dev/null 2>&1
}

name_them() {
  {
    echo "setup: expected these from the system, found none: $(IFS=,; echo "${missing[*]}" | sed 's/,/, /g')."
    echo "Install them, then run this again:"
    echo "  Debian, Ubuntu:  apt-get install ${debian[*]}"
    echo "  Fedora:          dnf install ${fedora[*]}"
    echo "  macOS:           $(printf '%s\n' "${brew[@]}" | sort -u | paste -s -d ';' - | sed 's/;/; /g')"
  } >&2
  exit 1
}

look
if [[ ${#missing[@]} -eq 0 ]]; then exit 0; fi

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  # Without a terminal sudo must not ask; with one it may.
  if ! command -v sudo >/dev/null; then name_them; fi
  if [[ -t 0 ]]; then as_root=(sudo); else as_root=(sudo -n); fi
fi
command -v apt-get >/dev/null || name_them
echo "setup: installing ${debian[*]}"
export DEBIAN_FRONTEND=noninteractive
install() { ${as_root[@]+"${as_root[@]}"} apt-get install -y -q --no-install-recommends "${debian[@]}" >/dev/null; }
# The package lists of a fresh machine are empty or old, so a first failure is followed by an update.
install 2>/dev/null || { ${as_root[@]+"${as_root[@]}"} apt-get update -q >/dev/null && install; } || name_them
look
if [[ ${#missing[@]} -ne 0 ]]; then name_them; fi
