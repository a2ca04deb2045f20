# Which images the workload of a manifest runs. Used with yaml.awk.
#
# `revision` is printed before each, `workload` is the one that is asked for, as kind/name in lower case; "-" stands for all. `label` is a
# label of its pods, as RFC 6901 has it. Prints
#
#   REVISION KIND/NAME CONTAINER IMAGE LABEL    what is no word is -
#   REVISION unreadable WHY

BEGIN { n = split("deployment statefulset daemonset rollout", kinds, " "); for (i = 1; i <= n; i++) WORKLOAD[kinds[i]] = 1 }
{ read_line($0) }
END { end_document() }

function document() {
    if (odd != "") {
        gsub(/[^ -~]/, "?", odd)
        print revision " unreadable " substr(odd, 1, 80)
        return
    }
    object("")
}

function object(at,    i, kind, name, version, containers, image) {
    if (TYPE[at "/items"] == "list") {
        for (i = 0; i < COUNT[at "/items"]; i++) object(at "/items/" i)
        return
    }
    kind = tolower(VALUE[at "/kind"])
    name = kind "/" VALUE[at "/metadata/name"]
    if (workload == "-" ? !(kind in WORKLOAD) : name != workload) return
    at = at "/spec/template"
    version = word(VALUE[at "/metadata/labels/" label])
    containers = at "/spec/containers"
    for (i = 0; i < COUNT[containers]; i++) {
        image = VALUE[containers "/" i "/image"]
        print revision " " word(name) " " word(VALUE[containers "/" i "/name"]) " " word(image) " " version
    }
}

# Whatever isn't one word is none.
function word(text) {
    return text ~ /^[A-Za-z0-9.\/:@_+-]+$/ && length(text) <= 512 ? text : "-"
}
