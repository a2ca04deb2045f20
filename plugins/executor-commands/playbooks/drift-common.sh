# shellcheck shell=sh
# What drift-look.sh and drift-fix.sh have in common: reading the map, and never leaving ROOT. Sourced, not run.
#
# Sets: checkout, map, root, work (a temporary folder), and for each line class, source, destination, mode.

set -u
LC_ALL=C
export LC_ALL
# A map or a file's name is never a pattern.
set -f
umask 077

LINES_MAX=1000

# Says why and gives up.
trouble() {
    echo "$1"
    exit 2
}

drift_begin() {
    [ $# -eq 3 ] || trouble "usage: CHECKOUT MAP ROOT"
    checkout=$1 map=$2
    case $3 in
        # Before each path below it stands a slash.
        /) root= ;;
        /*)
            root=${3%/}
            [ -d "$root" ] && [ ! -L "$root" ] || trouble "$root is no folder" ;;
        *) trouble "$3 is no absolute path" ;;
    esac
    is_inside "$map" || trouble "$map is no path inside of the checkout"
    command -v git > /dev/null || trouble "git is not installed"
    # A link inside of the machine's own way to ROOT is the operator's; one below it may be anybody's.
    # A checkout that is none is not looked for further up.
    above=$(cd -P -- "$checkout/.." 2> /dev/null && pwd -P) || trouble "$checkout is no folder"
    work=$(mktemp -d) || trouble "cannot make a temporary folder"
    trap 'rm -rf -- "$work"' EXIT
    trap 'exit 2' HUP INT TERM
    head=$(git_in rev-parse --verify --quiet 'HEAD^{commit}' 2> /dev/null) || trouble "$checkout is no Git checkout with a commit"
    content "$map" > "$work/map" || trouble "the checkout has no plain file $map"
    [ "$(wc -l < "$work/map")" -le "$LINES_MAX" ] || trouble "$map has more than $LINES_MAX lines"
}

# Git without the checkout's hooks, filters and pagers, and without anybody's own settings.
git_in() {
    GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_OPTIONAL_LOCKS=0 GIT_CEILING_DIRECTORIES=$above \
        git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c safe.directory='*' -C "$checkout" --no-pager "$@"
}

# A relative path without empty parts, "." and "..", and without characters that a line can't hold.
is_inside() {
    case $1 in
        '' | /* | */ | *//* | *[!A-Za-z0-9._@+=,/-]*) return 1 ;;
    esac
    case /$1/ in
        */./* | */../* | */.git/*) return 1 ;;
    esac
}

# The bytes of a plain file as HEAD has it. A link in Git (mode 120000) is no plain file.
content() {
    entry=$(git_in ls-tree --full-tree "$head" -- "$1") || return 1
    case $entry in
        '100644 blob '* | '100755 blob '*) ;;
        *) return 1 ;;
    esac
    git_in cat-file blob "$head:$1"
}

# What is at a path below ROOT: file, folder, missing, or other. A link on the way, or at the end, is "other": it could lead
# anywhere.
state() {
    way=$root
    rest=$1
    while [ "$rest" != "${rest#*/}" ]; do
        way=$way/${rest%%/*}
        rest=${rest#*/}
        [ ! -L "$way" ] || { echo other; return; }
        [ -e "$way" ] || { echo missing; return; }
        [ -d "$way" ] || { echo other; return; }
    done
    way=$way/$rest
    if [ -L "$way" ]; then echo other
    elif [ -f "$way" ]; then echo file
    elif [ -d "$way" ]; then echo folder
    elif [ -e "$way" ]; then echo other
    else echo missing
    fi
}

# Whether the file $2 holds what $1 holds in HEAD.
same_content() {
    content "$1" > "$work/desired" || trouble "the checkout has no plain file $1"
    cmp -s -- "$work/desired" "$2"
}

