# What scripts/demo, scripts/test and scripts/make_mini share: a virtual environment with visil in it. Sourced, not run.

# The active environment, else .venv in the checkout, made with Python 3.11 where there is one: the pinned CPU build of
# torch is offered for it.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

find_python() {
    for name in python3.11 python3 python; do
        if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "visil needs Python 3.11 to 3.13; install python3.11 and run this again" >&2
    return 1
}

# set_up [EXTRAS]: one pip command, with the pinned torch; skipped while nothing it depends on has changed.
set_up() {
    if [ -n "${VIRTUAL_ENV:-}" ]; then
        python="$VIRTUAL_ENV/bin/python"
    else
        python="$root/.venv/bin/python"
        if [ ! -x "$python" ]; then
            local base
            base=$(find_python)
            "$base" -m venv "$root/.venv"
        fi
    fi
    local stamp="$("$python" -c 'import sys; print(sys.prefix)')/visil-${1:-plain}.stamp"
    local wanted="$root $(cat pyproject.toml scripts/constraints.txt | cksum)"
    if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
        "$python" -m pip install --quiet --disable-pip-version-check -c scripts/constraints.txt -e ".${1:+[$1]}"
        echo "$wanted" > "$stamp"
    fi
}
