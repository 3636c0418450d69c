;; Divides by zero, two calls deep.
(module
  (memory (export "memory") 1)
  (func $mean (param $sum i32) (param $count i32) (result i32)
    (i32.div_s (local.get $sum) (local.get $count)))
  (func $report (drop (call $mean (i32.const 12) (i32.const 0))))
  (func (export "_start") (call $report))
  (func (export "mean") (param i32 i32) (result i32)
    (call $mean (local.get 0) (local.get 1))))
