//! Calls of the system as `strace` tells them, line by line, and what each did to the files in a folder.
//!
//! Where two threads are in calls at once, a call counts when it ended, and a sync that others wrote through counts as none.
//! A way to change a file that isn't understood here (a writable mapping, a write through a pipe) is an error, never left
//! out.
//!
//! Not here: which calls are told (`recorded`).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::disk::{Did, Disk, Kind, ROOT};

pub(super) fn clip(line: &str) -> &str {
    line.get(..200).unwrap_or(line)
}

/// An open file or folder.
#[derive(Clone, Copy, Debug)]
struct Open {
    what: usize,
    at: usize,
    appends: bool,
}

/// A process, or several that share what they have open.
type Table = HashMap<i64, usize>;

pub(super) struct Reader {
    disk: Disk,
    root: PathBuf,
    did: Vec<Did>,
    /// What is open, shared by all descriptors that came from one opening.
    opens: Vec<Open>,
    tables: Vec<Table>,
    /// Which table a thread uses.
    threads: HashMap<String, usize>,
    /// Calls that have begun: their text so far, and how many calls had ended then.
    begun: HashMap<String, (String, usize)>,
    /// Threads and processes that are being made: whose they are, and whether they share what is open.
    making: Vec<(String, bool)>,
}

type Read<T> = Result<T, String>;

impl Reader {
    pub(super) fn new(disk: Disk, root: &Path) -> Self {
        Self {
            disk,
            root: root.to_owned(),
            did: Vec::new(),
            opens: Vec::new(),
            tables: vec![Table::new()],
            threads: HashMap::new(),
            begun: HashMap::new(),
            making: Vec::new(),
        }
    }

    /// Reads the next line.
    pub(super) fn line(&mut self, line: &str) -> Read<()> {
        let (thread, rest) = line.split_once(' ').ok_or("a line without a thread")?;
        let rest = rest.trim_start();
        if rest.starts_with("---") || rest.starts_with("+++") {
            return Ok(());
        }
        if !self.threads.contains_key(thread) {
            let table = match self.making.pop() {
                Some((parent, shares)) => {
                    let of = *self.threads.get(&parent).unwrap_or(&0);
                    if shares { of } else { self.copied(of) }
                }
                None => 0,
            };
            self.threads.insert(thread.to_owned(), table);
        }
        if let Some(start) = rest.strip_suffix(" <unfinished ...>") {
            self.makes(thread, start);
            self.begun.insert(thread.to_owned(), (start.to_owned(), self.did.len()));
            return Ok(());
        }
        let (call, since) = match rest.strip_prefix("<... ") {
            Some(resumed) => {
                let (_, end) = resumed.split_once(" resumed>").ok_or("a call that goes on without a name")?;
                let (start, since) =
                    self.begun.remove(thread).ok_or("a call that goes on and never began")?;
                (format!("{start}{end}"), since)
            }
            None => {
                self.makes(thread, rest);
                (rest.to_owned(), self.did.len())
            }
        };
        let (name, rest) = call.split_once('(').ok_or("no call")?;
        let (args, returned) = match rest.rsplit_once(") = ") {
            Some((args, returned)) => (args, returned),
            // strace fills up short lines.
            None => {
                let (args, returned) = rest.rsplit_once(" = ").ok_or("a call without an end")?;
                (args.trim_end().strip_suffix(')').ok_or("a call without an end")?, returned)
            }
        };
        let returned = returned.split_whitespace().next().unwrap_or("?");
        if returned == "?" || returned.starts_with("-1") {
            self.making.retain(|(parent, _)| parent != thread);
            return Ok(());
        }
        let returned = match returned.strip_prefix("0x") {
            Some(_) => 0,
            None => returned.parse::<i64>().map_err(|_| format!("{returned} was returned"))?,
        };
        let table = self.threads[thread];
        self.call(thread, table, name, &split(args), returned, since)
    }

    /// What was done.
    pub(super) fn did(self) -> Vec<Did> {
        self.did
    }

    /// A new thread may act before the call that made it ends.
    fn makes(&mut self, thread: &str, call: &str) {
        if ["clone(", "clone3(", "fork(", "vfork("].iter().any(|name| call.starts_with(name)) {
            self.making.push((thread.to_owned(), call.contains("CLONE_FILES")));
        }
    }

