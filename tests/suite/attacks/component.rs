//! Guests that are components: the worlds that they import, and a core module of each test's own.

use std::fmt::Write as _;

/// What a core module of [`of_wasi_2`] has at hand, with the types of the canonical form.
const CALLS_OF_WASI_2: &[(&str, &str, &str)] = &[
    ("block", "i32", ""),
    ("subscribe", "i64", "i32"),
    ("stdin", "", "i32"),
    ("stdout", "", "i32"),
    ("subscribe-read", "i32", "i32"),
    ("subscribe-write", "i32", "i32"),
    ("read", "i32 i64 i32", ""),
    ("blocking-read", "i32 i64 i32", ""),
    ("skip", "i32 i64 i32", ""),
    ("write-zeroes", "i32 i64 i32", ""),
    ("blocking-write-zeroes", "i32 i64 i32", ""),
    ("splice", "i32 i32 i64 i32", ""),
    ("random", "i64 i32", ""),
    ("directories", "i32", ""),
    ("open", "i32 i32 i32 i32 i32 i32 i32", ""),
    ("read-file", "i32 i64 i64 i32", ""),
    ("read-via-stream", "i32 i64 i32", ""),
    ("write-via-stream", "i32 i64 i32", ""),
    ("set-times", "i32 i32 i64 i32 i32 i64 i32 i32", ""),
    ("set-times-at", "i32 i32 i32 i32 i32 i64 i32 i32 i64 i32 i32", ""),
];

