//! Taking from a process whatever it doesn't need to answer questions.
//!
//! After [`confine`] it can read and write one descriptor, get and give back memory, wait, and end. It can't open a file, a
//! socket or a process, send a signal, or make memory executable. Whoever tries is ended by the kernel, at once. Not here:
//! what the process does.

use std::{collections::BTreeMap, error, fmt, io};

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

/// Address space, in bytes: the program, 16 memories of 16 MiB each, stacks, and room. It is what there may be, not what
/// is used.
const ADDRESSES: u64 = 1 << 30;

/// Processor time over the life of a worker, in seconds. It is replaced long before.
pub(super) const CPU_SECS: u64 = 600;

/// The one descriptor.
const LINE: u64 = 0;

/// Something that could not be taken away.
#[derive(Debug)]
pub(super) struct ConfineError {
    what: &'static str,
    source: Box<dyn error::Error + Send + Sync>,
}

impl fmt::Display for ConfineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot take {} from the worker", self.what)
    }
}

impl error::Error for ConfineError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}

fn failed<E: Into<Box<dyn error::Error + Send + Sync>>>(
    what: &'static str,
) -> impl FnOnce(E) -> ConfineError {
    move |source| ConfineError { what, source: source.into() }
}

/// The first half, before anything is read: descriptors, capabilities, and limits.
///
/// # Errors
/// Names what could not be taken away.
pub(super) fn limit() -> Result<(), ConfineError> {
    close_all_but_three()?;
    drop_capabilities()?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("being looked into"))?;
    for (what, resource, most) in [
        ("address space", Resource::As, ADDRESSES),
        ("processor time", Resource::Cpu, CPU_SECS),
        ("descriptors", Resource::Nofile, 3),
        ("core dumps", Resource::Core, 0),
        ("files", Resource::Fsize, 0),
    ] {
        // Less than that may be allowed already; more than that can't be asked for.
        let least = |has: Option<u64>| Some(has.map_or(most, |has| has.min(most)));
        let now = getrlimit(resource);
        let limit = Rlimit { current: least(now.current), maximum: least(now.maximum) };
        setrlimit(resource, limit).map_err(failed(what))?;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "descriptors that nobody here has opened are nobody's to lose")]
fn close_all_but_three() -> Result<(), ConfineError> {
    // SAFETY: nothing in this process owns a descriptor above 2 yet: the worker calls this before anything else.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    if closed == 0 { Ok(()) } else { Err(failed("descriptors")(io::Error::last_os_error())) }
}

/// What the superuser may and others may not, for the case that the server runs as one.
#[expect(
    unsafe_code,
    reason = "there is no safe call for it without a further feature of a crate that all share"
)]
fn drop_capabilities() -> Result<(), ConfineError> {
    #[repr(C)]
    struct Header {
        version: u32,
        process: i32,
    }
    /// capset(2), _LINUX_CAPABILITY_VERSION_3: effective, permitted and inheritable, 32 bits of each at a time.
    const VERSION: u32 = 0x2008_0522;
    let header = Header { version: VERSION, process: 0 };
    let none = [[0_u32; 3]; 2];
    // SAFETY: both are of the form that this version of the call takes, and are only read.
    let dropped = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    if dropped == 0 { Ok(()) } else { Err(failed("capabilities")(io::Error::last_os_error())) }
}

/// The second half, once the code is loaded: new privileges and system calls, for all threads.
///
/// # Errors
/// If the kernel can't, or this machine isn't one that it is known for.
pub(super) fn confine() -> Result<(), ConfineError> {
    let what = "system calls";
    let program: BpfProgram = filter().map_err(failed(what))?;
    apply_filter_all_threads(&program).map_err(failed(what))
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in [
        // Memory.
        libc::SYS_munmap,
        libc::SYS_madvise,
        libc::SYS_mremap,
        libc::SYS_brk,
        // Waiting for a lock or for time, and the time itself, where it isn't had without a call.
        libc::SYS_futex,
        libc::SYS_clock_gettime,
        libc::SYS_sched_yield,
        libc::SYS_restart_syscall,
        // A trap of a guest is a signal, on a stack of its own.
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigprocmask,
        libc::SYS_sigaltstack,
        // Seeds of hash maps.
        libc::SYS_getrandom,
        // The end.
        libc::SYS_exit,
        libc::SYS_exit_group,
    ] {
        rules.insert(call, Vec::new());
    }
    // Memory, but none that could be run: the code is there already.
    let executable = libc::PROT_EXEC as u64;
    let not_executable =
        SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(executable), 0)?;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![SeccompRule::new(vec![not_executable.clone()])?]);
    }
    let of_the_line = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, LINE)?;
    for call in [libc::SYS_read, libc::SYS_write] {
        rules.insert(call, vec![SeccompRule::new(vec![of_the_line.clone()])?]);
    }
    let machine = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, machine)?.try_into()
}
