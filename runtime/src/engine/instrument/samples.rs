//! Modules that are tricky to count, and modules that never end.

/// Modules that come to an end, by name.
pub(super) const TRICKY: &[(&str, &str)] = &[
    (
        "short",
        r#"(module (func (export "f") (param i32 i32) (result i32)
            (i32.add (local.get 0) (local.get 1))))"#,
    ),
    (
        "nested loops",
        r#"(module (memory (export "m") 1) (func (export "f") (result i32) (local i32 i32 i32)
            (loop $a
                (local.set 1 (i32.const 0))
                (loop $b
                    (i32.store (i32.mul (local.get 1) (i32.const 4)) (local.get 2))
                    (local.set 2 (i32.add (local.get 2) (i32.xor (local.get 0) (local.get 1))))
                    (br_if $a (i32.eq (local.get 2) (i32.const 77)))
                    (local.set 1 (i32.add (local.get 1) (i32.const 1)))
                    (br_if $b (i32.lt_u (local.get 1) (i32.const 30))))
                (local.set 0 (i32.add (local.get 0) (i32.const 1)))
                (br_if $a (i32.lt_u (local.get 0) (i32.const 40))))
            (local.get 2)))"#,
    ),
    (
        "loop with results",
        r#"(module (func (export "f") (result i32 i64) (local i32)
            (i32.const 5)
            (loop $l (result i64)
                (local.set 0 (i32.add (local.get 0) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get 0) (i32.const 500)))
                (i64.const 9))))"#,
    ),
    (
        "loop with parameters",
        r#"(module (func (export "f") (result i32)
            (local i32 i32)
            (i32.const 1000) (i32.const 0)
            (loop $l (param i32 i32) (result i32)
                (local.set 1) (local.set 0)
                (i32.sub (local.get 0) (i32.const 1))
                (i32.add (local.get 1) (local.get 0))
                (br_if $l (i32.gt_s (local.get 0) (i32.const 0)))
                (i32.add))
            (local.set 0) (local.get 0)) )"#,
    ),
    (
        "values below a loop",
        r#"(module (func (export "f") (result i32) (local i32)
            (i32.const 11)
            (block $out (result i32)
                (i32.const 22)
                (loop $l
                    (local.set 0 (i32.add (local.get 0) (i32.const 1)))
                    (drop (br_if $out (i32.const 33) (i32.gt_u (local.get 0) (i32.const 700))))
                    (br $l)))
            (i32.add)))"#,
    ),
    (
        "br_table",
        r#"(module (func (export "f") (result i32) (local i32 i32)
            (loop $a
                (loop $b
                    (local.set 0 (i32.add (local.get 0) (i32.const 1)))
                    (block $c
                        (br_table $c $a $b $a $b $c (i32.rem_u (local.get 0) (i32.const 6))))
                    (local.set 1 (i32.add (local.get 1) (local.get 0)))
                    (br_if $b (i32.lt_u (local.get 0) (i32.const 900)))))
            (local.get 1)))"#,
    ),
    (
        "br_table out of the function",
        r#"(module (func (export "f") (result i32) (local i32)
            (loop $a (result i32)
                (local.set 0 (i32.add (local.get 0) (i32.const 1)))
                (block $b
                    (block $c (br_table $b $c (i32.lt_u (local.get 0) (i32.const 300))))
                    (br $a))
                (br_table 1 1 (i32.const 42) (local.get 0)))))"#,
    ),
    (
        "what never runs",
        r#"(module (func (export "f") (result i32) (local i32)
            (block $out (result i32)
                (loop $l (result i32)
                    (local.set 0 (i32.add (local.get 0) (i32.const 1)))
                    (if (i32.lt_u (local.get 0) (i32.const 400)) (then (br $l) (i32.add) (drop)))
                    (br $out (i32.const 3))
                    (loop $m (br $m) (br_if $l))
                    (block (result i32) (unreachable) (i32.add) (if (result i32) (then (i32.const 1)) (else (br $l)))))
                (i32.const 4) (i32.add))))"#,
    ),
    (
        "return in a loop",
        r#"(module
            (func $g (param i32) (result i32)
                (loop $l (result i32)
                    (if (i32.eqz (local.get 0)) (then (return (i32.const 6))))
                    (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                    (br $l)))
            (func (export "f") (result i32) (local i32 i32)
                (loop $l
                    (local.set 1 (i32.add (local.get 1) (call $g (local.get 0))))
                    (br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 50))))
                (local.get 1)))"#,
    ),
    (
        "recursion",
        r#"(module (func $fib (export "f") (param i32) (result i32)
            (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
                (then (local.get 0))
                (else (i32.add
                    (call $fib (i32.sub (local.get 0) (i32.const 1)))
                    (call $fib (i32.sub (local.get 0) (i32.const 2))))))))"#,
    ),
    (
        "tail calls",
        r#"(module (func $even (export "f") (param i32) (result i32)
                (if (result i32) (i32.gt_u (local.get 0) (i32.const 100000)) (then (i32.const 1))
                    (else (return_call $odd (i32.add (local.get 0) (i32.const 1))))))
            (func $odd (param i32) (result i32) (local i32)
                (loop $l (br_if $l (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 3))))
                (return_call $even (i32.add (local.get 0) (local.get 1)))))"#,
    ),
    (
        "calls by a table, the host among them",
        r#"(module (import "host" "identity" (func $host (param i32) (result i32)))
            (type $t (func (param i32) (result i32)))
            (table 3 funcref) (elem (i32.const 0) $host $add $sum)
            (func $add (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
            (func $sum (param i32) (result i32) (local i32)
                (loop $l
                    (local.set 1 (i32.add (local.get 1) (local.get 0)))
                    (br_if $l (i32.gt_s (local.tee 0 (i32.sub (local.get 0) (i32.const 1))) (i32.const 0))))
                (local.get 1))
            (func (export "f") (result i32) (local i32 i32)
                (loop $l
                    (local.set 1 (i32.add (local.get 1)
                        (call_indirect (type $t) (local.get 0) (i32.rem_u (local.get 0) (i32.const 3)))))
                    (local.set 1 (i32.add (local.get 1) (call $host (local.get 0))))
                    (br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 60))))
                (local.get 1)))"#,
    ),
    (
        "exceptions",
        r#"(module (tag $e (param i32))
            (func $g (param i32) (local i32)
                (loop $l (br_if $l (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 9))))
                (throw $e (i32.add (local.get 0) (local.get 1))))
            (func (export "f") (result i32) (local i32 i32)
                (loop $l
                    (block $caught (result i32)
                        (try_table (catch $e $caught) (call $g (local.get 0)))
                        (unreachable))
                    (local.set 1 (i32.add (local.get 1)))
                    (br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 70))))
                (local.get 1)))"#,
    ),
    (
        "a catch that leads to a loop",
        r#"(module (tag $e) (global $n (mut i32) (i32.const 0))
            (func (export "f") (result i32)
                (loop $l
                    (global.set $n (i32.add (global.get $n) (i32.const 1)))
                    (try_table (catch_all $l)
                        (if (i32.lt_u (global.get $n) (i32.const 200)) (then (throw $e)))))
                (global.get $n)))"#,
    ),
    (
        "branches on references",
        r#"(module (elem declare func $g) (func $g)
            (func (export "f") (result i32) (local i32 funcref)
                (loop $l
                    (local.set 0 (i32.add (local.get 0) (i32.const 1)))
                    (if (i32.gt_u (local.get 0) (i32.const 200)) (then (local.set 1 (ref.func $g))))
                    (drop (br_on_null $l (local.get 1))))
                (local.get 0)))"#,
    ),
    (
        "bulk operations",
        r#"(module (memory (export "m") 2) (data "abcdefgh") (func (export "f") (result i32) (local i32)
            (loop $l
                (memory.fill (local.get 0) (local.get 0) (i32.const 3000))
                (memory.copy (i32.const 70000) (local.get 0) (i32.const 5000))
                (memory.init 0 (local.get 0) (i32.const 0) (i32.const 8))
                (drop (memory.grow (i32.const 0)))
                (br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 40))))
            (memory.copy (i32.const 131000) (local.get 0) (i32.const 5000)) (local.get 0)))"#,
    ),
    (
        "memory of 64 bits",
        r#"(module (memory (export "m") i64 1) (func (export "f") (result i64) (local i64)
            (loop $l
                (i64.store (local.get 0) (local.get 0))
                (memory.fill (local.get 0) (i32.const 1) (i64.const 5))
                (br_if $l (i64.lt_u (local.tee 0 (i64.add (local.get 0) (i64.const 7))) (i64.const 4000))))
            (i64.load (i64.const 100))))"#,
    ),
    (
        "vectors",
        r#"(module (func (export "f") (result v128) (local v128 i32)
            (loop $l
                (local.set 0 (i32x4.add (local.get 0) (i32x4.splat (local.get 1))))
                (br_if $l (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 1))) (i32.const 300))))
            (local.get 0)))"#,
    ),
    (
        "start",
        r#"(module (global $g (export "g") (mut i32) (i32.const 0)) (start $s)
            (func $s (loop $l
                (global.set $g (i32.add (global.get $g) (i32.const 1)))
                (br_if $l (i32.lt_u (global.get $g) (i32.const 300)))))
            (func (export "f") (result i32) (global.get $g)))"#,
    ),
    (
        "if with values",
        r#"(module (func (export "f") (result i32 i32) (local i32 i32)
            (loop $l (result i32 i32)
                (local.get 1)
                (if (param i32) (result i32 i32) (i32.and (local.get 0) (i32.const 1))
                    (then (local.get 0))
                    (else (local.get 1) (i32.add) (i32.const 8)))
                (br_if 1 (i32.gt_u (local.get 0) (i32.const 333)))
                (local.set 1) (drop)
                (local.set 0 (i32.add (local.get 0) (i32.const 1)))
                (br $l))))"#,
    ),
    (
        "a division by zero in a loop",
        r#"(module (memory (export "m") 1) (func (export "f") (result i32) (local i32)
            (local.set 0 (i32.const 200))
            (loop $l
                (i32.store (i32.const 8) (i32.div_u (i32.const 1000) (local.get 0)))
                (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
                (br $l))
            (i32.const 1)))"#,
    ),
];

