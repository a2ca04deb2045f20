# Reads documents of YAML, as templates render them, for programs that want to know what stands at a path.
#
# Here: block and flow style, all kinds of scalars, comments, anchors, aliases and merges. What isn't read for certain is
# said, never guessed: complex keys, tabs before content, what ends in the middle. Not here: what the documents mean.
# Where a document ends, `document()` is called, which a program that uses this defines. It finds
#
#   VALUE[path]   what a scalar says; a null is empty
#   TYPE[path]    "map", "list", "text" or "null": whatever is there has one
#   COUNT[path]   how many elements a list has, from path/0 on
#   odd           why the document can't be read; empty where it can
#
# A path is as RFC 6901 has it: /metadata/annotations/helm.sh~1resource-policy. The document itself is at "".

function begin_document() {
    split("", VALUE); split("", TYPE); split("", COUNT); split("", ANCHOR); split("", MERGED)
    depth = merges = 0
    odd = mode = last = ""
    waits = 1; wait_path = ""; wait_indent = -1
}

function end_document() {
    if (mode == "open") is_odd("it ends within " (QUOTE != "" ? "quotes" : "brackets"))
    if (mode == "block") end_block()
    if (waits && depth > 0) null_at(wait_path)
    merge()
    if (odd != "" || ("" in TYPE)) document()
    begin_document()
}

function is_odd(why) {
    if (odd == "") odd = why
}

