;; A component of WASI 0.3. Its command says hello; its other functions are called with `--invoke`:
;;
;;     flood     writes without end, and does not look at what becomes of it
;;     echo      says `ready`, and copies standard input to standard output
;;     deadlock  waits for what cannot happen
;;     make      makes the directory `new` in its first directory; returns the error's number, or 99
;;     open      opens `a` there; the same
(component
  (import "wasi:cli/types@0.3.0" (instance $cli
    (type $code-def (enum "io" "illegal-byte-sequence" "pipe"))
    (export "error-code" (type (eq $code-def)))))
  (alias export $cli "error-code" (type $cli-code))
  (import "wasi:cli/stdout@0.3.0" (instance $stdout
    (alias outer 1 $cli-code (type $code-def))
    (export "error-code" (type $code (eq $code-def)))
    (export "write-via-stream"
      (func (param "data" (stream u8)) (result (future (result (error $code))))))))
  (import "wasi:cli/stdin@0.3.0" (instance $stdin
    (alias outer 1 $cli-code (type $code-def))
    (export "error-code" (type $code (eq $code-def)))
    (export "read-via-stream"
      (func (result (tuple (stream u8) (future (result (error $code)))))))))
  (import "wasi:filesystem/types@0.3.0" (instance $files
    (export "descriptor" (type $descriptor (sub resource)))
    (type $code-def (variant
      (case "access") (case "already") (case "bad-descriptor") (case "busy") (case "deadlock")
      (case "quota") (case "exist") (case "file-too-large") (case "illegal-byte-sequence")
      (case "in-progress") (case "interrupted") (case "invalid") (case "io") (case "is-directory")
      (case "loop") (case "too-many-links") (case "message-size") (case "name-too-long")
      (case "no-device") (case "no-entry") (case "no-lock") (case "insufficient-memory")
      (case "insufficient-space") (case "not-directory") (case "not-empty")
      (case "not-recoverable") (case "unsupported") (case "no-tty") (case "no-such-device")
      (case "overflow") (case "not-permitted") (case "pipe") (case "read-only")
      (case "invalid-seek") (case "text-file-busy") (case "cross-device")
      (case "other" (option string))))
    (export "error-code" (type $code (eq $code-def)))
    (type $path-flags-def (flags "symlink-follow"))
    (export "path-flags" (type $path-flags (eq $path-flags-def)))
    (type $open-flags-def (flags "create" "directory" "exclusive" "truncate"))
    (export "open-flags" (type $open-flags (eq $open-flags-def)))
    (type $flags-def (flags "read" "write" "file-integrity-sync" "data-integrity-sync"
      "requested-write-sync" "mutate-directory"))
    (export "descriptor-flags" (type $flags (eq $flags-def)))
    (export "[method]descriptor.create-directory-at"
      (func async (param "self" (borrow $descriptor)) (param "path" string)
        (result (result (error $code)))))
    (export "[method]descriptor.open-at"
      (func async (param "self" (borrow $descriptor)) (param "path-flags" $path-flags)
        (param "path" string) (param "open-flags" $open-flags) (param "flags" $flags)
        (result (result (own $descriptor) (error $code)))))))
  (alias export $files "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.3.0" (instance $preopens
    (alias outer 1 $descriptor (type $descriptor-def))
    (export "descriptor" (type $descriptor (eq $descriptor-def)))
    (export "get-directories" (func (result (list (tuple (own $descriptor) string)))))))

  (core module $memory
    (memory (export "memory") 1)
    (data (i32.const 1024) "hello from WASI 0.3\n")
    (data (i32.const 1056) "newa")
    (data (i32.const 1064) "ready\n")
    (global $next (mut i32) (i32.const 32768))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $next)
      (global.set $next (i32.add (global.get $next)
        (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))))
  (core instance $m (instantiate $memory))

  (type $bytes (stream u8))
  (type $done (future (result (error $cli-code))))
  (core func $bytes.new (canon stream.new $bytes))
  (core func $bytes.write (canon stream.write $bytes async (memory (core memory $m "memory"))))
  (core func $bytes.read (canon stream.read $bytes async (memory (core memory $m "memory"))))
  (core func $bytes.drop (canon stream.drop-writable $bytes))
  (core func $done.read (canon future.read $done async (memory (core memory $m "memory"))))
  (core func $set.new (canon waitable-set.new))
  (core func $set.wait (canon waitable-set.wait (memory (core memory $m "memory"))))
  (core func $join (canon waitable.join))
  (core func $stdout (canon lower (func $stdout "write-via-stream")))
  (core func $stdin (canon lower (func $stdin "read-via-stream") (memory (core memory $m "memory"))))
  (core func $directories (canon lower (func $preopens "get-directories")
    (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (core func $create (canon lower (func $files "[method]descriptor.create-directory-at")
    (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (core func $open (canon lower (func $files "[method]descriptor.open-at")
    (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))

  (core module $program
    (import "" "memory" (memory 1))
    (import "" "bytes.new" (func $bytes.new (result i64)))
    (import "" "bytes.write" (func $bytes.write (param i32 i32 i32) (result i32)))
    (import "" "bytes.read" (func $bytes.read (param i32 i32 i32) (result i32)))
    (import "" "bytes.drop" (func $bytes.drop (param i32)))
    (import "" "done.read" (func $done.read (param i32 i32) (result i32)))
    (import "" "set.new" (func $set.new (result i32)))
    (import "" "set.wait" (func $set.wait (param i32 i32) (result i32)))
    (import "" "join" (func $join (param i32 i32)))
    (import "" "stdout" (func $stdout (param i32) (result i32)))
    (import "" "stdin" (func $stdin (param i32)))
    (import "" "directories" (func $directories (param i32)))
    (import "" "create" (func $create (param i32 i32 i32 i32)))
    (import "" "open" (func $open (param i32 i32 i32 i32 i32 i32 i32)))
    (global $out (mut i32) (i32.const 0))
    (global $told (mut i32) (i32.const 0))

    ;; What came of an operation, once it has come.
    (func $outcome (param $waitable i32) (param $status i32) (result i32) (local $set i32)
      (if (i32.ne (local.get $status) (i32.const -1)) (then (return (local.get $status))))
      (local.set $set (call $set.new))
      (call $join (local.get $waitable) (local.get $set))
      (drop (call $set.wait (local.get $set) (i32.const 0)))
      (call $join (local.get $waitable) (i32.const 0))
      (i32.load (i32.const 4)))

    ;; Opens standard output.
    (func $begin (local $pair i64)
      (local.set $pair (call $bytes.new))
      (global.set $out (i32.wrap_i64 (i64.shr_u (local.get $pair) (i64.const 32))))
      (global.set $told (call $stdout (i32.wrap_i64 (local.get $pair)))))

    ;; Writes all of it, but for what nobody takes any more.
    (func $write (param $from i32) (param $size i32) (local $status i32) (local $count i32)
      (loop $more
        (local.set $status (call $outcome (global.get $out)
          (call $bytes.write (global.get $out) (local.get $from) (local.get $size))))
        (local.set $count (i32.shr_u (local.get $status) (i32.const 4)))
        (local.set $from (i32.add (local.get $from) (local.get $count)))
        (local.set $size (i32.sub (local.get $size) (local.get $count)))
        ;; The readable end is gone, and this goes on as if it did not know.
        (if (i32.and (local.get $status) (i32.const 1)) (then (loop $spin (br $spin))))
        (br_if $more (local.get $size))))

    ;; Closes standard output, and waits until all is written.
    (func $end
      (call $bytes.drop (global.get $out))
      (drop (call $outcome (global.get $told) (call $done.read (global.get $told) (i32.const 16)))))

    (func (export "run") (result i32)
      (call $begin) (call $write (i32.const 1024) (i32.const 20)) (call $end)
      (i32.const 0))

    (func (export "flood")
      (call $begin)
      (loop $more (call $write (i32.const 1024) (i32.const 20)) (br $more)))

    (func (export "echo") (local $in i32) (local $status i32)
      (call $stdin (i32.const 24))
      (local.set $in (i32.load (i32.const 24)))
      (call $begin)
      (call $write (i32.const 1064) (i32.const 6))
      (loop $more
        (local.set $status (call $outcome (local.get $in)
          (call $bytes.read (local.get $in) (i32.const 2048) (i32.const 4096))))
        (if (i32.shr_u (local.get $status) (i32.const 4))
          (then (call $write (i32.const 2048) (i32.shr_u (local.get $status) (i32.const 4)))))
        (br_if $more (i32.eqz (i32.and (local.get $status) (i32.const 1)))))
      (call $end))

    (func (export "deadlock") (drop (call $set.wait (call $set.new) (i32.const 0))))

    (func $first (result i32)
      (call $directories (i32.const 32))
      (i32.load (i32.load (i32.const 32))))

    ;; The error's number, where the result at 48 is one.
    (func $error (result i32)
      (if (result i32) (i32.load8_u (i32.const 48))
        (then (i32.load8_u (i32.const 52))) (else (i32.const 99))))

    (func (export "make") (result i32)
      (call $create (call $first) (i32.const 1056) (i32.const 3) (i32.const 48))
      (call $error))

    (func (export "open") (result i32)
      (call $open (call $first) (i32.const 1) (i32.const 1059) (i32.const 1)
        (i32.const 0) (i32.const 1) (i32.const 48))
      (call $error)))
  (core instance $program (instantiate $program (with "" (instance
    (export "memory" (memory $m "memory"))
    (export "bytes.new" (func $bytes.new))
    (export "bytes.write" (func $bytes.write))
    (export "bytes.read" (func $bytes.read))
    (export "bytes.drop" (func $bytes.drop))
    (export "done.read" (func $done.read))
    (export "set.new" (func $set.new))
    (export "set.wait" (func $set.wait))
    (export "join" (func $join))
    (export "stdout" (func $stdout))
    (export "stdin" (func $stdin))
    (export "directories" (func $directories))
    (export "create" (func $create))
    (export "open" (func $open))))))

  (func $run async (result (result)) (canon lift (core func $program "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.3.0" (instance $command))
  (func (export "flood") async (canon lift (core func $program "flood")))
  (func (export "echo") async (canon lift (core func $program "echo")))
  (func (export "deadlock") async (canon lift (core func $program "deadlock")))
  (func (export "make") async (result u8) (canon lift (core func $program "make")))
  (func (export "open") async (result u8) (canon lift (core func $program "open"))))
