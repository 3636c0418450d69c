//! Guests of a few lines, for tests that look at one thing.

pub(crate) const SPIN: &str = r#"(module (func (export "_start") (loop $l (br $l))))"#;

/// Sleeps for as many milliseconds as its first argument has bytes, times a hundred.
pub(crate) const SLEEP: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (drop (call $sizes (i32.const 400) (i32.const 404)))
    (i32.store (i32.const 16) (i32.const 1))
    ;; The text of `guest` and its argument, each with a NUL.
    (i64.store (i32.const 24) (i64.mul (i64.const 100000000)
      (i64.extend_i32_u (i32.sub (i32.load (i32.const 404)) (i32.const 7)))))
    (drop (call $poll (i32.const 0) (i32.const 104) (i32.const 1) (i32.const 200)))))"#;

/// Copies its input to its output, and ends with code 5.
pub(crate) const CAT: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 2)
  (func (export "_start") (local $left i32)
    (loop $more
      (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
      (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 52)) (then unreachable))
      (local.set $left (i32.load (i32.const 52)))
      (if (i32.eqz (local.get $left)) (then (call $exit (i32.const 5))))
      (loop $rest
        (i32.store (i32.const 4) (local.get $left))
        (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 56))
          (then unreachable))
        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.load (i32.const 56))))
        (local.set $left (i32.sub (local.get $left) (i32.load (i32.const 56))))
        (br_if $rest (local.get $left)))
      (br $more))))"#;

/// Writes 64 KiB to its output, again and again.
pub(crate) const FLOOD: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 65536))
    (loop $l (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52))) (br $l))))"#;

/// Takes memory, a page at a time, until it is told no, and aborts.
pub(crate) const HOG: &str = r#"(module (memory 1)
  (func (export "_start")
    (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
    unreachable))"#;

/// For each byte of input, asks for 4 MiB and answers `y` or `n`.
pub(crate) const ASK_FOR_MEMORY: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 1))
    (loop $more
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 52)))
      (if (i32.eqz (i32.load (i32.const 52))) (then return))
      (i32.store8 (i32.const 100)
        (select (i32.const 110) (i32.const 121)
          (i32.eq (memory.grow (i32.const 64)) (i32.const -1))))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))
      (br $more))))"#;

/// For each byte of input, opens `a.txt` of its first directory, and answers `y` or `n`.
pub(crate) const ASK_FOR_FILE: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 200) "a.txt")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 1))
    (loop $more
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 52)))
      (if (i32.eqz (i32.load (i32.const 52))) (then return))
      (i32.store8 (i32.const 100)
        (select (i32.const 110) (i32.const 121)
          (call $open (i32.const 3) (i32.const 0) (i32.const 200) (i32.const 5)
            (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 300))))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))
      (br $more))))"#;

/// Opens a file that nothing granted covers, and goes on.
pub(crate) const OPEN_ABSENT_GRANT: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 200) "elsewhere/a.txt")
  (func (export "_start")
    (drop (call $open (i32.const 4) (i32.const 0) (i32.const 200) (i32.const 15)
      (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 300)))))"#;
