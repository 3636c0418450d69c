//! Guests as lists of steps: each is a call of preview 1, and says what came of it.

use std::fmt::Write as _;

/// Where the host writes the descriptor, or the count, that a call returns.
pub(super) const RETURNED: &str = "(i32.load (i32.const 8))";

/// Where a guest has room for what it reads and writes: one MiB and above.
pub(super) const BUFFER: u32 = 1 << 20;

/// How large that room is.
pub(super) const BUFFER_SIZE: u32 = 1 << 20;

/// Where texts are.
const TEXTS: usize = 4096;

pub(super) const READ: u64 = 1 << 1;
pub(super) const WRITE: u64 = 1 << 6;

pub(super) const CREATE: u32 = 1;
pub(super) const DIRECTORY: u32 = 2;
pub(super) const EXCLUSIVE: u32 = 4;
pub(super) const TRUNCATE: u32 = 8;

/// Flags of a descriptor.
pub(super) const APPEND: u32 = 1;
pub(super) const DATA_SYNC: u32 = 2;
pub(super) const NONBLOCK: u32 = 4;

/// The calls of preview 1, with their parameters; each returns an errno.
const CALLS: &[(&str, &str)] = &[
    ("args_get", "i32 i32"),
    ("args_sizes_get", "i32 i32"),
    ("clock_res_get", "i32 i32"),
    ("clock_time_get", "i32 i64 i32"),
    ("environ_get", "i32 i32"),
    ("environ_sizes_get", "i32 i32"),
    ("fd_allocate", "i32 i64 i64"),
    ("fd_close", "i32"),
    ("fd_fdstat_get", "i32 i32"),
    ("fd_fdstat_set_flags", "i32 i32"),
    ("fd_filestat_get", "i32 i32"),
    ("fd_filestat_set_size", "i32 i64"),
    ("fd_filestat_set_times", "i32 i64 i64 i32"),
    ("fd_pread", "i32 i32 i32 i64 i32"),
    ("fd_prestat_dir_name", "i32 i32 i32"),
    ("fd_prestat_get", "i32 i32"),
    ("fd_pwrite", "i32 i32 i32 i64 i32"),
    ("fd_read", "i32 i32 i32 i32"),
    ("fd_readdir", "i32 i32 i32 i64 i32"),
    ("fd_renumber", "i32 i32"),
    ("fd_seek", "i32 i64 i32 i32"),
    ("fd_write", "i32 i32 i32 i32"),
    ("path_create_directory", "i32 i32 i32"),
    ("path_filestat_get", "i32 i32 i32 i32 i32"),
    ("path_filestat_set_times", "i32 i32 i32 i32 i64 i64 i32"),
    ("path_link", "i32 i32 i32 i32 i32 i32 i32"),
    ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
    ("path_readlink", "i32 i32 i32 i32 i32 i32"),
    ("path_remove_directory", "i32 i32 i32"),
    ("path_rename", "i32 i32 i32 i32 i32 i32"),
    ("path_symlink", "i32 i32 i32 i32 i32"),
    ("path_unlink_file", "i32 i32 i32"),
    ("poll_oneoff", "i32 i32 i32 i32"),
    ("random_get", "i32 i32"),
];

/// Prints `LABEL NUMBER` and a line's end.
const SAY: &str = "
  (func $print (param $at i32) (param $size i32)
    (i32.store (i32.const 16) (local.get $at))
    (i32.store (i32.const 20) (local.get $size))
    (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24))))
  (func $say (param $at i32) (param $size i32) (param $value i32) (local $end i32)
    (local.set $end (i32.const 120))
    (i32.store8 (local.get $end) (i32.const 10))
    (loop $digit
      (local.set $end (i32.sub (local.get $end) (i32.const 1)))
      (i32.store8 (local.get $end)
        (i32.add (i32.const 48) (i32.rem_u (local.get $value) (i32.const 10))))
      (local.set $value (i32.div_u (local.get $value) (i32.const 10)))
      (br_if $digit (local.get $value)))
    (local.set $end (i32.sub (local.get $end) (i32.const 1)))
    (i32.store8 (local.get $end) (i32.const 32))
    (call $print (local.get $at) (local.get $size))
    (call $print (local.get $end) (i32.sub (i32.const 121) (local.get $end))))";

