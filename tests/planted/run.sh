#!/usr/bin/env bash
# Proves that the swarm bites: applies each patch of this folder, a deliberate bug, to a copy of the
# tree, and counts the seeds that the swarm needs to find it. Prints the table of docs/results.md.
# A bug with `tls` in its name is looked for with TLS among the connections, and, if the swarm does
# not find it (no handler of it calls `start_tls`), by the tests of TLS; one with `workers` in its
# name likewise by theirs.
#
#   bash tests/planted/run.sh [PATTERN]      only the patches whose name has PATTERN in it
#   SEEDS=1000 bash tests/planted/run.sh     seeds at most; default 100000
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seeds=${SEEDS:-100000}
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# Only the figures count, not the speed: without link-time optimisation a build takes seconds.
export CARGO_TARGET_DIR=${PLANTED_TARGET_DIR:-${CARGO_TARGET_DIR:-target}/planted}
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
export CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_INCREMENTAL=1

git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do
        # One that was deleted and is not committed yet is still on the list.
        [[ ! -e $file ]] || cp --parents "$file" "$copy"
    done

build() {
    (cd "$copy" && nice cargo build --quiet --release --features "$features" --example swarm)
}

# Prints the name of a test that fails.
test_tls() {
    (cd "$copy" &&
        nice cargo test --quiet --features sim,tls --test tls -- sessions:: handshakes:: 2>&1 || :) |
        sed -n "s/^thread '[a-z0-9_:]*::\\([a-z0-9_]*\\)'.* panicked at .*/\\1/p" | head -n 1
}

test_workers() {
    local tests=(--test sim --test promises)
    (cd "$copy" &&
        timeout 300 nice cargo test --quiet --features sim "${tests[@]}" workers 2>&1 || :) |
        sed -n "s/^thread '[a-z0-9_:]*::\\([a-z0-9_]*\\)'.* panicked at tests.*/\\1/p" | head -n 1
}

swarm() {
    timeout 1800 nice "$CARGO_TARGET_DIR/release/examples/swarm" \
        --seeds "$seeds" --no-shrink 2>/dev/null
}

failed=0
echo "| bug | seeds | what the swarm says |"
echo "|---|---|---|"
for patch in tests/planted/*"${1:-}"*.patch; do
    bug=$(head -n 1 "$patch")
    case $patch in *tls*) features=sim,tls ;; *) features=sim ;; esac
    if ! (cd "$copy" && git apply -) <"$patch" 2>/dev/null; then
        echo "| $bug | - | THE PATCH NO LONGER APPLIES: $patch |"
        failed=1
        continue
    fi
    if ! build 2>"$copy/build.log"; then
        echo "| $bug | - | THE PATCH NO LONGER BUILDS: $patch |"
        tail -n 20 "$copy/build.log" >&2
        failed=1
        (cd "$copy" && git apply --reverse -) <"$patch"
        continue
    fi
    said=$(swarm) && found=0 || found=$?
    if [[ $found == 1 && $said =~ seed\ ([0-9]+):\ (.*) ]]; then
        echo "| $bug | $((BASH_REMATCH[1] + 1)) | ${BASH_REMATCH[2]%%$'\n'*} |"
    elif [[ $patch == *tls* ]] && named=$(test_tls) && [[ -n $named ]]; then
        echo "| $bug | - | found by the test \`$named\` |"
    elif [[ $patch == *workers* ]] && named=$(test_workers) && [[ -n $named ]]; then
        echo "| $bug | - | found by the test \`$named\` |"
    else
        echo "| $bug | - | NOT FOUND in $seeds seeds (exit status $found): $patch |"
        failed=1
    fi
    (cd "$copy" && git apply --reverse -) <"$patch"
done
exit "$failed"
