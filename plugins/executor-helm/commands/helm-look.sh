#!/bin/sh
# Looks at a Helm release, and changes nothing: the command helm-look of executor-helm.
#
#   helm-look.sh HELM history NAMESPACE RELEASE MOST
#   helm-look.sh HELM images NAMESPACE RELEASE KIND/NAME|- LABEL REVISION...
#   helm-look.sh HELM values NAMESPACE RELEASE PATH REVISION...
#   helm-look.sh HELM preview NAMESPACE RELEASE FROM TO [KIND.GROUP...]
#
# HELM is the program's full path; the configuration gives it, and the executor the rest. What each prints stands in the file of that name
# beside this one. PATH and LABEL are as RFC 6901 has them.
#
# Manifests are longer than an answer holds, and need not leave this machine: what is printed is short. Exit code 1: it could not
# look, and the last line says why. Needs Helm 3 or 4, and awk as POSIX has it.

set -u
set -f
umask 077
LC_ALL=C
export LC_ALL

trouble() {
    echo "$1"
    exit 1
}

# What Helm says, into a file of the temporary folder.
ask() {
    into=$1
    shift
    "$helm" "$@" > "$work/$into" 2> "$work/trouble" || trouble "$(tail -n 1 "$work/trouble" | cut -c 1-300)"
}

is_number() {
    case $1 in '' | *[!0-9]* | 0* | ??????????*) return 1 ;; esac
}

[ $# -ge 5 ] || trouble "usage: helm-look.sh HELM history|images|values|preview NAMESPACE RELEASE ..."
helm=$1 what=$2 namespace=$3 release=$4
shift 4
here=$(cd -P -- "$(dirname -- "$0")" && pwd -P) || trouble "where this program is can't be seen"
work=$(mktemp -d) || trouble "cannot make a temporary folder"
trap 'rm -rf -- "$work"' EXIT
trap 'exit 1' HUP INT TERM

for name in "$namespace" "$release"; do
    case $name in '' | -* | *[!a-z0-9.-]*) trouble "a name is made of a-z, 0-9, - and ." ;; esac
done

case $what in
    history)
        is_number "$1" || trouble "$1 is no number of revisions"
        ask history history "$release" --namespace "$namespace" --max "$1" --output json
        awk -f "$here/history.awk" "$work/history"
        ;;
    images | values)
        of=$1 label=
        shift
        if [ "$what" = images ]; then
            label=${1-}
            shift
        fi
        for revision in "$@"; do
            is_number "$revision" || trouble "$revision is no revision"
            if [ "$what" = images ]; then
                ask "$revision" get manifest "$release" --namespace "$namespace" --revision "$revision"
                set -- -v "workload=$of" -v "label=$label" -f "$here/images.awk"
            else
                ask "$revision" get values "$release" --namespace "$namespace" --revision "$revision" --all --output yaml
                set -- -v "path=$of" -f "$here/values.awk"
            fi
            awk -v "revision=$revision" -f "$here/yaml.awk" "$@" "$work/$revision" || trouble "awk failed"
        done
        echo end
        ;;
    preview)
        [ $# -ge 2 ] && is_number "$1" && is_number "$2" || trouble "usage: helm-look.sh HELM preview NAMESPACE RELEASE FROM TO"
        ask from get manifest "$release" --namespace "$namespace" --revision "$1"
        ask to get manifest "$release" --namespace "$namespace" --revision "$2"
        ask hooks get hooks "$release" --namespace "$namespace" --revision "$2"
        shift 2
        cd "$work" || trouble "the temporary folder is gone"
        awk -v "home=$namespace" -v "also=$*" -f "$here/yaml.awk" -f "$here/preview.awk" \
            side=to to side=hooks hooks side=from from || trouble "awk failed"
        ;;
    *) trouble "$what is nothing to look at" ;;
esac
