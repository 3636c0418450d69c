;; Takes all the memory that it may have, and looks every tenth of a millisecond whether that has
;; become more: then it takes that as well, and says a line.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 256) "\08\01\00\00\05\00\00\00more\n")
  (func $take
    (loop $again
      (br_if $again (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))))
  (func $say
    (drop (call $fd_write (i32.const 1) (i32.const 256) (i32.const 1) (i32.const 512))))
  (func (export "_start")
    (call $take)
    (call $say)
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 100000))
    (loop $again
      (drop (call $poll_oneoff (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
      (if (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0))
        (then (call $take) (call $say)))
      (br $again))))
