#!/bin/sh
# Brings back the desired state of a Git checkout: see drift-look.sh for CHECKOUT, MAP and ROOT.
#
#   drift-fix.sh CHECKOUT MAP ROOT [--delete]
#
# What is changed or missing is written beside its place and renamed, so that a reader sees the old file or the new one and
# never half of one. Credentials are left alone. What is extra is deleted only with --delete, and only files: never a folder,
# never a credential.
#
# Prints a line for each thing that it did: restored or deleted, and the path. Exit code 0: all that it may mend is
# mended. 2: something could not be; the last line says what. Running it twice does nothing the second time.
# shellcheck source=drift-common.sh
. "$(dirname -- "$0")/drift-common.sh"

case $#:${4-} in
    3:) delete=no ;;
    4:--delete) delete=yes ;;
    *) trouble "usage: drift-fix.sh CHECKOUT MAP ROOT [--delete]" ;;
esac
drift_begin "$1" "$2" "$3"

mend() {
    case $class in
        file)
            case $(state "$destination") in
                missing) ;;
                file) same_content "$source" "$root/$destination" && same_mode "$mode" "$root/$destination" && return 0 ;;
                *) trouble "$root/$destination is no plain file: somebody has to look" ;;
            esac
            put "$source" "$destination" "$mode" || trouble "cannot write $root/$destination"
            echo "restored $destination" ;;
        credential) ;;
        folder)
            [ "$delete" = yes ] && [ "$(state "$destination")" = folder ] || return 0
            extras "$destination" > "$work/extras" || trouble "cannot list $root/$destination"
            while IFS= read -r extra; do
                [ "$(state "$extra")" = file ] || continue
                rm -f -- "$root/$extra" || trouble "cannot delete $root/$extra"
                echo "deleted $extra"
            done < "$work/extras" ;;
    esac
}

each_line mend
exit 0
