#!/bin/sh
# Print the first Python that tools/preflight.py accepts; sentences for people go to standard error.
# Usage: find_python.sh [COMMAND...]    default: python3 python3.13 python3.12 python3.11
[ $# -gt 0 ] || set -- python3 python3.13 python3.12 python3.11
here=$(dirname "$0")
first=""
for python in "$@"; do
    # Standard error is dropped: a version manager's stand-in for a Python that is not there writes a page to it.
    if why=$("$python" "$here/preflight.py" 2>/dev/null); then
        # ${first%%:*}: what is wrong, without the advice behind the colon, which is not needed any more.
        [ -z "$first" ] || echo "preflight: ${first%%:*}. Going on with $python." >&2
        echo "$python"
        exit 0
    fi
    first=${first:-${why:-$python was not found or does not start}}
done
case $first in
    *"was not found"*) first="$first: install Python 3.11, 3.12 or 3.13 with its venv module (on Debian or Ubuntu the packages python3 and python3-venv)" ;;
esac
echo "preflight: $first." >&2
exit 1
