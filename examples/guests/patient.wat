;; Asks for 32 MiB until it gets them: when it is told no it says so once, sleeps for 10 ms and asks
;; again.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 64) "I was told no; I will wait.\n")
  (data (i32.const 96) "I was told yes.\n")
  (func $say (param $text i32) (param $size i32)
    (i32.store (i32.const 0) (local.get $text))
    (i32.store (i32.const 4) (local.get $size))
    (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  ;; A subscription to the monotonic clock, at 128; its event goes to 256.
  (func $sleep
    (i32.store8 (i32.const 136) (i32.const 0))
    (i32.store (i32.const 144) (i32.const 1))
    (i64.store (i32.const 152) (i64.const 10_000_000))
    (drop (call $poll_oneoff (i32.const 128) (i32.const 256) (i32.const 1) (i32.const 8))))
  (func (export "_start") (local $told i32)
    (loop $ask
      (if (i32.eq (memory.grow (i32.const 512)) (i32.const -1))
        (then
          (if (i32.eqz (local.get $told))
            (then
              (call $say (i32.const 64) (i32.const 28))
              (local.set $told (i32.const 1))))
          (call $sleep)
          (br $ask))))
    (call $say (i32.const 96) (i32.const 16))))
