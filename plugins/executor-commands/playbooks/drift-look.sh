#!/bin/sh
# Compares what is on this machine with the desired state in a Git checkout.
#
#   drift-look.sh CHECKOUT MAP ROOT
#
# CHECKOUT  a Git checkout of the desired state. What counts is what its HEAD holds, not what lies in its folder: a file
#           that somebody changed there is not desired by anybody.
# MAP       a file in the checkout, as HEAD has it. A line each:  CLASS SOURCE DESTINATION [MODE]
#             CLASS        file        compared, and brought back by drift-fix.sh
#                          credential  compared by digest, told, and never brought back: a secret doesn't come from Git
#                          folder      only what is mapped may be in it; anything else is "extra"
#             SOURCE       a path in the checkout; "-" for a folder. Of a credential: a file with its SHA-256 digest
#             DESTINATION  a path below ROOT
#             MODE         of the file, as chmod takes it in digits: 0644 where it isn't said
#           Empty lines and lines with # are passed over. At most 1000 lines; no blanks in paths.
# ROOT      an absolute path: nothing outside of it is read or written
#
# Prints a line for each difference: changed, missing, credential or extra, and the path below ROOT.
# Exit code 0: there is none. 1: there are some. 2: it could not look; the last line says why.
#
# Needs git, and sha256sum, stat and find as coreutils, findutils and busybox have them.
# shellcheck source=drift-common.sh
. "$(dirname -- "$0")/drift-common.sh"

drift_begin "$@"
found=0
tell() {
    echo "$1 $2"
    found=1
}

compare() {
    case $class in
        file)
            case $(state "$destination") in
                missing) tell missing "$destination" ;;
                file) same_content "$source" "$root/$destination" && same_mode "$mode" "$root/$destination" ||
                    tell changed "$destination" ;;
                *) tell changed "$destination" ;;
            esac ;;
        credential)
            [ "$(state "$destination")" = file ] && same_digest "$source" "$root/$destination" ||
                tell credential "$destination" ;;
        folder)
            [ "$(state "$destination")" = folder ] || return 0
            extras "$destination" > "$work/extras" || trouble "cannot list $root/$destination"
            while IFS= read -r extra; do
                tell extra "$extra"
            done < "$work/extras" ;;
    esac
}

each_line compare
exit "$found"
