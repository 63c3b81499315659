#!/bin/sh
# Every number of the contract that code, tests or documents cite must have an entry in docs/protocol.md, every metric a
# place in docs/operations.md, and every source file one in the tour of docs/architecture.md. Every promise of
# docs/threat-model.md must name tests that exist: `FILE: NAME`, where NAME stands in tests/unit/FILE.c or
# tests/e2e/FILE.test.js, or `fuzz_X`. An entry is the number in bold, at the start of a table row, or inside a range such
# as C-42..C-44 that begins one.
# The other way round, every E- and F- entry must be cited by a test, by its own number (a range tells nothing), or stand
# in tests/citations.untested with the reason why no test can state it.
cd "$(dirname "$0")/.." || exit 1
bad=0
curves='^P-(256|384|521)$' # of NIST, not of the contract
cited=$(git grep -hoIE '\b[PCFESROKDV]-[0-9]{2,4}\b' -- c_src include erl_src rel README.md CONTRIBUTING.md CHANGELOG.md docs tests \
    ':!docs/protocol.md' ':!tests/data/fuzz' | sort -u | grep -vE "$curves")
entries=$(grep -oE '(^\||\*\*)[^|]*' docs/protocol.md | grep -oE '\b[PCFESROKDV]-[0-9]{2,4}(\.\.[PCFESROKDV]?-?[0-9]{2,4})?' |
    awk -F'\\.\\.' '{ split($1, a, "-"); print $1
        if (NF > 1) { last = $2; sub(/^[A-Z]-/, "", last); w = length(a[2])
            for (i = a[2] + 1; i <= last + 0; i++) printf "%s-%0*d\n", a[1], w, i } }' | sort -u)
for n in $cited; do
    printf '%s\n' "$entries" | grep -qx "$n" && continue
    echo "$n is cited but not in docs/protocol.md: $(git grep -lI -w -e "$n" -- c_src include erl_src rel docs tests | head -3 | tr '\n' ' ')"
    bad=1
done
for m in $(sed -n 's/^ *X([A-Z_]*, "\([a-z_]*\)".*/\1/p' include/metrics.h); do
    grep -q "$m" docs/operations.md && continue
    echo "the metric $m is not in docs/operations.md"
    bad=1
done
# The tour in docs/architecture.md names each source file, or a pattern such as rpc_*.c that it fits.
set -f
tour=$(grep -oE '[a-z0-9_*]+\.c\b' docs/architecture.md | sort -u)
for f in $(git ls-files 'c_src/*.c'); do
    named=
    # shellcheck disable=SC2254 # a pattern is what it is
    for p in $tour; do case ${f##*/} in $p) named=1 && break ;; esac; done
    [ "$named" ] || { echo "$f is not in the tour of docs/architecture.md"; bad=1; }
done
set +f
promises=$(mktemp)
trap 'rm -f "$promises"' EXIT
sed -n '/^| promise | test |$/,/^$/p' docs/threat-model.md | grep -v '^| promise\|^| ---\|^$' >"$promises"
[ -s "$promises" ] || { echo "docs/threat-model.md promises nothing"; bad=1; }
while IFS= read -r row; do
    tests=$(printf '%s\n' "$row" | sed 's/^| [^|]* | \(.*\) |$/\1/' | grep -o '`[^`]*`' | tr -d '`')
    [ -n "$tests" ] || { echo "no test for the promise: $row"; bad=1; }
    while IFS= read -r t; do
        file=${t%%: *} name=${t#*: }
        case $file in
        fuzz_*) [ -f "tests/fuzz/$file.c" ] && continue ;;
        test_*) grep -qsF "void $name(" "tests/unit/$file.c" && continue ;;
        *) grep -qsF -- "$name" "tests/e2e/$file.test.js" && continue ;;
        esac
        echo "the test of a promise does not exist: $t"
        bad=1
    done <<EOT
$tests
EOT
done <"$promises"
tested=$(git grep -hoIE '\b[EF][-_][0-9]{3,4}\b' -- tests erl_src ':!tests/citations.*' ':!tests/data' | tr _ - | sort -u)
untested=$(grep -oE '^[EF]-[0-9]{3,4} .' tests/citations.untested | cut -d' ' -f1 | sort)
for n in $(grep -oE '\*\*[EF]-[0-9]{3,4}\*\*' docs/protocol.md | tr -d '*' | sort -u); do
    has_test=$(printf '%s\n' "$tested" | grep -cx "$n")
    has_reason=$(printf '%s\n' "$untested" | grep -cx "$n")
    [ "$((has_test + has_reason))" -eq 1 ] && continue
    bad=1
    [ "$has_test" -eq 0 ] && echo "$n: no test cites it, and tests/citations.untested gives no reason"
    [ "$has_reason" -ne 0 ] && echo "$n: stands in tests/citations.untested, more than once or although a test cites it"
done
for n in $untested; do
    grep -qF "**$n**" docs/protocol.md && continue
    echo "$n stands in tests/citations.untested but not in docs/protocol.md"
    bad=1
done
exit $bad
