//! What a system answers that has nothing.
//!
//! No files, no arguments, no environment, no network; what is written goes nowhere; a clock that stands at its
//! beginning; random numbers that are the same in every call. To exit is to trap. Whatever nobody can have got hold of,
//! a file or a socket, traps when it is used.
//!
//! Here: which function of WASI 0.2 answers what, and the code of it. Not here: how it gets into a component (`stub`).

use wit_parser::{
    Function, Resolve, SizeAlign, Type, TypeDefKind, TypeId,
    abi::{AbiVariant, WasmSignature, WasmType},
};

/// The interfaces that are answered for. A version 0.2.N adds to the one before, and what it adds is not known here.
const INTERFACES: [&str; 27] = [
    "cli/environment",
    "cli/exit",
    "cli/stdin",
    "cli/stdout",
    "cli/stderr",
    "cli/terminal-input",
    "cli/terminal-output",
    "cli/terminal-stdin",
    "cli/terminal-stdout",
    "cli/terminal-stderr",
    "clocks/monotonic-clock",
    "clocks/wall-clock",
    "filesystem/preopens",
    "filesystem/types",
    "io/error",
    "io/poll",
    "io/streams",
    "random/insecure",
    "random/insecure-seed",
    "random/random",
    "sockets/instance-network",
    "sockets/ip-name-lookup",
    "sockets/network",
    "sockets/tcp",
    "sockets/tcp-create-socket",
    "sockets/udp",
    "sockets/udp-create-socket",
];

/// What a toolchain reads its sources by, while it builds. Later there is nothing to be read.
const LOADER: &str = "local:init/module-loader";

/// What nobody can have one of, because whatever makes one refuses to.
const NOT_TO_BE_HAD: [&str; 7] = [
    "descriptor",
    "directory-entry-stream",
    "incoming-datagram-stream",
    "outgoing-datagram-stream",
    "resolve-address-stream",
    "tcp-socket",
    "udp-socket",
];

/// How much may be written at once, in bytes. It goes nowhere, so any number will do.
const WRITTEN_AT_ONCE: i64 = 4096;
/// What random numbers begin with: the digits of pi. Each call of a plugin begins anew.
const SEED: [i64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];

/// Gives a resource back. There are none.
pub(super) const DROP: &str = "(param i32)";

/// Whether an import, as `wasi:io/streams@0.2.9`, is answered for here.
pub(super) fn knows(import: &str) -> bool {
    import == LOADER || interface(import).is_some_and(|name| INTERFACES.contains(&name))
}

fn interface(import: &str) -> Option<&str> {
    let (name, version) = import.strip_prefix("wasi:")?.split_once('@')?;
    version.starts_with("0.2.").then_some(name)
}