/// Modules whose `f` never ends, by name.
pub(super) const SPINNING: &[(&str, &str)] = &[
    ("loop", r#"(module (func (export "f") (loop $l (br $l))))"#),
    (
        "loop with parameters",
        r#"(module (func (export "f") (i32.const 1) (loop $l (param i32) (br $l))))"#,
    ),
    ("loop by br_if", r#"(module (func (export "f") (loop $l (br_if $l (i32.const 1)))))"#),
    (
        "loop by br_table",
        r#"(module (func (export "f") (loop $l (loop $m (br_table $l $m $l (i32.const 1))))))"#,
    ),
    (
        "loop by br_on_null",
        r#"(module (func (export "f") (loop $l (drop (br_on_null $l (ref.null func))))))"#,
    ),
    (
        "loop by catch",
        r#"(module (tag $e) (func (export "f") (loop $l (try_table (catch $e $l) (throw $e)))))"#,
    ),
    (
        "loop around calls that end by a throw",
        r#"(module (tag $e)
            (func $g (local i32)
                (loop $l (br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 9))))
                (throw $e))
            (func (export "f") (loop $l (block $b (try_table (catch $e $b) (call $g))) (br $l))))"#,
    ),
    (
        "calls without a loop that double",
        r#"(module (type $t (func)) (table 1 funcref) (elem (i32.const 0) $c)
            (func $c (call $d) (call $d)) (func $d (call $e) (call $e)) (func $e (call $g) (call $g))
            (func $g (call $h) (call $h)) (func $h (call $i) (call $i)) (func $i (call $j) (call $j))
            (func $j (call $k) (call $k)) (func $k (call $m) (call $m)) (func $m (call $n) (call $n))
            (func $n (call $o) (call $o)) (func $o (call $p) (call $p)) (func $p (call $q) (call $q))
            (func $q (nop) (call $r) (call $r)) (func $r (call $s) (call $s)) (func $s (call $u) (call $u))
            (func $u)
            (func (export "f") (call_indirect (type $t) (i32.const 0))
                (loop $l (call_indirect (type $t) (i32.const 0)) (br $l))))"#,
    ),
    (
        "recursion that goes back a step at a time",
        r#"(module (func $g (param i32)
                (if (i32.gt_s (local.get 0) (i32.const 0)) (then
                    (call $g (i32.sub (local.get 0) (i32.const 1)))
                    (call $g (i32.sub (local.get 0) (i32.const 1))))))
            (func (export "f") (call $g (i32.const 60))))"#,
    ),
    (
        "recursion by a table",
        r#"(module (type $t (func (param i32))) (table 1 funcref) (elem (i32.const 0) $g)
            (func $g (param i32)
                (if (i32.gt_s (local.get 0) (i32.const 0)) (then
                    (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))
                    (call_indirect (type $t) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0)))))
            (func (export "f") (call $g (i32.const 60))))"#,
    ),
    (
        "tail calls",
        r#"(module (func $g (return_call $h)) (func $h (return_call $g)) (func (export "f") (call $g)))"#,
    ),
    (
        "tail calls by a table",
        r#"(module (type $t (func)) (table 1 funcref) (elem (i32.const 0) $g)
            (func $g (return_call_indirect (type $t) (i32.const 0))) (func (export "f") (call $g)))"#,
    ),
    (
        "tail calls by a reference",
        r#"(module (type $t (func)) (elem declare func $g)
            (func $g (return_call_ref $t (ref.func $g))) (func (export "f") (call $g)))"#,
    ),
    ("start", "(module (start $s) (func $s (loop $l (br $l))))"),
    (
        "functions that loop less than an interval",
        r#"(module (func $g (local i32)
                (loop $l (br_if $l (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 1))) (i32.const 15)))))
            (func $h (call $g) (call $g) (call $g) (call $g))
            (func (export "f") (loop $l (call $h) (br $l))))"#,
    ),
    (
        "calls of the host",
        r#"(module (import "host" "identity" (func $host (param i32) (result i32)))
            (func (export "f") (loop $l (drop (call $host (i32.const 1))) (br $l))))"#,
    ),
    (
        "bulk operations",
        r#"(module (memory 1)
            (func (export "f") (loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br $l))))"#,
    ),
];
