# Lines of what `helm history -o json` says, which is one array of records. Oldest first; separated by tabs:
#
#   REVISION STATUS UPDATED CHART APP-VERSION BACK-TO DESCRIPTION
#
# BACK-TO is the revision that a roll-back brought back, or 0. DESCRIPTION is cut after 60 characters: an error may be long.
#
# Within a text quotes are escaped, so that {"revision": stands where a record begins and nowhere else.

{ json = json (NR > 1 ? "\n" : "") $0 }

END {
    n = split(json, records, /\{"revision":/)
    if (json !~ /^\[/ || json !~ /\][ \n]*$/) { print "helm history says what is no array"; exit 1 }
    for (i = 2; i <= n; i++) {
        record = records[i]
        revision = record + 0
        back = field(record, "\"rollback_revision\":[0-9]+") + 0
        description = text(record, "description")
        if (back == 0 && description ~ /^Rollback to [0-9]+([^0-9]|$)/) back = substr(description, 13) + 0
        print revision "\t" text(record, "status") "\t" text(record, "updated") "\t" text(record, "chart") "\t" \
            text(record, "app_version") "\t" back "\t" substr(description, 1, 60)
    }
}

function field(record, pattern) {
    if (!match(record, pattern)) return ""
    return substr(record, RSTART + index(substr(record, RSTART, RLENGTH), ":"), RLENGTH)
}

function text(record, name,    said) {
    if (!match(record, "\"" name "\":\"([^\"\\\\]|\\\\.)*\"")) return ""
    said = substr(record, RSTART + length(name) + 4, RLENGTH - length(name) - 5)
    gsub(/\\"/, "'", said)
    gsub(/\\u[0-9a-f][0-9a-f][0-9a-f][0-9a-f]/, "?", said)
    gsub(/\\./, " ", said)
    gsub(/[^ -~]/, "?", said)
    return said
}
