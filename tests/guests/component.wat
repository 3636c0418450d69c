;; A component of WASI 0.2. Its command says hello; its other functions are called with `--invoke`:
;;
;;     flood    writes without end
;;     echo     says `ready`, and copies standard input to standard output
;;     eat      takes memory until it is told no, and then aborts
;;     open N   opens `a` in its first directory N times; returns the last error's number, or 99
;;     make     makes the directory `new` there; the same
;;     look     asks what `new` in its last directory is; the same
(component
  (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer 1 $error (type $error-def))
    (export "error" (type $error (eq $error-def)))
    (export "input-stream" (type $input (sub resource)))
    (export "output-stream" (type $output (sub resource)))
    (type $failure-def (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $failure (eq $failure-def)))
    (export "[method]input-stream.blocking-read"
      (func (param "self" (borrow $input)) (param "len" u64)
        (result (result (list u8) (error $failure)))))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $output)) (param "contents" (list u8))
        (result (result (error $failure)))))))
  (alias export $streams "input-stream" (type $input))
  (alias export $streams "output-stream" (type $output))
  (import "wasi:cli/stdin@0.2.0" (instance $stdin
    (alias outer 1 $input (type $input-def))
    (export "input-stream" (type $input (eq $input-def)))
    (export "get-stdin" (func (result (own $input))))))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output (type $output-def))
    (export "output-stream" (type $output (eq $output-def)))
    (export "get-stdout" (func (result (own $output))))))
  (import "wasi:clocks/wall-clock@0.2.0" (instance $clock
    (type $time-def (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "datetime" (type (eq $time-def)))))
  (alias export $clock "datetime" (type $time))
  (import "wasi:filesystem/types@0.2.0" (instance $files
    (alias outer 1 $time (type $time-def))
    (export "datetime" (type $time (eq $time-def)))
    (export "descriptor" (type $descriptor (sub resource)))
    (type $code-def (enum
      "access" "would-block" "already" "bad-descriptor" "busy" "deadlock" "quota" "exist"
      "file-too-large" "illegal-byte-sequence" "in-progress" "interrupted" "invalid" "io"
      "is-directory" "loop" "too-many-links" "message-size" "name-too-long" "no-device" "no-entry"
      "no-lock" "insufficient-memory" "insufficient-space" "not-directory" "not-empty"
      "not-recoverable" "unsupported" "no-tty" "no-such-device" "overflow" "not-permitted" "pipe"
      "read-only" "invalid-seek" "text-file-busy" "cross-device"))
    (export "error-code" (type $code (eq $code-def)))
    (type $type-def (enum "unknown" "block-device" "character-device" "directory" "fifo"
      "symbolic-link" "regular-file" "socket"))
    (export "descriptor-type" (type $type (eq $type-def)))
    (type $stat-def (record (field "type" $type) (field "link-count" u64) (field "size" u64)
      (field "data-access-timestamp" (option $time))
      (field "data-modification-timestamp" (option $time))
      (field "status-change-timestamp" (option $time))))
    (export "descriptor-stat" (type $stat (eq $stat-def)))
    (type $path-flags-def (flags "symlink-follow"))
    (export "path-flags" (type $path-flags (eq $path-flags-def)))
    (type $open-flags-def (flags "create" "directory" "exclusive" "truncate"))
    (export "open-flags" (type $open-flags (eq $open-flags-def)))
    (type $flags-def (flags "read" "write" "file-integrity-sync" "data-integrity-sync"
      "requested-write-sync" "mutate-directory"))
    (export "descriptor-flags" (type $flags (eq $flags-def)))
    (export "[method]descriptor.create-directory-at"
      (func (param "self" (borrow $descriptor)) (param "path" string)
        (result (result (error $code)))))
    (export "[method]descriptor.stat-at"
      (func (param "self" (borrow $descriptor)) (param "path-flags" $path-flags)
        (param "path" string) (result (result $stat (error $code)))))
    (export "[method]descriptor.open-at"
      (func (param "self" (borrow $descriptor)) (param "path-flags" $path-flags)
        (param "path" string) (param "open-flags" $open-flags) (param "flags" $flags)
        (result (result (own $descriptor) (error $code)))))))
  (alias export $files "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor (type $descriptor-def))
    (export "descriptor" (type $descriptor (eq $descriptor-def)))
    (export "get-directories" (func (result (list (tuple (own $descriptor) string)))))))

  (core module $memory
    (memory (export "memory") 1)
    (data (i32.const 1024) "hello from WASI 0.2\n")
    (data (i32.const 1056) "newa")
    (data (i32.const 1064) "ready\n")
    ;; What the host returns lies behind what is kept, and is used before it returns more.
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local $place i32)
      (if (i32.lt_u (i32.const 49152) (global.get $next))
        (then (global.set $next (i32.const 4096))))
      (local.set $place (global.get $next))
      (global.set $next (i32.add (global.get $next)
        (i32.and (i32.add (local.get 3) (i32.const 7)) (i32.const -8))))
      (local.get $place)))
  (core instance $m (instantiate $memory))
  (core func $get-stdin (canon lower (func $stdin "get-stdin")))
  (core func $get-stdout (canon lower (func $stdout "get-stdout")))
  (core func $read (canon lower (func $streams "[method]input-stream.blocking-read")
    (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
    (memory (core memory $m "memory"))))
  (core func $directories (canon lower (func $preopens "get-directories")
    (memory (core memory $m "memory")) (realloc (core func $m "realloc"))))
  (core func $create (canon lower (func $files "[method]descriptor.create-directory-at")
    (memory (core memory $m "memory"))))
  (core func $stat (canon lower (func $files "[method]descriptor.stat-at") (memory (core memory $m "memory"))))
  (core func $open (canon lower (func $files "[method]descriptor.open-at") (memory (core memory $m "memory"))))

  (core module $program
    (import "" "memory" (memory 1))
    (import "" "get-stdin" (func $get-stdin (result i32)))
    (import "" "get-stdout" (func $get-stdout (result i32)))
    (import "" "read" (func $read (param i32 i64 i32)))
    (import "" "write" (func $write (param i32 i32 i32 i32)))
    (import "" "directories" (func $directories (param i32)))
    (import "" "create" (func $create (param i32 i32 i32 i32)))
    (import "" "stat" (func $stat (param i32 i32 i32 i32 i32)))
    (import "" "open" (func $open (param i32 i32 i32 i32 i32 i32 i32)))

    (func (export "run") (result i32)
      (call $write (call $get-stdout) (i32.const 1024) (i32.const 20) (i32.const 64))
      (i32.const 0))

    (func (export "flood") (local $out i32)
      (local.set $out (call $get-stdout))
      (loop $more
        (call $write (local.get $out) (i32.const 1024) (i32.const 20) (i32.const 64))
        (br $more)))

    (func (export "echo") (local $in i32) (local $out i32)
      (local.set $in (call $get-stdin))
      (local.set $out (call $get-stdout))
      (call $write (local.get $out) (i32.const 1064) (i32.const 6) (i32.const 64))
      (loop $more
        (call $read (local.get $in) (i64.const 4096) (i32.const 32))
        (if (i32.eqz (i32.load8_u (i32.const 32))) (then
          (call $write (local.get $out) (i32.load (i32.const 36)) (i32.load (i32.const 40))
            (i32.const 64))
          (br $more)))))

    (func (export "eat")
      (loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
      unreachable)

    ;; Its first directory, or the last.
    (func $directory (param $last i32) (result i32)
      (call $directories (i32.const 32))
      (i32.load (i32.add (i32.load (i32.const 32))
        (i32.mul (local.get $last)
          (i32.mul (i32.const 12) (i32.sub (i32.load (i32.const 36)) (i32.const 1)))))))

    ;; The error's number, where the result at 128 is one.
    (func $error (param $at i32) (result i32)
      (if (result i32) (i32.load8_u (i32.const 128))
        (then (i32.load8_u (local.get $at))) (else (i32.const 99))))

    (func (export "open") (param $times i32) (result i32) (local $from i32)
      (local.set $from (call $directory (i32.const 0)))
      (loop $more
        (call $open (local.get $from) (i32.const 1) (i32.const 1059) (i32.const 1)
          (i32.const 0) (i32.const 1) (i32.const 128))
        (local.set $times (i32.sub (local.get $times) (i32.const 1)))
        (br_if $more (local.get $times)))
      (call $error (i32.const 132)))

    (func (export "make") (result i32)
      (call $create (call $directory (i32.const 0)) (i32.const 1056) (i32.const 3) (i32.const 128))
      (call $error (i32.const 129)))

    (func (export "look") (result i32)
      (call $stat (call $directory (i32.const 1)) (i32.const 0) (i32.const 1056) (i32.const 3)
        (i32.const 128))
      (call $error (i32.const 136))))
  (core instance $program (instantiate $program (with "" (instance
    (export "memory" (memory $m "memory"))
    (export "get-stdin" (func $get-stdin))
    (export "get-stdout" (func $get-stdout))
    (export "read" (func $read))
    (export "write" (func $write))
    (export "directories" (func $directories))
    (export "create" (func $create))
    (export "stat" (func $stat))
    (export "open" (func $open))))))

  (func $run (result (result)) (canon lift (core func $program "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command))
  (func (export "flood") (canon lift (core func $program "flood")))
  (func (export "echo") (canon lift (core func $program "echo")))
  (func (export "eat") (canon lift (core func $program "eat")))
  (func (export "open") (param "times" u32) (result u8) (canon lift (core func $program "open")))
  (func (export "make") (result u8) (canon lift (core func $program "make")))
  (func (export "look") (result u8) (canon lift (core func $program "look"))))