# One line of the file.
function read_line(line,    indent, text) {
    sub(/\r$/, "", line)
    if (line ~ /^---([ \t]|$)/ || line ~ /^\.\.\.([ \t]|$)/) {
        end_document()
        text = uncommented(substr(line, 4))
        if (text != "") is_odd("something stands behind the line that begins it")
        return
    }
    match(line, /^ */)
    indent = RLENGTH
    text = substr(line, indent + 1)
    if (mode == "block") {
        if (text ~ /^[ \t]*$/) { blank_in_block(); return }
        if (indent > block_indent) { line_in_block(line, indent); return }
        end_block()
    }
    if (mode == "open") { go_on(text); return }
    if (text ~ /^[ \t]*(#|$)/) return
    if (text ~ /^\t/) { is_odd("a tab stands before its content"); return }
    if (depth == 0 && text ~ /^%/) return
    content(indent, text)
}

# A line with content, outside of what goes on over several lines.
function content(indent, text) {
    if (last != "" && indent > last_indent) {
        text = uncommented(text)
        if (text ~ /:([ \t]|$)/) is_odd("a text goes on as a map")
        TYPE[last] = "text"
        VALUE[last] = VALUE[last] " " text
        return
    }
    last = ""
    if (waits) {
        waits = 0
        if (indent > wait_indent || (indent == wait_indent && wait_in_map && is_item(text))) {
            node(indent, text, wait_path, wait_indent)
            return
        }
        null_at(wait_path)
    }
    while (depth > 0 && INDENT[depth] > indent) depth--
    # A list may stand as far to the left as the key that it belongs to.
    if (depth > 0 && INDENT[depth] == indent && KIND[depth] == "list" && !is_item(text)) depth--
    if (depth == 0 || INDENT[depth] != indent || (KIND[depth] == "map" && is_item(text))) {
        is_odd("a line is indented as none before it")
        return
    }
    node(indent, text, PATH[depth], indent)
}

function is_item(text) { return text == "-" || text ~ /^-[ \t]/ }

function level(indent, kind, path) {
    if (depth > 0 && INDENT[depth] == indent && KIND[depth] == kind && PATH[depth] == path) return
    depth++
    INDENT[depth] = indent; KIND[depth] = kind; PATH[depth] = path
    TYPE[path] = kind
    if (kind == "list") COUNT[path] = 0
}

# What begins in this column: an element of a list, an entry of a map, or a value alone, which goes on in lines that are
# indented further than `outer`.
function node(indent, text, path, outer,    at, skip, key, rest) {
    if (is_item(text)) {
        level(indent, "list", path)
        at = path "/" (COUNT[path]++)
        match(text, /^-[ \t]*/)
        skip = RLENGTH
        rest = substr(text, skip + 1)
        if (rest == "" || rest ~ /^#/) wait_for(at, indent, 0)
        else node(indent + skip, rest, at, indent)
        return
    }
    if (text ~ /^\?([ \t]|$)/) { is_odd("a key is more than a text"); return }
    if ((at = key_ends(text)) == 0) { value(text, path, outer, 0); return }
    key = found_key
    rest = substr(text, at + 1)
    sub(/^[ \t]+/, "", rest)
    level(indent, "map", path)
    if (key == "<<") { merge_later(path, rest); return }
    gsub(/~/, "~0", key)
    gsub(/\//, "~1", key)
    at = path "/" key
    forget(at)
    value(rest, at, indent, 1)
}

# Where the colon of a key stands, and in found_key the key. 0: the text is no entry of a map.
function key_ends(text,    at, hash, end) {
    if (text ~ /^["']/) {
        end = closes(text, 1)
        if (end == 0) return 0
        found_key = unquoted(substr(text, 1, end))
        match(substr(text, end + 1), /^[ \t]*/)
        at = end + RLENGTH + 1
        return substr(text, at, 1) == ":" && substr(text, at + 1) ~ /^([ \t]|$)/ ? at : 0
    }
    if (text ~ /^[\[{|>&*!]/ && text !~ /^[&!*][^ \t]*:[ \t]/) return 0
    if (!match(text, /:([ \t]|$)/)) return 0
    at = RSTART
    hash = match(text, /[ \t]#/)
    if (hash > 0 && hash < at) return 0
    found_key = substr(text, 1, at - 1)
    sub(/[ \t]+$/, "", found_key)
    if (found_key ~ /^[&*!]/) is_odd("a key has an anchor, an alias or a tag")
    return at
}

# What stands behind a key, or alone. `indent` is how far what it belongs to is indented.
function value(text, path, indent, in_map,    name) {
    while (text ~ /^[&!]/) {
        match(text, /^[^ \t]+/)
        name = substr(text, 2, RLENGTH - 1)
        if (text ~ /^&/) ANCHOR[name] = path
        text = substr(text, RLENGTH + 1)
        sub(/^[ \t]+/, "", text)
    }
    if (text == "" || text ~ /^#/) { wait_for(path, indent, in_map); return }
    if (text ~ /^[|>]/) { begin_block(text, path, indent); return }
    if (text ~ /^[\[{"']/) { begin_open(text, path); return }
    text = uncommented(text)
    if (text ~ /^\*/) { copy(ANCHOR[substr(text, 2)], path, substr(text, 2)); return }
    if (text ~ /^[@`%]/ || text ~ /:([ \t]|$)/) is_odd("a value is neither a text nor a map")
    plain(text, path)
    last = path
    last_indent = indent
}

function plain(text, path) {
    if (text == "~" || text == "null" || text == "Null" || text == "NULL") { null_at(path); return }
    TYPE[path] = "text"
    VALUE[path] = text
}

# A key that stands twice: what it says last holds.
function forget(path,    at, n, i, list) {
    if (!(path in TYPE)) return
    n = 0
    for (at in TYPE) if (at == path || index(at, path "/") == 1) list[++n] = at
    for (i = 1; i <= n; i++) { delete TYPE[list[i]]; delete VALUE[list[i]]; delete COUNT[list[i]] }
}

function null_at(path) {
    TYPE[path] = "null"
    VALUE[path] = ""
}

function wait_for(path, indent, in_map) {
    waits = 1
    wait_path = path; wait_indent = indent; wait_in_map = in_map
}

function uncommented(text,    hash) {
    sub(/^[ \t]+/, "", text)
    if (text ~ /^#/) return ""
    hash = match(text, /[ \t]+#/)
    if (hash > 0) text = substr(text, 1, hash - 1)
    sub(/[ \t]+$/, "", text)
    return text
}

# Literal and folded texts.

function begin_block(text, path, indent) {
    mode = "block"
    block_path = path; block_indent = indent
    block_folds = text ~ /^>/
    block_strips = text ~ /^[|>][0-9]*-/
    block_text = ""; block_first = -1; block_blanks = 0
}

function blank_in_block() { block_blanks++ }

function line_in_block(line, indent) {
    if (block_first < 0) block_first = indent
    else block_text = block_text (block_folds && block_blanks == 0 ? " " : "\n")
    for (; block_blanks > 0; block_blanks--) block_text = block_text "\n"
    block_text = block_text substr(line, block_first + 1)
}

function end_block() {
    mode = ""
    TYPE[block_path] = "text"
    VALUE[block_path] = block_text (block_strips || block_first < 0 ? "" : "\n")
}

# Quotes and brackets, which may go on over several lines.

function begin_open(text, path) {
    mode = "open"
    open_path = path; open_text = between = ""
    QUOTE = ""; OPEN = 0; BEFORE = ":"
    go_on(text)
}

# Adds a line, and reads the whole when the last quote and bracket is closed.
function go_on(text,    n, at, c, joins) {
    sub(/^[ \t]+/, "", text)
    n = length(text)
    for (at = 1; at <= n; at++) {
        c = substr(text, at, 1)
        if (QUOTE != "") {
            if (QUOTE == "\"" && c == "\\") { if (++at > n) joins = 1 }
            else if (c == QUOTE) {
                if (QUOTE == "'" && substr(text, at + 1, 1) == "'") at++
                else { QUOTE = ""; BEFORE = c; if (OPEN == 0) break }
            }
            continue
        }
        if (c == " " || c == "\t") {
            if (substr(text, at + 1, 1) == "#") { text = substr(text, 1, at - 1); n = at - 1; break }
            continue
        }
        if (c == "#" && at == 1) { text = ""; n = 0; break }
        if ((c == "\"" || c == "'") && index("{[,:", BEFORE)) QUOTE = c
        else if (c == "{" || c == "[") OPEN++
        else if (c == "}" || c == "]") { OPEN--; if (OPEN == 0) { BEFORE = c; break } }
        BEFORE = c
    }
    # A line's end is a space to whatever goes on, unless it is escaped.
    open_text = open_text (text == "" ? "" : between) substr(text, 1, joins ? n - 1 : at)
    between = joins ? "" : " "
    if (QUOTE != "" || OPEN > 0) return
    mode = ""
    if (uncommented(substr(text, at + 1)) != "") is_odd("something stands behind quotes or brackets")
    FLOW = open_text; AT = 1
    flow(open_path)
}

function flow_skip() {
    while (substr(FLOW, AT, 1) ~ /[ \t]/) AT++
}

# What stands at AT in FLOW.
function flow(path,    c, name) {
    flow_skip()
    c = substr(FLOW, AT, 1)
    while (c == "&" || c == "!") {
        match(substr(FLOW, AT), /^[^] \t,}]+/)
        name = substr(FLOW, AT + 1, RLENGTH - 1)
        if (c == "&") ANCHOR[name] = path
        AT += RLENGTH
        flow_skip()
        c = substr(FLOW, AT, 1)
    }
    if (c == "{") flow_map(path)
    else if (c == "[") flow_list(path)
    else if (c == "\"" || c == "'") { TYPE[path] = "text"; VALUE[path] = flow_quoted() }
    else {
        name = flow_plain(0)
        if (name ~ /^\*/) copy(ANCHOR[substr(name, 2)], path, substr(name, 2))
        else if (name == "") null_at(path)
        else plain(name, path)
    }
}

function flow_map(path,    key, at) {
    TYPE[path] = "map"
    AT++
    while (odd == "") {
        flow_skip()
        if (substr(FLOW, AT, 1) == "}") { AT++; return }
        key = substr(FLOW, AT, 1) ~ /["']/ ? flow_quoted() : flow_plain(1)
        flow_skip()
        if (key == "<<" || key ~ /^[?&*!]/) is_odd("a key in brackets is more than a text")
        gsub(/~/, "~0", key)
        gsub(/\//, "~1", key)
        at = path "/" key
        forget(at)
        if (substr(FLOW, AT, 1) == ":") { AT++; flow(at) } else null_at(at)
        if (!flow_goes_on("}")) return
    }
}

function flow_list(path,    at) {
    TYPE[path] = "list"
    COUNT[path] = 0
    AT++
    while (odd == "") {
        flow_skip()
        if (substr(FLOW, AT, 1) == "]") { AT++; return }
        at = path "/" (COUNT[path]++)
        flow(at)
        flow_skip()
        if (substr(FLOW, AT, 1) == ":") is_odd("a list in brackets holds a pair")
        if (!flow_goes_on("]")) return
    }
}

function flow_goes_on(end,    c) {
    flow_skip()
    c = substr(FLOW, AT, 1)
    AT++
    if (c == ",") return 1
    if (c != end) is_odd("brackets hold what can't be read")
    return 0
}

function flow_quoted(    end, quoted) {
    end = closes(FLOW, AT)
    if (end == 0) { is_odd("quotes are not closed"); AT = length(FLOW) + 1; return "" }
    quoted = unquoted(substr(FLOW, AT, end - AT + 1))
    AT = end + 1
    return quoted
}

function flow_plain(is_key,    begin, c, text) {
    for (begin = AT; (c = substr(FLOW, AT, 1)) != ""; AT++) {
        if (c == "," || c == "}" || c == "]" || c == "[" || c == "{") break
        if (c == ":" && substr(FLOW, AT + 1, 1) ~ /^([] \t,}[{]|$)/) break
    }
    text = substr(FLOW, begin, AT - begin)
    sub(/[ \t]+$/, "", text)
    if (is_key && text == "") is_odd("brackets hold what can't be read")
    return text
}

# Where the quotes that open at `at` are closed; 0 where they aren't.
function closes(text, at,    quote, n, c) {
    quote = substr(text, at, 1)
    n = length(text)
    for (at++; at <= n; at++) {
        c = substr(text, at, 1)
        if (c == "\\" && quote == "\"") at++
        else if (c == quote) {
            if (quote == "'" && substr(text, at + 1, 1) == "'") at++
            else return at
        }
    }
    return 0
}

function unquoted(text,    quote, out, at, n, c) {
    quote = substr(text, 1, 1)
    text = substr(text, 2, length(text) - 2)
    if (quote == "'") { gsub(/''/, "'", text); return text }
    if (!index(text, "\\")) return text
    n = length(text)
    for (at = 1; at <= n; at++) {
        c = substr(text, at, 1)
        if (c != "\\") { out = out c; continue }
        c = substr(text, ++at, 1)
        if (c == "n") out = out "\n"
        else if (c == "t") out = out "\t"
        else if (c == "x") { out = out char(substr(text, at + 1, 2)); at += 2 }
        else if (c == "u") { out = out char(substr(text, at + 1, 4)); at += 4 }
        else if (c == "U") { out = out char(substr(text, at + 1, 8)); at += 8 }
        else if (c ~ /["\\\/]/) out = out c
        else if (c == " ") out = out " "
        else { is_odd("an escape isn't known: \\" c); return "" }
    }
    return out
}

# The character with this number, as far as it is one of a name. All others are one that no name has.
function char(hex,    at, code) {
    hex = tolower(hex)
    for (at = 1; at <= length(hex); at++) code = code * 16 + index("0123456789abcdef", substr(hex, at, 1)) - 1
    return code >= 32 && code < 127 ? sprintf("%c", code) : "?"
}

# Aliases, and maps that are merged into others.

function copy(from, to, name,    path, n, i, list) {
    if (name == "" || !(from in TYPE) || to == from || index(to "/", from "/") == 1) {
        is_odd("an alias names nothing that was read: " name)
        return
    }
    n = 0
    for (path in TYPE) if (path == from || index(path, from "/") == 1) list[++n] = path
    for (i = 1; i <= n; i++) put(list[i], to substr(list[i], length(from) + 1))
}

function put(from, to) {
    TYPE[to] = TYPE[from]
    if (from in VALUE) VALUE[to] = VALUE[from]
    if (from in COUNT) COUNT[to] = COUNT[from]
}

function merge_later(path, text,    names, n, i) {
    text = uncommented(text)
    gsub(/^\[|\]$/, "", text)
    n = split(text, names, /[ \t]*,[ \t]*/)
    for (i = 1; i <= n; i++) {
        if (names[i] !~ /^\*/) { is_odd("what is merged is no alias"); return }
        merges++
        MERGED[merges] = path
        MERGED[merges, "from"] = substr(names[i], 2)
        if (!(substr(names[i], 2) in ANCHOR)) is_odd("an alias names nothing that was read: " names[i])
        else MERGED[merges, "from"] = ANCHOR[substr(names[i], 2)]
    }
}

# What a map says itself goes before what is merged into it.
function merge(    m, path, from, to, own, key, n, i, list) {
    for (m = 1; m <= merges && odd == ""; m++) {
        to = MERGED[m]
        from = MERGED[m, "from"]
        split("", own); n = 0
        for (path in TYPE) {
            if (index(path, to "/") == 1) own[first(substr(path, length(to) + 2))] = 1
            if (index(path, from "/") == 1) list[++n] = path
        }
        for (i = 1; i <= n; i++) {
            key = substr(list[i], length(from) + 2)
            if (!(first(key) in own)) put(list[i], to "/" key)
        }
    }
}

function first(path) {
    sub(/\/.*/, "", path)
    return path
}

BEGIN { begin_document() }
