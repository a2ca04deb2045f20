# What a Helm release was set to at one path. Used with yaml.awk.
#
# `revision` is printed before it, `path` is as RFC 6901 has it. Prints REVISION VALUE, or REVISION - where there is no word.

{ read_line($0) }
END { end_document(); if (!said) print revision " -" }

function document() {
    if (odd != "" || said) return
    said = 1
    print revision " " (VALUE[path] ~ /^[!-~]+$/ && length(VALUE[path]) <= 256 ? VALUE[path] : "-")
}