    fn copied(&mut self, table: usize) -> usize {
        let copy = self.tables[table].clone();
        self.tables.push(copy);
        self.tables.len() - 1
    }

    fn call(
        &mut self,
        thread: &str,
        table: usize,
        name: &str,
        args: &[&str],
        returned: i64,
        since: usize,
    ) -> Read<()> {
        let arg = |at: usize| args.get(at).copied().unwrap_or_default();
        let fd = |at: usize| arg(at).parse::<i64>().unwrap_or(-1);
        let count = usize::try_from(returned).unwrap_or(0);
        match name {
            "clone" | "clone3" | "fork" | "vfork" => {
                // It was not seen before this ended.
                let (child, mine) = (returned.to_string(), |(parent, _): &(String, bool)| parent == thread);
                if let Some(at) = self.making.iter().position(mine) {
                    let (_, shares) = self.making.remove(at);
                    if !self.threads.contains_key(&child) {
                        let of = if shares { table } else { self.copied(table) };
                        self.threads.insert(child, of);
                    }
                }
            }
            "openat" => self.opens_file(table, arg(0), arg(1), arg(2), returned)?,
            "open" => self.opens_file(table, "AT_FDCWD", arg(0), arg(1), returned)?,
            "creat" => self.opens_file(table, "AT_FDCWD", arg(0), "O_CREAT|O_TRUNC", returned)?,
            "close" => drop(self.tables[table].remove(&fd(0))),
            "dup" | "dup2" | "dup3" => self.doubles(table, fd(0), returned),
            "fcntl" if arg(1).starts_with("F_DUPFD") => self.doubles(table, fd(0), returned),
            "lseek" => {
                if let Some(open) = self.open_mut(table, fd(0)) {
                    open.at = count;
                }
            }
            "read" => {
                if let Some(open) = self.open_mut(table, fd(0)) {
                    open.at += count;
                }
            }
            "write" if fd(0) == 1 && !self.tables[table].contains_key(&1) => {
                let bytes = text(arg(1))?;
                self.did.push(Did::Says(String::from_utf8_lossy(&bytes).trim_end().to_owned()));
            }
            "write" => {
                if let Some(Open { what, at, appends }) = self.open(table, fd(0)) {
                    let at = if appends { self.disk.length(what) } else { at };
                    self.writes(what, at, arg(1), count)?;
                    self.open_mut(table, fd(0)).ok_or("it was open")?.at = at + count;
                }
            }
            "pwrite64" => {
                if let Some(Open { what, .. }) = self.open(table, fd(0)) {
                    let at = arg(3).parse().map_err(|_| "no offset")?;
                    self.writes(what, at, arg(1), count)?;
                }
            }
            "ftruncate" => {
                if let Some(Open { what, .. }) = self.open(table, fd(0)) {
                    let bytes = arg(1).parse().map_err(|_| "no length")?;
                    self.does(Did::Cuts { file: what, bytes });
                }
            }
            "fallocate" => {
                if let Some(Open { what, .. }) = self.open(table, fd(0)) {
                    let end = |at: usize| arg(at).parse::<usize>().map_err(|_| "no length");
                    match (arg(1), end(2)? + end(3)?) {
                        ("0", bytes) if bytes > self.disk.length(what) => {
                            self.does(Did::Cuts { file: what, bytes })
                        }
                        ("0" | "FALLOC_FL_KEEP_SIZE", _) => {}
                        _ => return Err("a way to change a file that isn't understood here".into()),
                    }
                }
            }
            "rename" => self.renames(table, ("AT_FDCWD", arg(0)), ("AT_FDCWD", arg(1)))?,
            "renameat" | "renameat2" => self.renames(table, (arg(0), arg(1)), (arg(2), arg(3)))?,
            "unlink" | "rmdir" => self.removes(table, "AT_FDCWD", arg(0))?,
            "unlinkat" => self.removes(table, arg(0), arg(1))?,
            "mkdir" => self.makes_named(table, "AT_FDCWD", arg(0), Kind::Folder)?,
            "mkdirat" => self.makes_named(table, arg(0), arg(1), Kind::Folder)?,
            "symlink" => self.makes_named(table, "AT_FDCWD", arg(1), Kind::Link(words(arg(0))?))?,
            "symlinkat" => self.makes_named(table, arg(1), arg(2), Kind::Link(words(arg(0))?))?,
            "link" => self.links(table, ("AT_FDCWD", arg(0)), ("AT_FDCWD", arg(1)))?,
            "linkat" => self.links(table, (arg(0), arg(1)), (arg(2), arg(3)))?,
            "fsync" | "fdatasync" => {
                if let Some(Open { what, .. }) = self.open(table, fd(0)) {
                    // What was written while it was under way isn't known to be durable, so nothing of it counts.
                    if !self.did[since..].iter().any(|did| touches(did, what)) {
                        self.does(Did::Syncs { what });
                    }
                }
            }
            "copy_file_range" => {
                if let Some(Open { what: to, at, .. }) = self.open(table, fd(2)) {
                    let from = self.open(table, fd(0)).ok_or("a copy from outside")?;
                    if arg(1) != "NULL" || arg(3) != "NULL" {
                        return Err("a copy with offsets".into());
                    }
                    let bytes = self.disk.bytes(from.what)[from.at..from.at + count].to_vec();
                    self.does(Did::Writes { file: to, at, bytes });
                    self.open_mut(table, fd(0)).ok_or("it was open")?.at += count;
                    self.open_mut(table, fd(2)).ok_or("it was open")?.at += count;
                }
            }
            "mmap" => {
                let writable = arg(2).contains("PROT_WRITE") && arg(3).contains("MAP_SHARED");
                if writable && self.open(table, fd(4)).is_some() {
                    return Err("a mapping that may be written to".into());
                }
            }
            "sync" | "syncfs" => return Err("a sync of everything".into()),
            "writev" | "pwritev" | "pwritev2" | "sendfile" | "splice" => {
                let into = if name == "splice" { fd(2) } else { fd(0) };
                if self.open(table, into).is_some() {
                    return Err("a way to write that isn't understood here".into());
                }
            }
            "truncate" => {
                if self.place(table, "AT_FDCWD", arg(0))?.is_some() {
                    return Err("a length that is set by name".into());
                }
            }
            // Only paths from the root are followed here.
            "chdir" | "execve" | "fcntl" => {}
            _ => return Err(format!("a call named {name}")),
        }
        Ok(())
    }