/// A guest that goes from step to step, whatever comes of each.
pub(super) struct Guest {
    texts: Vec<u8>,
    code: String,
    pages: u32,
}

impl Guest {
    pub(super) fn new() -> Self {
        Self { texts: Vec::new(), code: String::new(), pages: (BUFFER + BUFFER_SIZE) >> 16 }
    }

    /// Gives it that many pages of memory.
    pub(super) fn pages(mut self, pages: u32) -> Self {
        self.pages = pages;
        self
    }

    /// A text of the guest: its address and its size, as two operands.
    pub(super) fn text(&mut self, text: impl AsRef<[u8]>) -> String {
        let (at, size) = (TEXTS + self.texts.len(), text.as_ref().len());
        self.texts.extend_from_slice(text.as_ref());
        format!("(i32.const {at}) (i32.const {size})")
    }

    /// Instructions, in the text form. There are locals `$a`, `$b`, `$i` and `$n`, and `$w` for 64
    /// bits.
    pub(super) fn code(mut self, code: impl AsRef<str>) -> Self {
        self.code.push_str(code.as_ref());
        self.code.push('\n');
        self
    }

    /// Says the number that `code` leaves.
    pub(super) fn say(mut self, label: &str, code: impl AsRef<str>) -> Self {
        let label = self.text(label);
        writeln!(self.code, "(call $say {label} {})", code.as_ref()).unwrap();
        self
    }

    /// Calls a function of preview 1 and says its errno.
    pub(super) fn call(self, label: &str, name: &str, operands: impl AsRef<str>) -> Self {
        let code = format!("(call ${name} {})", operands.as_ref());
        self.say(label, code)
    }

    /// Opens a path below a descriptor, following a symbolic link at its end, and says the errno.
    pub(super) fn open(self, fd: u32, path: &str, oflags: u32, rights: u64) -> Self {
        let fd = format!("(i32.const {fd})");
        self.open_as(&format!("open {path}"), &fd, path, oflags, rights, 0)
    }

    /// The same, with a label, flags of the descriptor, and a base that an instruction names.
    pub(super) fn open_as(
        mut self,
        label: &str,
        fd: &str,
        path: &str,
        oflags: u32,
        rights: u64,
        flags: u32,
    ) -> Self {
        let text = self.text(path);
        self.call(
            label,
            "path_open",
            format!(
                "{fd} (i32.const 1) {text} (i32.const {oflags}) (i64.const {rights}) (i64.const 0) \
                 (i32.const {flags}) (i32.const 8)"
            ),
        )
    }

    /// Opens a path for reading, and prints what it holds where that works.
    pub(super) fn read(mut self, fd: u32, path: &str) -> Self {
        let end = self.text("\n");
        let size = BUFFER_SIZE;
        self.code("(i32.store (i32.const 8) (i32.const 99))").open(fd, path, 0, READ).code(format!(
            "(i32.store (i32.const 32) (i32.const {BUFFER}))
                (i32.store (i32.const 36) (i32.const {size}))
                (if (i32.eqz (call $fd_read {RETURNED} (i32.const 32) (i32.const 1) (i32.const 40)))
                  (then (call $print (i32.const {BUFFER}) (i32.load (i32.const 40))) (call $print {end})))
                (drop (call $fd_close {RETURNED}))"
        ))
    }

    /// A call that takes a descriptor and a path.
    pub(super) fn path(mut self, name: &str, fd: u32, path: &str, more: &str) -> Self {
        let text = self.text(path);
        let short = name.trim_start_matches("path_");
        self.call(&format!("{short} {path}"), name, format!("(i32.const {fd}) {text} {more}"))
    }

    /// Metadata of a path, following a symbolic link at its end or not.
    pub(super) fn stat(mut self, fd: u32, path: &str, follow: bool) -> Self {
        let (text, follow) = (self.text(path), u32::from(follow));
        let operands = format!("(i32.const {fd}) (i32.const {follow}) {text} (i32.const {BUFFER})");
        self.call(&format!("stat {path}"), "path_filestat_get", operands)
    }

    /// Sets the times of a path to now.
    pub(super) fn touch(mut self, fd: u32, path: &str) -> Self {
        let text = self.text(path);
        let operands = format!(
            "(i32.const {fd}) (i32.const 1) {text} (i64.const 0) (i64.const 0) (i32.const 10)"
        );
        self.call(&format!("touch {path}"), "path_filestat_set_times", operands)
    }

