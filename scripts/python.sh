# Sourced by the other scripts (POSIX sh): finds a Python that will do, makes virtual environments, installs into them.
# A virtual environment is made without pip and filled by the pip outside it (`pip --python`): that is quicker, and
# works where Python comes without ensurepip, as on Debian without python3-venv.

OLDEST_PYTHON="3, 11"
OLDEST_PIP="22, 3"  # the first with --python

# Each argument becomes a line.
say() { printf '%s\n' "$@" >&2; }

fail() {
    say "$@"
    exit 1
}

is_new_enough() { "$1" -c "import sys; sys.exit(sys.version_info < ($OLDEST_PYTHON))" 2>/dev/null; }

has_pip() {
    "$1" -c "
import sys, pip
numbers = pip.__version__.split('.')[:2]
sys.exit(tuple(map(int, numbers)) < ($OLDEST_PIP))" 2>/dev/null
}

has_ensurepip() { "$1" -c "import ensurepip; ensurepip.version()" 2>/dev/null; }

# Sets PYTHON_FOUND to the first Python >= 3.11 that can install packages, or fails with what to do about it.
# The variable PYTHON names the only one to try.
find_python() {
    without_pip=
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
        PYTHON_FOUND=$(command -v "$candidate") || continue
        is_new_enough "$PYTHON_FOUND" || continue
        if has_pip "$PYTHON_FOUND" || has_ensurepip "$PYTHON_FOUND"; then return; fi
        without_pip=$PYTHON_FOUND
    done
    if [ -n "$without_pip" ]; then
        fail "$without_pip has neither pip 22.3 or newer nor ensurepip." \
            "Mend: apt-get install python3-pip (Debian, Ubuntu), or '$without_pip -m pip install --upgrade pip'."
    fi
    fail "Waystation needs Python 3.11 or newer; found: $("${PYTHON:-python3}" --version 2>/dev/null || echo none)." \
        "Mend: apt-get install python3 python3-pip (Debian, Ubuntu) or brew install python (macOS)," \
        "or name one: make PYTHON=/path/to/python3.12 setup"
}

# make_venv FOLDER: an empty virtual environment of PYTHON_FOUND; an older one in its place is cleared.
make_venv() {
    if has_pip "$PYTHON_FOUND"; then
        "$PYTHON_FOUND" -m venv --clear --without-pip "$1"
    else
        "$PYTHON_FOUND" -m venv --clear "$1"
    fi
}

# Whether FOLDER is a virtual environment that can be filled as it is.
can_be_filled() {
    is_new_enough "$1/bin/python" && { has_pip "$PYTHON_FOUND" || "$1/bin/python" -c "import pip" 2>/dev/null; }
}

# pip_into FOLDER ARGUMENTS…: run pip on that virtual environment, whatever the user's own pip settings say of places.
pip_into() {
    folder=$1
    shift
    if has_pip "$PYTHON_FOUND"; then
        set -- "$PYTHON_FOUND" -m pip --python "$folder/bin/python" "$@"
    else
        set -- "$folder/bin/python" -m pip "$@"
    fi
    env -u PYTHONPATH -u PYTHONHOME -u PIP_TARGET -u PIP_PREFIX -u PIP_REQUIRE_VIRTUALENV PIP_USER=0 \
        PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore "$@"
}