/// The interfaces of WASI 0.2 that those are from.
const WORLD_OF_WASI_2: &str = r#"
  (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $p1)) (export "pollable" (type $p (eq $p1)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer 1 $error (type $error1)) (export "error" (type $error (eq $error1)))
    (alias outer 1 $pollable (type $p1)) (export "pollable" (type $p (eq $p1)))
    (export "input-stream" (type $in (sub resource)))
    (export "output-stream" (type $out (sub resource)))
    (type $failure1 (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $failure (eq $failure1)))
    (export "[method]input-stream.read" (func (param "self" (borrow $in)) (param "len" u64)
      (result (result (list u8) (error $failure)))))
    (export "[method]input-stream.blocking-read" (func (param "self" (borrow $in))
      (param "len" u64) (result (result (list u8) (error $failure)))))
    (export "[method]input-stream.skip" (func (param "self" (borrow $in)) (param "len" u64)
      (result (result u64 (error $failure)))))
    (export "[method]input-stream.subscribe"
      (func (param "self" (borrow $in)) (result (own $p))))
    (export "[method]output-stream.subscribe"
      (func (param "self" (borrow $out)) (result (own $p))))
    (export "[method]output-stream.write-zeroes" (func (param "self" (borrow $out))
      (param "len" u64) (result (result (error $failure)))))
    (export "[method]output-stream.blocking-write-zeroes-and-flush" (func
      (param "self" (borrow $out)) (param "len" u64) (result (result (error $failure)))))
    (export "[method]output-stream.splice" (func (param "self" (borrow $out))
      (param "src" (borrow $in)) (param "len" u64) (result (result u64 (error $failure)))))))
  (alias export $streams "input-stream" (type $in))
  (alias export $streams "output-stream" (type $out))
  (import "wasi:cli/stdin@0.2.0" (instance $stdin
    (alias outer 1 $in (type $in1)) (export "input-stream" (type $in (eq $in1)))
    (export "get-stdin" (func (result (own $in))))))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $out (type $out1)) (export "output-stream" (type $out (eq $out1)))
    (export "get-stdout" (func (result (own $out))))))
  (import "wasi:clocks/wall-clock@0.2.0" (instance $wall
    (type $time1 (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "datetime" (type (eq $time1)))))
  (alias export $wall "datetime" (type $time))
  (import "wasi:filesystem/types@0.2.0" (instance $files
    (alias outer 1 $in (type $in1)) (export "input-stream" (type $in (eq $in1)))
    (alias outer 1 $out (type $out1)) (export "output-stream" (type $out (eq $out1)))
    (alias outer 1 $time (type $time1)) (export "datetime" (type $time (eq $time1)))
    (export "descriptor" (type $descriptor (sub resource)))
    (type $code1 (enum
      "access" "would-block" "already" "bad-descriptor" "busy" "deadlock" "quota" "exist"
      "file-too-large" "illegal-byte-sequence" "in-progress" "interrupted" "invalid" "io"
      "is-directory" "loop" "too-many-links" "message-size" "name-too-long" "no-device" "no-entry"
      "no-lock" "insufficient-memory" "insufficient-space" "not-directory" "not-empty"
      "not-recoverable" "unsupported" "no-tty" "no-such-device" "overflow" "not-permitted" "pipe"
      "read-only" "invalid-seek" "text-file-busy" "cross-device"))
    (export "error-code" (type $code (eq $code1)))
    (type $when1 (variant (case "no-change") (case "now") (case "timestamp" $time)))
    (export "new-timestamp" (type $when (eq $when1)))
    (type $path-flags1 (flags "symlink-follow"))
    (export "path-flags" (type $path-flags (eq $path-flags1)))
    (type $open-flags1 (flags "create" "directory" "exclusive" "truncate"))
    (export "open-flags" (type $open-flags (eq $open-flags1)))
    (type $flags1 (flags "read" "write" "file-integrity-sync" "data-integrity-sync"
      "requested-write-sync" "mutate-directory"))
    (export "descriptor-flags" (type $flags (eq $flags1)))
    (export "[method]descriptor.open-at" (func (param "self" (borrow $descriptor))
      (param "path-flags" $path-flags) (param "path" string) (param "open-flags" $open-flags)
      (param "flags" $flags) (result (result (own $descriptor) (error $code)))))
    (export "[method]descriptor.read" (func (param "self" (borrow $descriptor))
      (param "length" u64) (param "offset" u64)
      (result (result (tuple (list u8) bool) (error $code)))))
    (export "[method]descriptor.read-via-stream" (func (param "self" (borrow $descriptor))
      (param "offset" u64) (result (result (own $in) (error $code)))))
    (export "[method]descriptor.write-via-stream" (func (param "self" (borrow $descriptor))
      (param "offset" u64) (result (result (own $out) (error $code)))))
    (export "[method]descriptor.set-times" (func (param "self" (borrow $descriptor))
      (param "data-access-timestamp" $when) (param "data-modification-timestamp" $when)
      (result (result (error $code)))))
    (export "[method]descriptor.set-times-at" (func (param "self" (borrow $descriptor))
      (param "path-flags" $path-flags) (param "path" string)
      (param "data-access-timestamp" $when) (param "data-modification-timestamp" $when)
      (result (result (error $code)))))))
  (alias export $files "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor (type $d1)) (export "descriptor" (type $d (eq $d1)))
    (export "get-directories" (func (result (list (tuple (own $d) string)))))))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $stdin (canon lower (func $stdin "get-stdin")))
  (core func $stdout (canon lower (func $stdout "get-stdout")))
  (core func $subscribe-read (canon lower (func $streams "[method]input-stream.subscribe")))
  (core func $subscribe-write (canon lower (func $streams "[method]output-stream.subscribe")))
  (core func $read (canon lower (func $streams "[method]input-stream.read")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core func $blocking-read (canon lower (func $streams "[method]input-stream.blocking-read")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core func $skip (canon lower (func $streams "[method]input-stream.skip")
    (memory (core memory $libc "memory"))))
  (core func $write-zeroes (canon lower (func $streams "[method]output-stream.write-zeroes")
    (memory (core memory $libc "memory"))))
  (core func $blocking-write-zeroes (canon lower
    (func $streams "[method]output-stream.blocking-write-zeroes-and-flush")
    (memory (core memory $libc "memory"))))
  (core func $splice (canon lower (func $streams "[method]output-stream.splice")
    (memory (core memory $libc "memory"))))
  (core func $random (canon lower (func $random "get-random-bytes")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core func $directories (canon lower (func $preopens "get-directories")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core func $open (canon lower (func $files "[method]descriptor.open-at")
    (memory (core memory $libc "memory"))))
  (core func $read-file (canon lower (func $files "[method]descriptor.read")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core func $read-via-stream (canon lower (func $files "[method]descriptor.read-via-stream")
    (memory (core memory $libc "memory"))))
  (core func $write-via-stream (canon lower (func $files "[method]descriptor.write-via-stream")
    (memory (core memory $libc "memory"))))
  (core func $set-times (canon lower (func $files "[method]descriptor.set-times")
    (memory (core memory $libc "memory"))))
  (core func $set-times-at (canon lower (func $files "[method]descriptor.set-times-at")
    (memory (core memory $libc "memory"))))"#;

/// A memory of 4 MiB, and a `realloc` that never gives anything back. Below 4096 is room for
/// results; at 4100 stands the text `file`.
pub(super) const LIBC: &str = r#"
  (core module $libc
    (memory (export "memory") 64)
    (data (i32.const 4100) "file")
    (global $next (mut i32) (i32.const 8192))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $place i32)
      (local.set $place (global.get $next))
      (global.set $next (i32.add (global.get $next)
        (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))
      (if (i32.lt_u (i32.const 4194304) (global.get $next)) (then unreachable))
      (local.get $place)))
  (core instance $libc (instantiate $libc))"#;

/// A component of WASI 0.2 whose command runs `code`, with locals `$a` and `$b`, and then ends well.
pub(super) fn of_wasi_2(code: &str) -> String {
    of_wasi_2_with(
        &format!(
            "(func (export \"run\") (result i32) (local $a i32) (local $b i32) {code} (i32.const 0))"
        ),
        "(func $run (result (result)) (canon lift (core func $i \"run\")))
         (instance $command (export \"run\" (func $run)))
         (export \"wasi:cli/run@0.2.0\" (instance $command))",
    )
}

/// A component of WASI 0.2 with these fields of its core module, and these exports.
///
/// Functions `$first` and `$file` of that module return the first of its directories, and what is
/// called `file` there.
pub(super) fn of_wasi_2_with(fields: &str, exports: &str) -> String {
    let (mut imports, mut given) = (String::new(), String::new());
    for (name, params, results) in CALLS_OF_WASI_2 {
        let ty = format!("(param {params}) (result {results})");
        writeln!(imports, "(import \"\" \"{name}\" (func ${name} {ty}))").unwrap();
        writeln!(given, "(export \"{name}\" (func ${name}))").unwrap();
    }
    format!(
        "(component {LIBC} {WORLD_OF_WASI_2}
          (core module $m
            (import \"libc\" \"memory\" (memory 1))
            {imports}
            (func $first (result i32)
              (call $directories (i32.const 64)) (i32.load (i32.load (i32.const 64))))
            ;; To be read and written to; it has to be there.
            (func $file (result i32)
              (call $open (call $first) (i32.const 0) (i32.const 4100) (i32.const 4)
                (i32.const 0) (i32.const 3) (i32.const 64))
              (if (i32.load8_u (i32.const 64)) (then unreachable))
              (i32.load (i32.const 68)))
            {fields})
          (core instance $i (instantiate $m (with \"libc\" (instance $libc))
            (with \"\" (instance {given}))))
          {exports})"
    )
}
