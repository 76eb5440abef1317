# shellcheck shell=bash
# Sourced by the scripts beside it: where the caches are, and how long work says what it waits for.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# As scripts/fetch-kafka: as root the servers run as another user, who cannot read root's home.
if [ -n "${HAFNIUM_CACHE:-}" ]; then
    CACHE=$HAFNIUM_CACHE
elif [ "$(id -u)" = 0 ]; then
    CACHE=/var/cache/hafnium
else
    CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/hafnium
fi
TOOLS=$CACHE/tools
# Debian keeps dockerd, iptables and debootstrap where a normal user's PATH does not look.
PATH=$PATH:/usr/sbin:/sbin

note() { printf '%s\n' "hafnium: $*" >&2; }

fail() {
    note "$*"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# as_root CMD…: directly for root, through sudo for anyone else.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        fail "this needs root and there is no sudo; run as root: $*"
    fi
}

# step WHAT CMD…: runs CMD quietly, says every 15 s what is being waited for, shows the end of
# the output if it fails. For commands without progress of their own.
step() {
    local what=$1 log started status=0 beat
    shift
    log=$(mktemp "${TMPDIR:-/tmp}/hafnium-step.XXXXXX")
    started=$SECONDS
    note "$what …"
    (
        # Bash starts it with Ctrl-C ignored: it ends with us by looking whether we are there.
        seconds=0
        while sleep 1 && kill -0 $$ 2>/dev/null; do
            seconds=$((seconds + 1))
            [ $((seconds % 15)) != 0 ] || note "  still waiting: $what ($seconds s)"
        done
    ) &
    beat=$!
    "$@" >"$log" 2>&1 </dev/null || status=$?
    kill "$beat" 2>/dev/null || true
    wait "$beat" 2>/dev/null || true
    if [ "$status" = 0 ]; then
        note "$what: done in $((SECONDS - started)) s"
        rm -f "$log"
    else
        tail -n 40 "$log" >&2
        note "$what: failed with status $status after $((SECONDS - started)) s; all of it in $log"
    fi
    return "$status"
}