# Whether the digest of the file $2 is what the file $1 in HEAD says.
same_digest() {
    content "$1" > "$work/desired" || trouble "the checkout has no plain file $1"
    desired=$(cut -d ' ' -f 1 < "$work/desired")
    [ "${#desired}" -eq 64 ] || trouble "$1 in the checkout is no SHA-256 digest"
    found_digest=$(sha256sum < "$2" | cut -d ' ' -f 1)
    [ "$desired" = "$found_digest" ]
}

same_mode() {
    [ "$(printf '%04o' "0$(stat -c %a -- "$2")")" = "$(printf '%04o' "0$1")" ]
}

# Writes the file $1 of HEAD to $2 below ROOT with the mode $3, in one go.
put() {
    content "$1" > "$work/desired" || trouble "the checkout has no plain file $1"
    folder=$root
    case $2 in
        */*) folder=$root/${2%/*} ;;
    esac
    # state() saw no link on the way; what is missing of it is made. A link that comes in between is seen below.
    (umask 022 && mkdir -p -- "$folder/") || return 1
    base=$(cd -P -- "$root/" && pwd -P) && came=$(cd -P -- "$folder/" && pwd -P) || return 1
    [ "${came%/}" = "${base%/}${folder#"$root"}" ] || return 1
    new=$(mktemp -- "$folder/.drift-XXXXXX") || return 1
    # Renamed only once its bytes are on the disk: a power cut leaves the old file or the new one.
    cat -- "$work/desired" > "$new" && chmod "$3" "$new" && sync -- "$new" && mv -f -- "$new" "$root/$2" || {
        rm -f -- "$new"
        return 1
    }
}

# Files directly in the folder $1 below ROOT that no line of the map names.
extras() {
    find "$root/$1" -mindepth 1 -maxdepth 1 ! -type d | while IFS= read -r path; do
        path=${path#"$root/"}
        # What a line can't hold is told all the same, with its odd characters replaced.
        grep -q -x -F -e "$path" "$work/destinations" || printf '%s\n' "$path" | tr -c 'A-Za-z0-9._@+=,/\n-' '?'
    done
}

# Reads the map as a whole before anything is done, then calls the function $1 for each line.
each_line() {
    for_each=$1
    : > "$work/destinations"
    : > "$work/lines"
    at=0
    while IFS= read -r line || [ -n "$line" ]; do
        at=$((at + 1))
        # shellcheck disable=SC2086 # the line is split on purpose; patterns are off
        set -- $line
        case ${1-} in
            '' | '#'*) continue ;;
            file | credential | folder) ;;
            *) trouble "$map:$at: $1 is none of file, credential, folder" ;;
        esac
        [ $# -ge 3 ] && [ $# -le 4 ] || trouble "$map:$at: wanted is CLASS SOURCE DESTINATION [MODE]"
        is_inside "$3" || trouble "$map:$at: $3 is no path below the root"
        case $1 in
            folder) [ "$2" = - ] && [ $# -eq 3 ] || trouble "$map:$at: a folder has the source - and no mode" ;;
            *) is_inside "$2" || trouble "$map:$at: $2 is no path inside of the checkout" ;;
        esac
        case ${4-0644} in
            [0-7][0-7][0-7] | 0[0-7][0-7][0-7]) ;;
            *) trouble "$map:$at: $4 is no mode like 0644" ;;
        esac
        ! grep -q -x -F -e "$3" "$work/destinations" || trouble "$map:$at: $3 is named twice"
        echo "$3" >> "$work/destinations"
        echo "$1 $2 $3 ${4-0644}" >> "$work/lines"
    done < "$work/map"
    # What the map needs is there, before the first file is touched.
    while read -r class source destination mode; do
        [ "$class" = folder ] || content "$source" > /dev/null ||
            trouble "the checkout has no plain file $source"
    done < "$work/lines"
    while read -r class source destination mode <&3; do
        "$for_each"
    done 3< "$work/lines"
}
