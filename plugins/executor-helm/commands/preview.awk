# What a roll-back would delete: of two manifests as Helm keeps them, and the hooks that would run. Used with yaml.awk.
#
# The files come in this order, each behind `side=...`: the manifest that is gone back to (`to`), its hooks (`hooks`), the
# manifest that is left (`from`). `home` is the namespace of the Helm release; `also` names further kinds that are never deleted
# without being asked for, as Kind.group, separated by blanks.
#
# Helm deletes what the manifest that is left has and the other doesn't, by kind, group, namespace and name; what bears
# helm.sh/resource-policy: keep on the API server stays. It deletes what a hook is called like before it makes it. And
# Kubernetes deletes the claims of a StatefulSet if the StatefulSet asks for it. Prints
#
#   deletes KIND NAME                     what nobody misses, 20 of them
#   deletes-more COUNT                    the others
#   loses KIND.GROUP NAMESPACE NAME HOW   with what it holds; HOW is removed, hook, claims
#   keeps KIND.GROUP NAMESPACE NAME HOW   the same, if what is on the API server isn't what the manifest says
#   scales KIND.GROUP NAMESPACE NAME TO   its claims beyond so many replicas are lost, if there are more of them
#   unreadable SIDE WHY                   what can't be read may hold anything
#   end FROM TO                           how many objects each manifest has: nothing was cut off

BEGIN {
    PROTECTED["CustomResourceDefinition.apiextensions.k8s.io"] = "cluster"
    PROTECTED["Namespace."] = "cluster"
    PROTECTED["PersistentVolume."] = "cluster"
    PROTECTED["PersistentVolumeClaim."] = "namespace"
    CLAIMS = "/spec/persistentVolumeClaimRetentionPolicy"
    n = split(also, kinds, " ")
    for (i = 1; i <= n; i++) {
        # Of the core group there is no name, and it is said without the dot as well.
        if (kinds[i] !~ /\./) kinds[i] = kinds[i] "."
        if (!(kinds[i] in PROTECTED)) PROTECTED[kinds[i]] = "namespace"
    }
}

FNR == 1 { end_document(); here = side }
{ read_line($0) }

END {
    end_document()
    if (deleted > 20) print "deletes-more " (deleted - 20)
    print "end " (count["from"] + 0) " " (count["to"] + 0)
}

function document() {
    if (odd != "") { unreadable(odd); return }
    object("")
}

function unreadable(why) {
    gsub(/[^ -~]/, "?", why)
    print "unreadable " here " " substr(why, 1, 80)
}

# An object, or a list of them: whatever has items is one.
function object(at,    i, kind, api, name, space) {
    if (TYPE[at "/items"] == "list") {
        for (i = 0; i < COUNT[at "/items"]; i++) object(at "/items/" i)
        return
    }
    if (TYPE[at] == "null") return
    kind = VALUE[at "/kind"]
    api = VALUE[at "/apiVersion"]
    name = VALUE[at "/metadata/name"]
    space = VALUE[at "/metadata/namespace"]
    if (kind !~ /^[A-Za-z0-9]+$/ || api !~ /^[A-Za-z0-9.\/-]+$/ || name !~ /^[A-Za-z0-9.:_-]+$/ || space !~ /^[a-z0-9-]*$/) {
        unreadable("an object has no kind, group or name that could be one")
        return
    }
    kind = kind "." (api ~ /\// ? substr(api, 1, index(api, "/") - 1) : "")
    # What belongs to no namespace is another object to Helm if one is written on it.
    if (space == "" && !((kind in PROTECTED) && PROTECTED[kind] == "cluster")) space = home
    if (here == "hooks") hook(at, kind, space, name)
    else compare(at, kind, space, name)
}

function compare(at, kind, space, name,    key) {
    key = kind SUBSEP space SUBSEP name
    if (key in seen && seen[key] == here) return
    count[here]++
    if (here == "to") {
        seen[key] = here
        if (kind == "StatefulSet.apps") {
            scaled[key] = VALUE[at CLAIMS "/whenScaled"]
            replicas[key] = VALUE[at "/spec/replicas"]
        }
        return
    }
    if (key in seen) {
        seen[key] = here
        if (kind == "StatefulSet.apps" && scaled[key] == "Delete") scales(at, kind, space, name, replicas[key])
        return
    }
    seen[key] = here
    if (kind in PROTECTED) gone(at, kind, space, name, "removed", 1)
    else if (kind == "StatefulSet.apps") gone(at, kind, space, name, "claims", VALUE[at CLAIMS "/whenDeleted"] == "Delete")
    else if (++deleted <= 20) print "deletes " substr(kind, 1, index(kind, ".") - 1) " " substr(name, 1, 60)
}

function gone(at, kind, space, name, how, loses) {
    if (VALUE[at "/metadata/annotations/helm.sh~1resource-policy"] == "keep") loses = 0
    print (loses ? "loses " : "keeps ") kind " " shown(space) " " name " " how
}

# A number that is left out stays as it is; one that is taken away becomes 1.
function scales(at, kind, space, name, to) {
    if (to == "" && VALUE[at "/spec/replicas"] == "") return
    print "scales " kind " " shown(space) " " name " " (to ~ /^[0-9]+$/ ? to + 0 : 1)
}

# A hook of the roll-back that Helm deletes before it makes it: unless it is told otherwise, that is any.
function hook(at, kind, space, name,    events, policy) {
    events = VALUE[at "/metadata/annotations/helm.sh~1hook"]
    policy = VALUE[at "/metadata/annotations/helm.sh~1hook-delete-policy"]
    if (events !~ /(^|[ ,])(pre|post)-rollback([ ,]|$)/) return
    gsub(/[ ,]/, "", policy)
    if (policy != "" && policy !~ /before-hook-creation/) return
    # Helm itself never deletes a definition that is a hook.
    if (kind == "CustomResourceDefinition.apiextensions.k8s.io") return
    # Nothing is kept: what Helm makes afresh it takes away, whatever its policy.
    if (kind in PROTECTED || (kind == "StatefulSet.apps" && VALUE[at CLAIMS "/whenDeleted"] == "Delete"))
        print "loses " kind " " shown(space) " " name " hook"
}

function shown(space) {
    return space == "" ? "-" : space
}
