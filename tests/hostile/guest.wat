;; Does what a script says, which is its first argument in hexadecimal digits: words of 64 bits, in the
;; order of the machine. The first is how many steps there are; then come seven words for each, a number
;; and six arguments; and then whatever the arguments point to.
;;
;; A word whose upper 16 bits are 0xa711 stands for the address, in the process, of the script and as many
;; bytes further as its lower half says; one with 0xa712 for the result of that step. Numbers are of system
;; calls, but for -2 (the word at an address), -3 (the descriptor of a file, by its inode), -4 (on and on) and
;; -5 (closes every pipe but the standard streams). The result of each step is written to standard output as
;; soon as it is there.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "aril_hostile" "call"
    (func $call (param i64 i64 i64 i64 i64 i64 i64) (result i64)))
  (memory (export "memory") 64)
  ;; Where things are: the arguments' addresses, one status of a file, results, the script, the arguments.
  (global $status i32 (i32.const 1024))
  (global $results i32 (i32.const 8192))
  (global $script i32 (i32.const 65536))
  (global $text i32 (i32.const 2097152))
  (global $base (mut i64) (i64.const 0))

  (func $tell (param $value i64)
    (i64.store (i32.const 512) (local.get $value))
    (i32.store (i32.const 528) (i32.const 512))
    (i32.store (i32.const 532) (i32.const 8))
    (drop (call $fd_write (i32.const 1) (i32.const 528) (i32.const 1) (i32.const 536))))

  (func $native (param $number i64) (param $a i64) (param $b i64) (result i64)
    (call $call (local.get $number) (local.get $a) (local.get $b)
      (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)))

  (func $digit (param $at i32) (result i32) (local $c i32)
    (local.set $c (i32.load8_u (local.get $at)))
    (if (result i32) (i32.lt_u (local.get $c) (i32.const 97))
      (then (i32.sub (local.get $c) (i32.const 48)))
      (else (i32.sub (local.get $c) (i32.const 87)))))

  ;; Reads the script, and says where it ends.
  (func $read (result i32) (local $from i32) (local $to i32)
    (drop (call $args_get (i32.const 0) (global.get $text)))
    (local.set $from (i32.load (i32.const 4)))
    (local.set $to (global.get $script))
    (loop $next
      (if (i32.load8_u (local.get $from)) (then
        (i32.store8 (local.get $to)
          (i32.or (i32.shl (call $digit (local.get $from)) (i32.const 4))
            (call $digit (i32.add (local.get $from) (i32.const 1)))))
        (local.set $from (i32.add (local.get $from) (i32.const 2)))
        (local.set $to (i32.add (local.get $to) (i32.const 1)))
        (br $next))))
    (local.get $to))

  (func $word (param $at i32) (result i64) (local $word i64) (local $tag i64)
    (local.set $word (i64.load (local.get $at)))
    (local.set $tag (i64.shr_u (local.get $word) (i64.const 48)))
    (if (i64.eq (local.get $tag) (i64.const 0xa711)) (then
      (return (i64.add (global.get $base)
        (i64.add (i64.extend_i32_u (global.get $script))
          (i64.and (local.get $word) (i64.const 0xffffffff)))))))
    (if (i64.eq (local.get $tag) (i64.const 0xa712)) (then
      (return (i64.load (i32.add (global.get $results)
        (i32.mul (i32.wrap_i64 (local.get $word)) (i32.const 8)))))))
    (local.get $word))

  ;; The status of a descriptor: what `fstat` (5) answers.
  (func $fstat (param $fd i64) (result i64)
    (call $native (i64.const 5) (local.get $fd)
      (i64.add (global.get $base) (i64.extend_i32_u (global.get $status)))))

  (func $find (param $inode i64) (result i64) (local $fd i64)
    (local.set $fd (i64.const 3))
    (loop $next
      (if (i64.eqz (call $fstat (local.get $fd))) (then
        (if (i64.eq (i64.load offset=8 (global.get $status)) (local.get $inode)) (then
          (return (local.get $fd))))))
      (local.set $fd (i64.add (local.get $fd) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $fd) (i64.const 256))))
    (i64.const -2))

  (func $close_pipes (result i64) (local $fd i64) (local $count i64)
    (local.set $fd (i64.const 3))
    (loop $next
      (if (i64.eqz (call $fstat (local.get $fd))) (then
        (if (i32.eq (i32.and (i32.load offset=24 (global.get $status)) (i32.const 0xf000))
            (i32.const 0x1000)) (then
          (drop (call $native (i64.const 3) (local.get $fd) (i64.const 0)))
          (local.set $count (i64.add (local.get $count) (i64.const 1)))))))
      (local.set $fd (i64.add (local.get $fd) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $fd) (i64.const 256))))
    (local.get $count))

  (func $step (param $at i32) (result i64) (local $number i64) (local $a i64)
    (local.set $number (i64.load (local.get $at)))
    (local.set $a (call $word (i32.add (local.get $at) (i32.const 8))))
    (if (i64.eq (local.get $number) (i64.const -2)) (then
      (return (i64.load (i32.wrap_i64 (i64.sub (local.get $a) (global.get $base)))))))
    (if (i64.eq (local.get $number) (i64.const -3)) (then
      (return (call $find (local.get $a)))))
    (if (i64.eq (local.get $number) (i64.const -4)) (then (loop $on (br $on))))
    (if (i64.eq (local.get $number) (i64.const -5)) (then (return (call $close_pipes))))
    (call $call (local.get $number) (local.get $a)
      (call $word (i32.add (local.get $at) (i32.const 16)))
      (call $word (i32.add (local.get $at) (i32.const 24)))
      (call $word (i32.add (local.get $at) (i32.const 32)))
      (call $word (i32.add (local.get $at) (i32.const 40)))
      (call $word (i32.add (local.get $at) (i32.const 48)))))

  (func (export "_start") (local $end i32) (local $at i32) (local $left i64) (local $to i32)
    (global.set $base (call $native (i64.const -1) (i64.const 0) (i64.const 0)))
    (local.set $end (call $read))
    (local.set $left (i64.load (global.get $script)))
    ;; Addresses in what the arguments point to.
    (local.set $at (i32.add (global.get $script)
      (i32.add (i32.const 8) (i32.mul (i32.const 56) (i32.wrap_i64 (local.get $left))))))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
      (if (i64.eq (i64.shr_u (i64.load (local.get $at)) (i64.const 48)) (i64.const 0xa711)) (then
        (i64.store (local.get $at) (call $word (local.get $at)))))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (br $next)))
    (local.set $at (i32.add (global.get $script) (i32.const 8)))
    (local.set $to (global.get $results))
    (block $done (loop $next
      (br_if $done (i64.eqz (local.get $left)))
      (i64.store (local.get $to) (call $step (local.get $at)))
      (call $tell (i64.load (local.get $to)))
      (local.set $to (i32.add (local.get $to) (i32.const 8)))
      (local.set $at (i32.add (local.get $at) (i32.const 56)))
      (local.set $left (i64.sub (local.get $left) (i64.const 1)))
      (br $next)))))
