;; Copies 1 GiB within its memory by single instructions, for ever.
(module
  (memory (export "memory") 16400)
  (func (export "_start")
    (loop $again
      (memory.copy (i32.const 65536) (i32.const 0) (i32.const 1073741824))
      (br $again))))
