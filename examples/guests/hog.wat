;; Takes memory, a MiB at a time, until it is told no; then it gives up as most programs do: by an
;; abort.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $more
      (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    unreachable))
