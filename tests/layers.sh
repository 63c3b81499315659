#!/bin/sh
# Checks the house's walls: a C file, or the header of a module, includes only headers of its own or
# lower layers. Usage: tests/layers.sh base codec gateway cluster edge server (lowest first)
cd "$(dirname "$0")/.." || exit 1
layers="$*"
rank() { n=0; for l in $layers; do n=$((n + 1)); [ "$l" = "$1" ] && echo $n && return; done; echo 0; }
# A header without a .c file of its name belongs to the layer named in this list.
layer_of() {
    case $1 in list) echo base; return ;; call) echo gateway; return ;; esac
    for l in $layers; do [ -f "c_src/$l/$1.c" ] && echo "$l" && return; done
    echo unknown
}
bad=0
for f in c_src/*/*.c c_src/*/*.h include/*.h; do
    [ -f "$f" ] || continue
    case $f in
    include/*) own=$(layer_of "$(basename "$f" .h)") ;;
    *) own=$(basename "$(dirname "$f")") ;;
    esac
    if [ "$own" = unknown ]; then echo "$f: no module of this name in any layer"; bad=1; continue; fi
    for h in $(sed -n 's/^#include "\(.*\)\.h"$/\1/p' "$f"); do
        [ -f "include/$h.h" ] || continue
        of=$(layer_of "$h")
        if [ "$(rank "$of")" -gt "$(rank "$own")" ]; then echo "$f ($own) includes $h.h ($of)"; bad=1; fi
    done
    case $own in base | codec | gateway)
        if grep -nE '#include <(uv|libwebsockets)\.h>' "$f"; then echo "$f ($own) must do no I/O"; bad=1; fi ;;
    esac
done
exit $bad
