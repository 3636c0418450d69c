;; Prints the file that its argument names, in the first directory that it was granted. Ends with
;; the error code of WASI where that fails.
(module
  (import "wasi_snapshot_preview1" "args_sizes_get"
    (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get"
    (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 2)
  ;; 0: a buffer's place and size; 8: how much was moved; 16: the opened file; 64: pointers to the
  ;; arguments; 1024: their text; 65536: what was read.
  (func $must (param $code i32)
    (if (local.get $code) (then (call $proc_exit (local.get $code)))))
  (func $length (param $text i32) (result i32) (local $end i32)
    (local.set $end (local.get $text))
    (loop $next
      (if (i32.load8_u (local.get $end))
        (then (local.set $end (i32.add (local.get $end) (i32.const 1))) (br $next))))
    (i32.sub (local.get $end) (local.get $text)))
  (func (export "_start") (local $name i32)
    (call $must (call $args_sizes_get (i32.const 0) (i32.const 8)))
    ;; E2BIG where the arguments do not fit, EINVAL where there is no name.
    (if (i32.gt_u (i32.load (i32.const 8)) (i32.const 60_000)) (then (call $must (i32.const 1))))
    (if (i32.ne (i32.load (i32.const 0)) (i32.const 2)) (then (call $must (i32.const 28))))
    (call $must (call $args_get (i32.const 64) (i32.const 1024)))
    (local.set $name (i32.load (i32.const 68)))
    (call $must
      (call $path_open
        (i32.const 3) (i32.const 1) ;; in the first directory, following links
        (local.get $name) (call $length (local.get $name))
        (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) ;; to read
        (i32.const 16)))
    (loop $more
      (i32.store (i32.const 0) (i32.const 65536))
      (i32.store (i32.const 4) (i32.const 65536))
      (call $must
        (call $fd_read (i32.load (i32.const 16)) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (i32.load (i32.const 8))
        (then
          (i32.store (i32.const 4) (i32.load (i32.const 8)))
          (call $must (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          (br $more))))))
