//! One mistake each: what is changed in the example, into what, and all that is told of it.

/// In the file of a target.
pub(super) const OF_A_TARGET: &[(&str, &str, &str)] = &[
    (
        r#"service = "checkout""#,
        r#"service = "Check Out""#,
        r#"checkout.toml:1: service: "Check Out" is no target: expected 1 to 64 of a-z, 0-9 and -"#,
    ),
    (
        r#"mode = "enforce""#,
        r#"mode = "dry""#,
        "checkout.toml:3: mode: unknown variant `dry`, expected `observe` or `enforce`",
    ),
    (
        r#"mode = "enforce""#,
        r#"modes = "enforce""#,
        "checkout.toml:3: modes: unknown field `modes`, expected one of `service`, `domain`, `mode`, `runbook`, `window`, `policy`, `executor`, `prometheus`, `look`, `hold`, `settings`, `playbooks`, `anomaly`, `objective`, `rails`, `schema`, `migration`",
    ),
    (
        r#"window = "1m""#,
        r#"window = "1s""#,
        "checkout.toml:5: window: expected a span from 5s to 1h, found 1s",
    ),
    (
        r#"window = "1m""#,
        "window = 60",
        "checkout.toml:5: window: invalid type: integer `60`, expected a string",
    ),
    (
        r#"runbook = "https:"#,
        r#"runbook = "ftp:"#,
        r#"checkout.toml:4: runbook: expected an address like https://host/path, without user, query or fragment, in at most 2048 bytes, found "ftp://wiki.example/checkout""#,
    ),
    (
        r#"policy = "tree""#,
        r#"policy = "bush""#,
        r#"checkout.toml:6: policy: expected a name in [policies], which has tree; found "bush""#,
    ),
    (r#"policy = "tree""#, "# policy", "checkout.toml:1: missing field `policy`"),
    (
        r#"executor = "commands""#,
        r#"executor = "helm""#,
        r#"checkout.toml:7: executor: expected a name in [executors], which has commands, db; found "helm""#,
    ),
    (
        r#"executor = "commands""#,
        "# executor",
        "checkout.toml: executor: is missing: to enforce takes a name in [executors], which has commands, db",
    ),
    (
        r#"prometheus = "main""#,
        r#"prometheus = "other""#,
        r#"checkout.toml:8: prometheus: expected a name in [prometheus], which has main; found "other""#,
    ),
    (
        r#"prometheus = "main""#,
        "# prometheus",
        "checkout.toml: prometheus: is missing: objective[0].candidate.bad is a query, which takes somewhere to ask it",
    ),
    (
        "attempts = 3",
        "attempts = 101",
        "checkout.toml:14: playbooks[0].attempts: expected 0 to 100, found 101",
    ),
    (
        r#"name = "restart-remote""#,
        r#"name = "restart""#,
        r#"checkout.toml:15: playbooks[1].name: "restart" is on the ladder already: expected each playbook once"#,
    ),
    (
        r#"name = "latency""#,
        r#"name = "errors""#,
        r#"checkout.toml:27: objective[1].name: "errors" is another objective's already: expected each name once"#,
    ),
    (r#"name = "latency""#, "# name", "checkout.toml:26: objective[1]: missing field `name`"),
    (
        "above = 0.3",
        "above = nan",
        "checkout.toml:29: objective[1].above: expected a finite number, found NaN",
    ),
    (
        "above = 0.3",
        "above = 0.3\nbelow = 0.1",
        "checkout.toml:30: objective[1].below: expected either this or above, not both",
    ),
    (
        "above = 0.3",
        "",
        "checkout.toml:26: objective[1].above: is missing: expected this or below, from where on it is bad",
    ),
    (
        r#"scope = "local""#,
        r#"scope = "remote""#,
        "checkout.toml:22: objective[0].scope: unknown variant `remote`, expected `local` or `dependency`",
    ),
    (
        r#"candidate = { bad = 'sum(increase(errors{track="canary"}[1m]))', total"#,
        "candidate = { bad = ' ', total",
        "checkout.toml:23: objective[0].candidate.bad: the query is empty: give a PromQL expression that yields one number",
    ),
    (
        "candidate = {",
        "# {",
        "checkout.toml:19: objective[0].candidate: is missing: a baseline is there, and nothing to hold against it",
    ),
    (
        r#"candidate = { bad = 'sum(increase(errors{track="canary"}[1m]))', "#,
        "candidate = { ",
        "checkout.toml:23: objective[0].candidate: missing field `bad`",
    ),
    (
        "baseline = {",
        "above = 1\nbaseline = {",
        "checkout.toml:24: objective[0].above: isn't for a ratio: its policy says how many are too many",
    ),
    (
        r#"metric = "error_rate""#,
        r#"metric = "error rate""#,
        r#"checkout.toml:39: objective[3].metric: "error rate" is no metric: expected 1 to 64 of a-z, 0-9, _ and -"#,
    ),
    (
        r#"metric = "error_rate""#,
        "metric = \"error_rate\"\nalert = \"Down\"",
        "checkout.toml:36: objective[3]: expected exactly one of candidate (with baseline, if there is one), value, burn, metric and alert, found metric and alert",
    ),
    (
        r#"metric = "error_rate""#,
        "# metric",
        "checkout.toml:36: objective[3]: expected exactly one of candidate (with baseline, if there is one), value, burn, metric and alert, found none",
    ),
    (
        "slo = 0.999",
        "slo = 1.0",
        "checkout.toml:34: objective[2].burn.slo: an SLO of 1 isn't above 0 and below 1: give the SLO as a share, 0.999 for 99.9 %",
    ),
    (
        "slo = 0.999",
        "slo = 0.9",
        "checkout.toml:34: objective[2].burn.factor: with an SLO of 0.9 no error ratio burns 14.4 times too fast: take a smaller factor, or a plain ratio objective",
    ),
    (
        "factor = 14.4",
        "factor = 0",
        "checkout.toml:34: objective[2].burn.factor: a burn rate of 0 isn't above 0: usual are 14.4 over (1h, 5m), 6 over (6h, 30m) and 1 over (3d, 6h)",
    ),
    (
        r#"breaker = "45m""#,
        r#"breaker = "30s""#,
        "checkout.toml:49: rails.breaker: expected a span from 1m to 24h, found 30s",
    ),
    (
        r#"backoff_base = "10s""#,
        r#"backoff_base = "20m""#,
        "checkout.toml:50: rails.backoff_base: expected at most rails.backoff_cap, 10m, found 20m",
    ),
    (
        "heals_per_hour = 12",
        "heals_per_hour = 65",
        "checkout.toml:56: rails.heals_per_hour: expected 1 to 64, found 65",
    ),
    ("version = 7", "version = -1", "checkout.toml:59: schema.version: expected 0 to 4294967295, found -1"),
    (
        r#"name = "restart-remote""#,
        r#"name = "look""#,
        r#"checkout.toml:15: playbooks[1].name: "look" is how an executor is asked what it sees: expected a playbook that mends"#,
    ),
    ("look = true", "look = 1", "checkout.toml:9: look: invalid type: integer `1`, expected a boolean"),
    (
        "version = 7",
        "# version",
        "checkout.toml:58: schema: expected exactly one of version and of, found none",
    ),
    (
        "version = 7",
        "version = 7\nof = \"checkout-db\"",
        "checkout.toml:58: schema: expected exactly one of version and of, found both",
    ),
    (
        "version = 7",
        r#"of = "checkout""#,
        r#"checkout.toml:59: schema.of: expected another target, one with a [migration], found "checkout" itself"#,
    ),
    (
        "version = 7",
        r#"of = "checkout-db""#,
        r#"checkout.toml:59: schema.of: expected a target with a [migration], and there is none; found "checkout-db", which is no target"#,
    ),
    ("[schema]", "[schema", "checkout.toml:58: unclosed table, expected `]`"),
];

/// In the file of a data base, beside a service that names it.
pub(super) const OF_A_DATA_BASE: &[(&str, &str, &str)] = &[
    (
        r#"executor = "db""#,
        "# executor",
        "checkout-db.toml: executor: is missing: a migration takes a name in [executors], which has commands, db",
    ),
    (
        r#"executor = "db""#,
        "mode = \"enforce\"",
        "checkout-db.toml: executor: is missing: to enforce takes a name in [executors], which has commands, db",
    ),
    (
        r#"executor = "db""#,
        "executor = \"db\"\nhold = true",
        "checkout-db.toml:3: hold: isn't for a data base that migrates: nothing of it goes on by itself. Leave it out here, and say it of the services",
    ),
    ("to = 8", "to = 7", "checkout-db.toml:13: migration.to: expected more than migration.from, 7, found 7"),
    ("to = 8", "to = 0", "checkout-db.toml:13: migration.to: expected more than migration.from, 7, found 0"),
    ("from = 7", "from = -1", "checkout-db.toml:12: migration.from: expected 0 to 4294967295, found -1"),
    (
        "to = 8",
        "to = 4294967296",
        "checkout-db.toml:13: migration.to: expected 0 to 4294967295, found 4294967296",
    ),
    ("from = 7", "# from", "checkout-db.toml:11: migration: missing field `from`"),
    (
        r#"release = "2.2""#,
        r#"release = "2 2""#,
        r#"checkout-db.toml:14: migration.release: "2 2" is no version: expected 1 to 64 of A-Z, a-z, 0-9, and . - + _ after the first"#,
    ),
    (
        r#"release = "2.2""#,
        "release = 2.2",
        "checkout-db.toml:14: migration.release: invalid type: floating point `2.2`, expected a string",
    ),
    (
        r#"writer = "database""#,
        r#"writer = "trigger""#,
        "checkout-db.toml:15: migration.writer: unknown variant `trigger`, expected `database` or `application`",
    ),
    (
        r#"flag = "dual-write""#,
        r#"flag = "dual write""#,
        r#"checkout-db.toml:16: migration.flag: "dual write" is no name: expected 1 to 64 of a-z, 0-9 and -"#,
    ),
    (
        r#"soak = "24h""#,
        r#"soak = "30s""#,
        "checkout-db.toml:17: migration.soak: expected a span from 1m to 90d, found 30s",
    ),
    (
        r#"soak = "24h""#,
        r#"soak = "91d""#,
        "checkout-db.toml:17: migration.soak: expected a span from 1m to 90d, found 91d",
    ),
    (
        "[migration]",
        "[schema]\nversion = 7\n[migration]",
        "checkout-db.toml:11: schema: isn't for a data base that migrates: [migration] says which version there is",
    ),
    // One table is too many, whatever is in it.
    (
        "[migration]",
        "[schema]\nof = \"checkout-db\"\n[migration]",
        "checkout-db.toml:11: schema: isn't for a data base that migrates: [migration] says which version there is",
    ),
    (
        r#"prometheus = "main""#,
        "prometheus = \"main\"\nplaybooks = [{ name = \"restart\" }, { name = \"backfill\" }]",
        r#"checkout-db.toml:4: playbooks[1].name: "backfill" is a step of the migration: expected a playbook that mends"#,
    ),
];

/// In what targets share.
pub(super) const OF_WHAT_IS_SHARED: &[(&str, &str, &str)] = &[
    (
        r#"ca = "/etc/ssl/certs"#,
        r#"# "/etc/ssl/certs"#,
        "backstay.toml:41: page.ca: is missing: https takes the authorities that a certificate is checked against, as PEM",
    ),
    (
        r#"bundle = "/usr/share/backstay/policy-tree.bundle""#,
        "",
        "backstay.toml:3: policies.tree: missing field `bundle`",
    ),
    (
        "[policies.tree]",
        "[policies.Tree]",
        r#"backstay.toml:3: policies.Tree: "Tree" is no name: expected 1 to 64 of a-z, 0-9 and -"#,
    ),
    (
        r#"bundle = "/usr/share/backstay/executor-commands.bundle""#,
        "bundle = \"/b\"\nwindows = 3",
        "backstay.toml:10: executors.commands.windows: is for policies: what an executor does can't be done twice to compare",
    ),
    (
        r#"url = "https://metrics.example/prometheus""#,
        r#"url = "https://me:secret@metrics.example""#,
        r#"backstay.toml:15: prometheus.main.url: expected an address like https://host/path, without user, query or fragment, in at most 2048 bytes, found "https://...@metrics.example""#,
    ),
    (
        "X-Scope-OrgID = ",
        "Content-Length = ",
        r#"backstay.toml:17: prometheus.main.headers.Content-Length: expected the name of a header field, and none that the connection itself needs, found "Content-Length""#,
    ),
    (
        r#"timeout = "5s""#,
        r#"timeout = "2m""#,
        "backstay.toml:16: prometheus.main.timeout: expected a span from 100ms to 1m, found 2m",
    ),
    (
        r#"methods = ["GET", "POST"]"#,
        r#"methods = ["GET", "GET"]"#,
        "backstay.toml:25: endpoints.lb.methods: expected at least one, and none twice",
    ),
    (
        r#"methods = ["GET", "POST"]"#,
        r#"methods = ["get"]"#,
        "backstay.toml:25: endpoints.lb.methods[0]: unknown variant `get`, expected one of `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE`",
    ),
    (
        r#"paths = ["/stats", "/admin/server"]"#,
        "paths = []",
        "backstay.toml:26: endpoints.lb.paths: expected 1 to 64, found 0",
    ),
    (
        r#"paths = ["/stats","#,
        r#"paths = ["/../stats","#,
        r#"backstay.toml:26: endpoints.lb.paths: expected a path like "/stats" without dots alone, //, \, %, ;, ? and #, found "/../stats""#,
    ),
    (
        "response_bytes_max = 65536",
        "response_bytes_max = 0",
        "backstay.toml:27: endpoints.lb.response_bytes_max: expected 1 to 1048576, found 0",
    ),
    (
        "response_bytes_max = 65536",
        "json = true\nheaders = { Accept = \"text/html\", x-tenant = \"shop\" }",
        "backstay.toml:28: endpoints.lb.headers: Accept is said by json = true: leave it out",
    ),
    (
        r#"header = "authorization", scheme = "Basic" }"#,
        "header = \"Content-Type\" }\njson = true",
        "backstay.toml:28: endpoints.lb.credential.header: Content-Type is said by json = true: leave it out",
    ),
    (
        "response_bytes_max = 65536",
        r#"json = "yes""#,
        "backstay.toml:27: endpoints.lb.json: invalid type: string \"yes\", expected a boolean",
    ),
    (
        r#"env = "LB_PASSWORD""#,
        r#"env = "LB_PASSWORD", file = "/f""#,
        "backstay.toml:28: endpoints.lb.credential: expected exactly one of file, env and command",
    ),
    (
        r#"env = "LB_PASSWORD""#,
        r#"env = "LB_PASSWORD", keep = "1m""#,
        "backstay.toml:28: endpoints.lb.credential: keep is for a command: a file or a variable is read for each request",
    ),
    (
        r#"argv = ["/usr/bin/systemctl""#,
        r#"argv = ["systemctl""#,
        "backstay.toml:31: commands.restart.argv: expected 1 to 64 arguments, the first one the program's path from the root on",
    ),
    (
        "environment = { LANG",
        r#"environment = { "A=B""#,
        r#"backstay.toml:33: commands.restart.environment.A=B: expected the name of a variable: a letter or _, then letters, digits and _, found "A=B""#,
    ),
    (
        r#"dir = "/var"#,
        r#"dir = "var"#,
        r#"backstay.toml:34: commands.restart.dir: expected a path from the root on, like "/usr/bin/systemctl", found "var/lib/checkout""#,
    ),
    (
        r#"host = "10.0.0.5""#,
        r#"host = "-oProxyCommand=sh""#,
        r#"backstay.toml:39: commands.restart-remote.ssh.host: expected the name or the address of a host, found "-oProxyCommand=sh""#,
    ),
    (
        "port = 22",
        "port = 0",
        "backstay.toml:39: commands.restart-remote.ssh.port: expected 1 to 65535, found 0",
    ),
    (
        "per_domain_hour = 5",
        "per_domain_hour = 50",
        "backstay.toml:49: brakes.per_domain_hour: expected at most brakes.per_hour, 20, found 50",
    ),
    (
        r#"executor-commands.bundle""#,
        "executor-commands.bundle\"\n[executors.x]\nbundle = 1",
        "backstay.toml:11: executors.x.bundle: invalid type: integer `1`, expected path string",
    ),
    (
        "[executors.commands]",
        "[executor.commands]",
        r#"checkout.toml:7: executor: expected a name in [executors], which has db; found "commands""#,
    ),
];