    fn does(&mut self, did: Did) {
        self.disk.does(&did);
        self.did.push(did);
    }

    fn open(&self, table: usize, fd: i64) -> Option<Open> {
        self.tables[table].get(&fd).map(|at| self.opens[*at])
    }

    fn open_mut(&mut self, table: usize, fd: i64) -> Option<&mut Open> {
        let at = *self.tables[table].get(&fd)?;
        self.opens.get_mut(at)
    }

    fn doubles(&mut self, table: usize, fd: i64, new: i64) {
        match self.tables[table].get(&fd).copied() {
            Some(open) => self.tables[table].insert(new, open),
            None => self.tables[table].remove(&new),
        };
    }

    fn writes(&mut self, file: usize, at: usize, told: &str, count: usize) -> Read<()> {
        let mut bytes = text(told)?;
        if bytes.len() < count {
            return Err(format!("{} of {count} bytes were told", bytes.len()));
        }
        bytes.truncate(count);
        self.does(Did::Writes { file, at, bytes });
        Ok(())
    }

    fn opens_file(&mut self, table: usize, base: &str, path: &str, flags: &str, fd: i64) -> Read<()> {
        // Whatever had the number before is closed by now.
        self.tables[table].remove(&fd);
        let Some((folder, name)) = self.place(table, base, path)? else { return Ok(()) };
        let there = if name.is_empty() { Some(folder) } else { self.disk.named(folder, &name) };
        let what = match there {
            Some(what) => {
                if let Some(target) = self.disk.leads_to(what).map(str::to_owned) {
                    self.disk.named(folder, &target).ok_or("a link that leads elsewhere")?
                } else {
                    what
                }
            }
            None if flags.contains("O_CREAT") => {
                let what = self.disk.next();
                self.does(Did::Makes { folder, name, what: Kind::File });
                what
            }
            None => return Err("something was opened that isn't known".into()),
        };
        if flags.contains("O_TRUNC") && self.disk.length(what) > 0 {
            self.does(Did::Cuts { file: what, bytes: 0 });
        }
        self.opens.push(Open { what, at: 0, appends: flags.contains("O_APPEND") });
        self.tables[table].insert(fd, self.opens.len() - 1);
        Ok(())
    }