/// What a function answers.
enum Answer {
    Traps,
    /// Nothing, for it answers nothing.
    Nothing,
    /// A number, a yes or no, or something to hold: there is but one of each sort, so its number says nothing.
    Number(i64),
    /// A list or a text with nothing in it.
    Empty,
    /// Nothing where something could be.
    Absent,
    /// It went well.
    Well,
    /// It went well, and so many bytes may be written.
    Room,
    /// It did not go well: the case of its kind of error that has this name.
    Fails(&'static str),
    /// Seconds and nanoseconds.
    Moment(i64, i32),
    Seed,
    RandomNumber,
    RandomBytes,
    /// The first of what is waited for is ready.
    First,
}

fn answer(interface: &str, name: &str) -> Option<Answer> {
    use Answer::{
        Absent, Empty, Fails, First, Moment, Nothing, Number, RandomBytes, RandomNumber, Room, Seed, Traps,
        Well,
    };
    let resource = name.strip_prefix("[method]").and_then(|name| name.split_once('.')).map(|(of, _)| of);
    if resource.is_some_and(|of| NOT_TO_BE_HAD.contains(&of)) {
        return Some(Traps);
    }
    Some(match (interface, name) {
        ("cli/exit", "exit" | "exit-with-code") => Traps,
        ("cli/environment", "get-environment" | "get-arguments")
        | ("filesystem/preopens", "get-directories")
        | ("io/error", "[method]error.to-debug-string") => Empty,
        ("cli/environment", "initial-cwd")
        | ("cli/terminal-stdin", "get-terminal-stdin")
        | ("cli/terminal-stdout", "get-terminal-stdout")
        | ("cli/terminal-stderr", "get-terminal-stderr")
        | ("filesystem/types", "filesystem-error-code") => Absent,
        ("cli/stdin", "get-stdin")
        | ("cli/stdout", "get-stdout")
        | ("cli/stderr", "get-stderr")
        | ("clocks/monotonic-clock", "resolution" | "subscribe-instant" | "subscribe-duration")
        | ("io/poll", "[method]pollable.ready")
        | ("io/streams", "[method]input-stream.subscribe" | "[method]output-stream.subscribe")
        | ("sockets/instance-network", "instance-network") => Number(1),
        ("clocks/monotonic-clock", "now") => Number(0),
        ("clocks/wall-clock", "now") => Moment(0, 0),
        ("clocks/wall-clock", "resolution") => Moment(0, 1),
        ("io/poll", "[method]pollable.block") => Nothing,
        ("io/poll", "poll") => First,
        (
            "io/streams",
            "[method]input-stream.read"
            | "[method]input-stream.blocking-read"
            | "[method]input-stream.skip"
            | "[method]input-stream.blocking-skip"
            | "[method]output-stream.splice"
            | "[method]output-stream.blocking-splice",
        ) => Fails("closed"),
        ("io/streams", "[method]output-stream.check-write") => Room,
        (
            "io/streams",
            "[method]output-stream.write"
            | "[method]output-stream.blocking-write-and-flush"
            | "[method]output-stream.flush"
            | "[method]output-stream.blocking-flush"
            | "[method]output-stream.write-zeroes"
            | "[method]output-stream.blocking-write-zeroes-and-flush",
        ) => Well,
        ("random/random", "get-random-u64") | ("random/insecure", "get-insecure-random-u64") => RandomNumber,
        ("random/random", "get-random-bytes") | ("random/insecure", "get-insecure-random-bytes") => {
            RandomBytes
        }
        ("random/insecure-seed", "insecure-seed") => Seed,
        ("sockets/tcp-create-socket", "create-tcp-socket")
        | ("sockets/udp-create-socket", "create-udp-socket")
        | ("sockets/ip-name-lookup", "resolve-addresses") => Fails("access-denied"),
        _ => return None,
    })
}

/// The code of a function of the system, from its parameters on; `None` if there is no answer for it.
pub(super) fn function(resolve: &Resolve, import: &str, function: &Function) -> Option<String> {
    let answer = if import == LOADER { Answer::Traps } else { answer(interface(import)?, &function.name)? };
    let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
    let params: String =
        signature.params.iter().enumerate().map(|(n, ty)| format!("(param $p{n} {}) ", core(*ty))).collect();
    let results: String = signature.results.iter().map(|ty| format!("(result {}) ", core(*ty))).collect();
    let body = answer.body(resolve, function, &signature)?;
    Some(format!("{params}{results}{body}"))
}

/// A module of such functions, each exported under its number, that answers into its caller's memory.
pub(super) fn module(functions: &[String], memory: bool, realloc: bool) -> Result<Vec<u8>, wat::Error> {
    let mut text = String::from("(module\n");
    if memory {
        text.push_str("(import \"caller\" \"memory\" (memory 0))\n");
    }
    if realloc {
        text.push_str(
            "(import \"caller\" \"realloc\" (func $realloc (param i32 i32 i32 i32) (result i32)))\n",
        );
    }
    // SplitMix64: a counter, well stirred.
    text.push_str(&format!(
        "(global $seed (mut i64) (i64.const {}))
        (func $random (result i64) (local $n i64)
            (global.set $seed (i64.add (global.get $seed) (i64.const 0x9e3779b97f4a7c15)))
            (local.set $n (global.get $seed))
            (local.set $n (i64.mul (i64.xor (local.get $n) (i64.shr_u (local.get $n) (i64.const 30)))
                (i64.const 0xbf58476d1ce4e5b9)))
            (local.set $n (i64.mul (i64.xor (local.get $n) (i64.shr_u (local.get $n) (i64.const 27)))
                (i64.const 0x94d049bb133111eb)))
            (i64.xor (local.get $n) (i64.shr_u (local.get $n) (i64.const 31))))\n",
        SEED[0],
    ));
    for (n, function) in functions.iter().enumerate() {
        text.push_str(&format!("(func (export \"{n}\") {function})\n"));
    }
    text.push(')');
    wat::parse_str(text)
}

fn core(ty: WasmType) -> &'static str {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}

impl Answer {
    /// The code of it; `None` if the function's result is not of the sort that this answers.
    fn body(&self, resolve: &Resolve, function: &Function, signature: &WasmSignature) -> Option<String> {
        let direct = match signature.results.as_slice() {
            [] => None,
            [ty] => Some(core(*ty)),
            _ => return None,
        };
        // Where the answer goes if it is more than one number: the last parameter says it.
        let place = signature.retptr.then(|| format!("(local.get $p{})", signature.params.len() - 1));
        let put = |stores: &[(usize, String)]| {
            let place = place.as_ref()?;
            let one = |(at, store): &(usize, String)| {
                let (ty, value) = store.split_once(' ').unwrap_or_default();
                let wide = ty.split('.').next().unwrap_or_default();
                format!("({ty} offset={at} {place} ({wide}.const {value}))")
            };
            Some(stores.iter().map(one).collect::<Vec<_>>().join(" "))
        };
        let byte = |at: usize, value: usize| (at, format!("i32.store8 {value}"));
        let long = |at: usize, value: i64| (at, format!("i64.store {value}"));
        let word = |at: usize, value: i32| (at, format!("i32.store {value}"));
        match self {
            Self::Traps => Some("(unreachable)".into()),
            Self::Nothing => (direct.is_none() && place.is_none()).then(String::new),
            Self::Number(number) => direct.map(|ty| format!("({ty}.const {number})")),
            // An address that is none, in the form that a guest expects: not zero, and aligned.
            Self::Empty => put(&[word(0, 8), word(4, 0)]),
            Self::Absent | Self::Well => put(&[byte(0, 0)]),
            Self::Room => {
                let (payload, _) = result(resolve, function)?;
                put(&[byte(0, 0), long(payload, WRITTEN_AT_ONCE)])
            }
            Self::Fails(case) => {
                let (payload, error) = result(resolve, function)?;
                put(&[byte(0, 1), byte(payload, case_of(resolve, error?, case)?)])
            }
            Self::Moment(seconds, nanoseconds) => put(&[long(0, *seconds), word(8, *nanoseconds)]),
            Self::Seed => put(&[long(0, SEED[0]), long(8, SEED[1])]),
            Self::RandomNumber => (direct == Some("i64")).then(|| "(call $random)".into()),
            Self::RandomBytes => place.map(|place| {
                format!(
                    "(local $at i32) (local $end i32)
                    (local.set $at
                        (call $realloc (i32.const 0) (i32.const 0) (i32.const 1) (i32.wrap_i64 (local.get $p0))))
                    (i32.store {place} (local.get $at))
                    (i32.store offset=4 {place} (i32.wrap_i64 (local.get $p0)))
                    (local.set $end (i32.add (local.get $at) (i32.wrap_i64 (local.get $p0))))
                    (block $done (loop $next
                        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
                        (i32.store8 (local.get $at) (i32.wrap_i64 (call $random)))
                        (local.set $at (i32.add (local.get $at) (i32.const 1)))
                        (br $next)))"
                )
            }),
            Self::First => place.map(|place| {
                format!(
                    "(local $at i32)
                    (local.set $at (call $realloc (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 4)))
                    (i32.store (local.get $at) (i32.const 0))
                    (i32.store {place} (local.get $at))
                    (i32.store offset=4 {place} (i32.const 1))"
                )
            }),
        }
    }
}

/// Of a function that answers with a result: where in it the payload is, and the type of its error.
fn result(resolve: &Resolve, function: &Function) -> Option<(usize, Option<TypeId>)> {
    let id = type_id(function.result?)?;
    let TypeDefKind::Result(result) = &resolve.types[id].kind else { return None };
    let mut sizes = SizeAlign::default();
    sizes.fill(resolve).ok()?;
    let tag = wit_parser::Int::U8;
    let payload = sizes.payload_offset(tag, [result.ok.as_ref(), result.err.as_ref()]).size_wasm32();
    Some((payload, result.err.and_then(type_id)))
}

/// Which case of a variant or an enumeration has this name.
fn case_of(resolve: &Resolve, id: TypeId, name: &str) -> Option<usize> {
    match &resolve.types[id].kind {
        TypeDefKind::Variant(variant) => variant.cases.iter().position(|case| case.name == name),
        TypeDefKind::Enum(all) => all.cases.iter().position(|case| case.name == name),
        TypeDefKind::Type(Type::Id(id)) => case_of(resolve, *id, name),
        _ => None,
    }
}

fn type_id(ty: Type) -> Option<TypeId> {
    match ty {
        Type::Id(id) => Some(id),
        _ => None,
    }
}