    pub(super) fn rename(mut self, from: (u32, &str), to: (u32, &str)) -> Self {
        let (old, new) = (self.text(from.1), self.text(to.1));
        let operands = format!("(i32.const {}) {old} (i32.const {}) {new}", from.0, to.0);
        self.call(&format!("rename {} {}", from.1, to.1), "path_rename", operands)
    }

    pub(super) fn link(mut self, from: (u32, &str), to: (u32, &str)) -> Self {
        let (old, new) = (self.text(from.1), self.text(to.1));
        let operands =
            format!("(i32.const {}) (i32.const 0) {old} (i32.const {}) {new}", from.0, to.0);
        self.call(&format!("link {} {}", from.1, to.1), "path_link", operands)
    }

    pub(super) fn symlink(mut self, target: &str, fd: u32, path: &str) -> Self {
        let (target_text, text) = (self.text(target), self.text(path));
        let operands = format!("{target_text} (i32.const {fd}) {text}");
        self.call(&format!("symlink {target} {path}"), "path_symlink", operands)
    }

    pub(super) fn readlink(self, fd: u32, path: &str) -> Self {
        let more = format!("(i32.const {BUFFER}) (i32.const {BUFFER_SIZE}) (i32.const 8)");
        self.path("path_readlink", fd, path, &more)
    }

    /// Lists a directory that is open into the buffer.
    pub(super) fn list(self, fd: &str) -> Self {
        self.call(
            "list",
            "fd_readdir",
            format!(
                "{fd} (i32.const {BUFFER}) (i32.const {BUFFER_SIZE}) (i64.const 0) (i32.const 8)"
            ),
        )
    }

    /// Prints a part of memory, and ends the line.
    pub(super) fn print(mut self, at: u32, size: &str) -> Self {
        let end = self.text("\n");
        self.code(format!("(call $print (i32.const {at}) {size}) (call $print {end})"))
    }

    /// Ends with 1, so that the caller is told of what was denied.
    pub(super) fn fail(self) -> Self {
        self.code("(call $proc_exit (i32.const 1))")
    }

    /// Asks the guest for these instructions `count` times, with `$i` from zero; they leave by `$done`.
    pub(super) fn times(self, count: u32, code: impl AsRef<str>) -> Self {
        self.code(format!(
            "(local.set $i (i32.const 0))
            (block $done (loop $again
              {}
              (local.set $i (i32.add (local.get $i) (i32.const 1)))
              (br_if $again (i32.lt_u (local.get $i) (i32.const {count})))))",
            code.as_ref()
        ))
    }

    /// The module, in the text form.
    pub(super) fn wat(&self) -> String {
        let Self { texts, code, pages } = self;
        let mut imports = String::new();
        for (name, params) in CALLS {
            writeln!(
                imports,
                "  (import \"wasi_snapshot_preview1\" \"{name}\" (func ${name} (param {params}) \
                 (result i32)))"
            )
            .unwrap();
        }
        let mut data = String::new();
        for byte in texts {
            write!(data, "\\{byte:02x}").unwrap();
        }
        let start = "(local $a i32) (local $b i32) (local $i i32) (local $n i32) (local $w i64)";
        format!(
            "(module\n{imports}
  (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $proc_exit (param i32)))
  (memory (export \"memory\") {pages})
  (data (i32.const {TEXTS}) \"{data}\"){SAY}
  (func (export \"_start\") {start}\n{code})\n)"
        )
    }
}

/// The names of the errnos that the tests meet.
pub(super) fn errno(number: u32) -> &'static str {
    match number {
        0 => "ok",
        2 => "acces",
        6 => "again",
        8 => "badf",
        10 => "busy",
        20 => "exist",
        21 => "fault",
        22 => "fbig",
        25 => "ilseq",
        27 => "intr",
        28 => "inval",
        29 => "io",
        31 => "isdir",
        32 => "loop",
        33 => "mfile",
        37 => "nametoolong",
        44 => "noent",
        48 => "nomem",
        51 => "nospc",
        54 => "notdir",
        55 => "notempty",
        58 => "notsup",
        60 => "nxio",
        61 => "overflow",
        63 => "perm",
        64 => "pipe",
        69 => "rofs",
        70 => "spipe",
        75 => "xdev",
        76 => "notcapable",
        _ => "other",
    }
}
