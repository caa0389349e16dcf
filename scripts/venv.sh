# Shell functions that demo.sh and test.sh share: find a Python, make a virtual environment, install this checkout in it.
# POSIX sh; to be sourced from the root of the checkout.

fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}

# Sets python to an interpreter of version 3.11 or newer, one that can make virtual environments if there is one.
find_python() {
    python='' old=''
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python3.14 python; do
        # A name on PATH need not run (version managers leave shims), so each is tried.
        code=0
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || code=$?
        case $code in
        0)
            if has_venv "$candidate"; then
                python=$candidate
                return
            fi
            : "${python:=$candidate}"
            ;;
        1) old="$old $candidate" ;;
        esac
    done
    if [ -z "$python" ]; then
        fail "Python 3.11 or newer is needed, and none was found on PATH${old:+ (too old:$old)}" \
            "Debian 12, Ubuntu 24.04 and newer: apt-get install python3 python3-venv" \
            "elsewhere: install one from https://www.python.org/downloads/ or name it: PYTHON=/path/to/python3 $0"
    fi
}

has_venv() {
    "$1" -c 'import venv, ensurepip' >/dev/null 2>&1
}

# Debian and Ubuntu ship Python without what makes virtual environments; it is a package of its own.
install_venv_module() {
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    package="python$version-venv"
    where=$("$python" -c 'import sys; print(sys.base_prefix)')
    if [ "$where" != /usr ] || ! command -v apt-get >/dev/null 2>&1; then
        fail "$(command -v "$python") cannot make virtual environments: its modules venv or ensurepip are missing" \
            "install them, or name another Python 3.11+: PYTHON=/path/to/python3 $0"
    fi
    if [ "$(id -u)" = 0 ]; then
        as_root=''
    elif command -v sudo >/dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
        as_root=sudo
    else
        fail "the package $package is needed, and this user may not install it" \
            "ask an administrator to run: apt-get install $package"
    fi
    say "Installing $package ..."
    log=$(mktemp)
    # The lists of packages may be missing (as in a container) or out of date: refresh them when the first try fails.
    if ! install_package >"$log" 2>&1 && ! { $as_root apt-get update && install_package; } >>"$log" 2>&1; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        fail "apt-get could not install $package" "see above; then run: apt-get install $package"
    fi
    rm -f "$log"
    has_venv "$python" || fail "$package is installed, yet $python still cannot make virtual environments"
}

install_package() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$package"
}

say() {
    printf '%s\n' "$1"
}

# install_into FOLDER EXTRAS WHAT: this checkout, editable, with its extras ("" or "[dev]"), in a virtual environment.
# Does nothing when that was done before with this Python and these requirements.
# RESTORE_SDK_LOCK=requirements/dev.lock takes the very files of that lock, by SHA-256; what it leaves out comes as usual.
install_into() {
    folder=$1 extras=$2 what=$3
    stamp="$folder/.restore-sdk-installed"
    if "$folder/bin/python" -c 'import pip' >/dev/null 2>&1; then
        wanted=$(fingerprint)
        [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
    else
        if [ -e "$folder" ] && [ ! -f "$folder/pyvenv.cfg" ]; then
            fail "$folder exists and is no virtual environment" "move it away, then run this again"
        fi
        find_python
        has_venv "$python" || install_venv_module
        say "Making a virtual environment in $folder with $("$python" --version) ..."
        "$python" -m venv --clear "$folder" || fail "cannot make a virtual environment in $folder" "see above"
        printf '*\n' >"$folder/.gitignore"
        wanted=$(fingerprint)
    fi
    rm -f "$stamp"
    say "Installing $what into $folder ..."
    if [ -n "${RESTORE_SDK_LOCK:-}" ]; then
        "$folder/bin/python" -m pip --disable-pip-version-check --quiet install --require-hashes --no-deps \
            --requirement "$RESTORE_SDK_LOCK" ||
            fail "the packages of $RESTORE_SDK_LOCK cannot be installed" "see above; python scripts/lock.py writes it again"
    fi
    "$folder/bin/python" -m pip --disable-pip-version-check --quiet install ${RESTORE_SDK_LOCK:+--no-build-isolation} \
        --editable ".$extras" ||
        fail "the installation failed" "see above; when the network is back, run this again: it goes on where it stopped"
    printf '%s\n' "$wanted" >"$stamp"
}

# What an installation depends on: this folder, the interpreter and the requirements.
fingerprint() {
    printf '%s %s %s' "$(pwd -P)" "$("$folder/bin/python" --version)" "$(cat pyproject.toml ${RESTORE_SDK_LOCK:+"$RESTORE_SDK_LOCK"} | cksum)"
}