    /// The folder and the name that a path means; none where it is elsewhere. The name is empty for the folder itself.
    fn place(&self, table: usize, base: &str, path: &str) -> Read<Option<(usize, String)>> {
        let path = PathBuf::from(words(path)?);
        let (mut folder, below) = if path.is_absolute() {
            let Ok(below) = path.strip_prefix(&self.root) else { return Ok(None) };
            (ROOT, below.to_owned())
        } else {
            let base = base.parse::<i64>().ok().and_then(|base| self.open(table, base));
            let Some(Open { what, .. }) = base else { return Ok(None) };
            (what, path)
        };
        let mut parts: Vec<String> =
            below.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
        let name = parts.pop().unwrap_or_default();
        for part in parts {
            let next = self.disk.named(folder, &part).ok_or_else(|| format!("{part} isn't known"))?;
            folder = match self.disk.leads_to(next) {
                Some(target) => self.disk.named(folder, target).ok_or("a link that leads elsewhere")?,
                None => next,
            };
        }
        Ok(Some((folder, name)))
    }

    fn renames(&mut self, table: usize, from: (&str, &str), to: (&str, &str)) -> Read<()> {
        match (self.place(table, from.0, from.1)?, self.place(table, to.0, to.1)?) {
            (None, None) => {}
            (Some(from), Some(to)) => self.does(Did::Renames { from, to }),
            _ => return Err("something was moved in or out".into()),
        }
        Ok(())
    }

    fn removes(&mut self, table: usize, base: &str, path: &str) -> Read<()> {
        if let Some((folder, name)) = self.place(table, base, path)? {
            self.does(Did::Removes { folder, name });
        }
        Ok(())
    }

    fn makes_named(&mut self, table: usize, base: &str, path: &str, what: Kind) -> Read<()> {
        if let Some((folder, name)) = self.place(table, base, path)? {
            self.does(Did::Makes { folder, name, what });
        }
        Ok(())
    }

    fn links(&mut self, table: usize, from: (&str, &str), to: (&str, &str)) -> Read<()> {
        let Some((folder, name)) = self.place(table, to.0, to.1)? else { return Ok(()) };
        let (from, old) = self.place(table, from.0, from.1)?.ok_or("a link from outside")?;
        let file = self.disk.named(from, &old).ok_or("a link to what isn't known")?;
        self.does(Did::Links { file, folder, name });
        Ok(())
    }
}

fn touches(did: &Did, what: usize) -> bool {
    match did {
        Did::Writes { file, .. } | Did::Cuts { file, .. } => *file == what,
        Did::Makes { folder, .. } | Did::Links { folder, .. } | Did::Removes { folder, .. } => {
            *folder == what
        }
        Did::Renames { from, to } => from.0 == what || to.0 == what,
        Did::Syncs { .. } | Did::Says(_) => false,
    }
}

/// The arguments of a call. Texts are in hexadecimal digits, so no sign in them means anything.
fn split(args: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, sign) in args.bytes().enumerate() {
        match sign {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(args[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(args[from..].trim());
    parts
}

fn text(told: &str) -> Read<Vec<u8>> {
    let digits = told.strip_prefix('"').and_then(|told| told.strip_suffix('"'));
    let digits = digits.ok_or_else(|| format!("no whole text: {}", clip(told)))?.as_bytes();
    let digit = |at: usize| char::from(digits[at]).to_digit(16).map(|digit| digit as u8);
    let byte = |at: usize| Some(digit(at + 2)? << 4 | digit(at + 3)?);
    let bytes = (0..digits.len()).step_by(4).map(|at| if at + 4 <= digits.len() { byte(at) } else { None });
    bytes.collect::<Option<Vec<u8>>>().ok_or_else(|| format!("no digits: {}", clip(told)))
}

fn words(told: &str) -> Read<String> {
    String::from_utf8(text(told)?).map_err(|_| "a path that is no text".into())
}
